"""Pings to a Service's address: answered while it has backends, and nobody else's are touched."""

import pytest
from scapy.layers.inet import ICMP
from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6EchoRequest
from scapy.packet import Packet, Raw

from ebpflb.core.abi import Counter, Family, FrontendKind
from tests.prog.harness import NODES_OWN, Hook, Outcome, Verdict
from tests.prog.lab import Lab
from tests.prog.services import Service
from tests.prog.wire import Wire, ethernet, network
from tests.prog.world import Device

pytestmark = pytest.mark.root

SERVED = Service("cluster:80", ("remote",), FrontendKind.CLUSTER_IP)
PAYLOAD = Raw(b"is anybody there?")


def ping(lab: Lab, source: str, destination: str, *, is_reply: bool = False, ttl: int = 64) -> bytes:
    """Return the frame of an echo request, or of its reply as the programs send it: back where it came from."""
    wire = Wire(f"{source}:0", f"{destination}:0", ttl=ttl, swapped=is_reply)
    return bytes(ethernet(wire) / network(wire, lab.family) / _echo(lab.family, is_reply) / PAYLOAD)


def _echo(family: Family, is_reply: bool) -> Packet:
    if family is Family.IPV4:
        return ICMP(type=0 if is_reply else 8, id=7, seq=1)
    return ICMPv6EchoReply(id=7, seq=1) if is_reply else ICMPv6EchoRequest(id=7, seq=1)


@pytest.mark.parametrize(("hook", "client"), [(Hook.UPLINK_IN, "client"), (Hook.POD_IN, "pod")])
def test_a_ping_to_a_service_is_answered_where_it_comes_in(udp: Lab, hook: Hook, client: str) -> None:
    udp.load(SERVED)
    before = udp.datapath.counters().get(Counter.ECHO_ANSWERED, 0)
    device = Device.POD if hook is Hook.POD_IN else Device.UPLINK
    outcome = udp.datapath.run(hook, ping(udp, client, "cluster", ttl=7), device)
    assert outcome == Outcome(Verdict.REDIRECT, ping(udp, "cluster", client, is_reply=True))
    assert udp.datapath.counters()[Counter.ECHO_ANSWERED] == before + 1


def test_the_nodes_own_ping_is_answered_where_it_leaves(udp: Lab) -> None:
    udp.load(SERVED)
    outcome = udp.datapath.run(Hook.OUT, ping(udp, "node", "cluster"), came_in_by=NODES_OWN)
    assert outcome == Outcome(Verdict.REDIRECT, ping(udp, "cluster", "node", is_reply=True))


@pytest.mark.parametrize("destination", ["cluster", "node", "remote"])
def test_other_pings_pass(udp: Lab, destination: str) -> None:
    """To a Service without backends, to the node, whose stack answers, to a pod."""
    udp.load(Service("cluster:80", (), FrontendKind.CLUSTER_IP), Service("any:30080", ("remote",), id=2))
    frame = ping(udp, "client", destination)
    assert udp.datapath.run(Hook.UPLINK_IN, frame) == Outcome(Verdict.NEXT, frame)


def test_a_reply_is_not_answered(udp: Lab) -> None:
    udp.load(SERVED)
    frame = ping(udp, "client", "cluster", is_reply=True)
    assert udp.datapath.run(Hook.UPLINK_IN, frame) == Outcome(Verdict.NEXT, frame)
