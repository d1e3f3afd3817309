"""What breaks other load balancers, shown by packets: a test for each class of docs/pitfalls.md, named by its number.

Each is the shortest conversation that goes wrong where the class of bug is back; the tests of each piece say more.
What the flow table shows is in test_pitfalls_flows.py, what calls of processes show in test_pitfalls_sockets.py, what
needs no kernel in tests/unit/test_pitfalls.py.
"""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from ebpflb.core.abi import Algorithm, Counter, Family, FrontendKind
from tests.prog.fragment_frames import fragments
from tests.prog.harness import Hook, Outcome, Verdict, XdpOutcome, XdpVerdict
from tests.prog.icmp_errors import Error
from tests.prog.lab import Lab, delivers, drops, forwards, hairpins, passes
from tests.prog.services import Node, Service
from tests.prog.test_tc_dsr import with_mss, wrapped
from tests.prog.wire import Wire
from tests.prog.world import ADDRESSES, NARROW_MTU, Device, address

pytestmark = pytest.mark.root

UPLINK, POD, OUT = Hook.UPLINK_IN, Hook.POD_IN, Hook.OUT
REQUEST = Wire("client:4000", "cluster:80")


def cluster_ip(*backends: str) -> Service:
    return Service("cluster:80", backends, FrontendKind.CLUSTER_IP)


def balancer(*backends: str) -> Service:
    return Service("balancer:80", backends, FrontendKind.LOAD_BALANCER, dsr=True)


def counted(lab: Lab, counter: Counter) -> int:
    return lab.datapath.counters().get(counter, 0)


def test_pitfall_06_terminating_backend_gets_new_connections_through_affinity(lab: Lab) -> None:
    sticky = replace(cluster_ip("pod"), algorithm=Algorithm.RANDOM, affinity_s=100)
    lab.load(sticky)
    assert lab.chosen(UPLINK, REQUEST) == "pod"
    lab.load(replace(sticky, backends=("pod2",)), draining=["pod"])
    assert lab.chosen(UPLINK, Wire("client:4001", "cluster:80")) == "pod2"
    lab.play(delivers(UPLINK, replace(REQUEST, flags="A"), Wire("client:4000", "pod:8080", flags="A")))


def test_pitfall_09_affinity_differs_between_nodes(lab: Lab) -> None:
    """A client's ports all lead to one backend, also on a node that has never seen the client."""
    lab.load(replace(cluster_ip("pod", "pod2", "remote", "remote2"), affinity_s=100))
    found = set()
    for port in range(4000, 4020):
        lab.datapath.clear()
        found.add(lab.chosen(UPLINK, Wire(f"client:{port}", "cluster:80")))
    assert len(found) == 1


def error_to_the_service(lab: Lab, frontend: str, told: bytes) -> None:
    """Check what a flow's error becomes; one that ECMP has sent to a node without the flow goes on as it is."""
    lab.run(UPLINK, Wire("client:4000", frontend))
    error = Error("stranger", frontend, "client:4000").frame(lab)
    assert lab.datapath.run(UPLINK, error) == Outcome(Verdict.REDIRECT, told)
    lab.datapath.clear()
    assert lab.datapath.run(UPLINK, error) == Outcome(Verdict.NEXT, error)
    assert not lab.datapath.flows()


def test_pitfall_10_icmp_error_to_the_services_address_is_lost(lab: Lab) -> None:
    lab.load(cluster_ip("remote"))
    error_to_the_service(lab, "cluster:80", Error("node", "remote:8080", "node:4000", ttl=63).frame(lab))
    lab.load(balancer("remote"))
    inner = Error("stranger", "balancer:80", "client:4000", ttl=63).frame(lab)
    error_to_the_service(lab, "balancer:80", wrapped(lab, inner, "node", "remote"))


def test_pitfall_11_dsr_leaves_no_room_for_its_outer_header(tcp: Lab) -> None:
    tcp.load(balancer("remote"))
    before = counted(tcp, Counter.TOO_BIG_ANSWERED)
    tcp.run(UPLINK, Wire("client:4000", "balancer:80", payload=bytes(1441)))
    assert counted(tcp, Counter.TOO_BIG_ANSWERED) == before + 1
    tcp.load(balancer("pod"))
    tcp.datapath.run(UPLINK, wrapped(tcp, tcp.frame(Wire("client:4000", "balancer:80")), "client2", "pod"))
    offered, told = (
        with_mss(tcp, Wire(source, "client:4000", flags="SA"), mss)
        for source, mss in (
            ("pod:8080", 1400),
            ("balancer:80", 1400 - (20 if tcp.family is Family.IPV4 else 40)),
        )
    )
    assert tcp.datapath.run(OUT, offered) == Outcome(Verdict.NEXT, told)


