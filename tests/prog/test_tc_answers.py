"""What is too big, or has come too far, is told so by the Service's address: path-MTU discovery and traceroute work."""

import pytest
from scapy.layers.inet import ICMP
from scapy.layers.inet6 import ICMPv6PacketTooBig, ICMPv6TimeExceeded
from scapy.packet import Packet, Raw

from ebpflb.core.abi import Counter, Family, FrontendKind, Protocol
from tests.prog.fragment_frames import fragments
from tests.prog.harness import Hook, Outcome, Verdict
from tests.prog.lab import Lab, drops
from tests.prog.services import Service
from tests.prog.wire import ETHERNET_BYTES, Wire, ethernet, network
from tests.prog.world import NARROW_MTU, Device

pytestmark = pytest.mark.root

UPLINK = Hook.UPLINK_IN
QUOTED = {Protocol.TCP: 20, Protocol.UDP: 8, Protocol.SCTP: 12}
"""Bytes of the transport header."""
LONG = Wire("client:4000", "cluster:80", payload=b"x" * 1400)
ENDS_HERE = Wire("client:4000", "cluster:80", ttl=1)


def answer(lab: Lab, wire: Wire, error: Packet, quote: bytes = b"") -> bytes:
    """Return the error as the Service's address sends it: it quotes headers up to the checksum, or `quote`."""
    back = Wire(wire.dst, wire.src, swapped=True)
    header = network(back, lab.family, **({} if lab.family is Family.IPV6 else {"options": []}))
    if lab.family is Family.IPV6:
        header.tc, header.fl = 0, 0
    else:
        header.tos, header.id, header.flags = 0, 0, 0
    quote = (
        quote or lab.frame(wire)[ETHERNET_BYTES:][: (20 if lab.family is Family.IPV4 else 40) + QUOTED[lab.protocol]]
    )
    return bytes(ethernet(back) / header / error / Raw(quote))


def test_the_sender_of_a_packet_that_is_too_big_is_told_the_mtu(lab: Lab) -> None:
    lab.load(Service("cluster:80", ("narrow",), FrontendKind.CLUSTER_IP), devices={Device.NARROW: "node"})
    before = lab.datapath.counters().get(Counter.TOO_BIG_ANSWERED, 0)
    error = (
        ICMP(type=3, code=4, nexthopmtu=NARROW_MTU) if lab.family is Family.IPV4 else ICMPv6PacketTooBig(mtu=NARROW_MTU)
    )
    assert lab.run(UPLINK, LONG) == Outcome(Verdict.REDIRECT, answer(lab, LONG, error))
    assert lab.datapath.counters()[Counter.TOO_BIG_ANSWERED] == before + 1
    assert not lab.datapath.flows()


def test_the_sender_of_a_packet_whose_ttl_ends_here_is_told_so(lab: Lab) -> None:
    lab.load(Service("cluster:80", ("remote",), FrontendKind.CLUSTER_IP))
    before = lab.datapath.counters().get(Counter.TTL_ANSWERED, 0)
    error = ICMP(type=11, code=0) if lab.family is Family.IPV4 else ICMPv6TimeExceeded(code=0)
    assert lab.run(UPLINK, ENDS_HERE) == Outcome(Verdict.REDIRECT, answer(lab, ENDS_HERE, error))
    assert lab.datapath.counters()[Counter.TTL_ANSWERED] == before + 1


@pytest.mark.parametrize(
    ("wire", "backend", "reason"),
    [(LONG, "narrow", Counter.DROP_TOO_BIG), (ENDS_HERE, "remote", Counter.DROP_TTL)],
)
def test_options_are_answered_with_silence(udp: Lab, wire: Wire, backend: str, reason: Counter) -> None:
    if udp.family is Family.IPV6:
        return  # has no options
    udp.load(
        Service("cluster:80", (backend,), FrontendKind.CLUSTER_IP),
        devices={Device.NARROW: "node", Device.UPLINK: "node"},
    )
    optional = Wire(wire.src, wire.dst, ttl=wire.ttl, payload=wire.payload, options=bytes([148, 4, 0, 0]))
    step = drops(UPLINK, optional, reason)
    udp.play(step.opening() if reason is Counter.DROP_TTL else step)


def test_a_first_fragment_that_is_too_big_is_answered_and_quoted_up_to_its_ports(udp: Lab) -> None:
    """Its sender makes smaller ones from then on; the later fragments need no answer."""
    udp.load(Service("cluster:80", ("narrow",), FrontendKind.CLUSTER_IP), devices={Device.NARROW: "node"})
    first, later = fragments(udp, LONG, 1320)
    is_ipv4 = udp.family is Family.IPV4
    error = ICMP(type=3, code=4, nexthopmtu=NARROW_MTU) if is_ipv4 else ICMPv6PacketTooBig(mtu=NARROW_MTU)
    quoted = 20 + 8 if is_ipv4 else 40 + 8 + 8
    expected = answer(udp, LONG, error, first[ETHERNET_BYTES:][:quoted])
    assert udp.datapath.run(UPLINK, first) == Outcome(Verdict.REDIRECT, expected)
    assert udp.datapath.run(UPLINK, later).verdict is Verdict.NEXT