@pytest.mark.parametrize("size", [1473, 1474, 1475])
def test_pitfall_12_fragments_out_of_order(udp: Lab, size: int) -> None:
    udp.load(cluster_ip("remote"))
    sent, translated = (
        fragments(udp, Wire(source, destination, payload=bytes(size), ttl=ttl), 1448)
        for source, destination, ttl in (("client:4000", "cluster:80", 64), ("node:4000", "remote:8080", 63))
    )
    released = counted(udp, Counter.FRAGMENT_RELEASED)
    assert udp.datapath.run(UPLINK, sent[1]).verdict is Verdict.DROP
    assert udp.datapath.held_fragments() == 1
    assert udp.datapath.run(UPLINK, sent[0]) == Outcome(Verdict.REDIRECT, translated[0])
    assert counted(udp, Counter.FRAGMENT_RELEASED) == released + 1
    assert not udp.datapath.held_fragments()
    assert udp.datapath.run(UPLINK, sent[1]) == Outcome(Verdict.REDIRECT, translated[1])


def test_pitfall_13_packet_loops_between_routers(lab: Lab) -> None:
    """What we send on ages, so no loop is for ever; what no Service has goes to no router."""
    lab.load(cluster_ip("remote"))
    before = counted(lab, Counter.TTL_ANSWERED)
    lab.run(UPLINK, REQUEST.with_ttl(1))
    assert counted(lab, Counter.TTL_ANSWERED) == before + 1
    lab.load(cluster_ip("remote"), node=Node(cidrs=(("cluster", 16),)))
    for hook, client in ((UPLINK, "client"), (POD, "pod")):
        assert lab.run(hook, Wire(f"{client}:4000", "cluster:81")).verdict is Verdict.REDIRECT
        lab.play(drops(hook, Wire(f"{client}:4000", "unused:80"), Counter.DROP_UNUSED_ADDRESS))


def test_pitfall_17_device_takes_no_frames_of_xdp(lab: Lab) -> None:
    lab.load(cluster_ip("remote"), xdp=False)
    frame = lab.frame(REQUEST)
    assert lab.datapath.run_xdp(frame, Device.UPLINK) == XdpOutcome(XdpVerdict.PASS, frame)
    lab.play(forwards(REQUEST, Wire("node:4000", "remote:8080")))  # the flow began at XDP


@contextmanager
def nobody_at(lab: Lab, name: str) -> Iterator[None]:
    """Have an address of the uplink's network whose neighbour has not been heard of."""
    command = ["route", "add", address(name, lab.family), "dev", "uplink"]
    with lab.datapath.namespace.entered():
        subprocess.run(["ip", *command], check=True)
    try:
        yield
    finally:
        command[1] = "del"
        with lab.datapath.namespace.entered():
            subprocess.run(["ip", *command], check=True)


def test_pitfall_18_neighbour_is_missing_or_route_is_narrow(lab: Lab) -> None:
    """The kernel asks for the neighbour meanwhile, at tc; XDP cannot wait. The sender hears what fits the route."""
    lab.load(cluster_ip("lost"))
    with nobody_at(lab, "lost"):
        frame = lab.frame(REQUEST)
        assert lab.datapath.run_xdp(frame, Device.UPLINK) == XdpOutcome(XdpVerdict.PASS, frame)
        lab.play(forwards(REQUEST, Wire("node:4000", "lost:8080")))
    lab.load(cluster_ip("narrow"), devices={Device.NARROW: "node"})
    before = counted(lab, Counter.TOO_BIG_ANSWERED)
    lab.run(UPLINK, replace(REQUEST, src="client2:4000", payload=bytes(NARROW_MTU)))
    assert counted(lab, Counter.TOO_BIG_ANSWERED) == before + 1


def test_pitfall_19_source_ranges_are_bypassed(lab: Lab) -> None:
    """By pods, by XDP, or by having a NodePort, which kube-proxy does not restrict either, of the same Service."""
    restricted = replace(balancer("remote"), dsr=False, source_ranges=(("client", 32),))
    lab.load(restricted, Service("any:30080", ("remote",), has_backends=True))
    stranger = Wire("client2:4000", "balancer:80")
    for hook, wire in ((UPLINK, stranger), (POD, replace(stranger, src="pod:4000"))):
        lab.play(drops(hook, wire, Counter.DROP_SOURCE_RANGE))
    assert lab.datapath.run_xdp(lab.frame(stranger), Device.UPLINK).verdict is XdpVerdict.DROP
    assert not lab.datapath.flows()
    lab.play(forwards(Wire("client2:4000", "node:30080"), Wire("node:4000", "remote:8080")).opening())


def test_pitfall_20_loopback_is_served_to_others(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ADDRESSES, "loopback", ("127.0.0.1", "::1"))
    lab.load(Service("any:30080", ("pod",)))
    lab.play(*(passes(hook, Wire(f"{who}:4000", "loopback:30080")) for hook, who in ((UPLINK, "client"), (POD, "pod"))))


def test_pitfall_20_hairpin_hangs(lab: Lab) -> None:
    lab.load(cluster_ip("pod"))
    lab.play(
        hairpins(Wire("pod:4000", "cluster:80"), Wire("hairpin:4000", "pod:8080")).opening(),
        hairpins(Wire("pod:8080", "hairpin:4000", flags="SA"), Wire("cluster:80", "pod:4000", flags="SA")),
    )
