"""Direct server return: whole packets go to the backend's node in an outer header, which takes it off and answers."""

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.packet import Packet, Raw

from ebpflb.core.abi import Counter, Family, FlowFlag, FrontendKind
from tests.prog.fragment_frames import fragments
from tests.prog.harness import Hook, Outcome, Verdict
from tests.prog.icmp_errors import Error
from tests.prog.lab import Lab, delivers
from tests.prog.services import Service
from tests.prog.wire import ETHERNET_BYTES, Wire, ethernet
from tests.prog.world import address

pytestmark = pytest.mark.root

UPLINK, OUT = Hook.UPLINK_IN, Hook.OUT
REMOTE = Service("balancer:80", ("remote",), FrontendKind.LOAD_BALANCER, dsr=True)
LOCAL = Service("balancer:80", ("pod",), FrontendKind.LOAD_BALANCER, dsr=True)
REQUEST = Wire("client:4000", "balancer:80")
UPLINK_MTU = 1500
LEAST_MSS = 536


def outer(lab: Lab, source: str, destination: str) -> Packet:
    """Return the outer header, as the programs make it."""
    ends = {"src": address(source, lab.family), "dst": address(destination, lab.family)}
    return IPv6(**ends, nh=41, hlim=64) if lab.family is Family.IPV6 else IP(**ends, proto=4, ttl=64, id=0, flags="DF")


def wrapped(lab: Lab, inner: bytes, source: str, destination: str) -> bytes:
    """Return a frame's packet in an outer header."""
    return bytes(ethernet(REQUEST) / outer(lab, source, destination) / Raw(inner[ETHERNET_BYTES:]))


def counted(lab: Lab, counter: Counter) -> int:
    return lab.datapath.counters().get(counter, 0)


def test_a_request_goes_to_a_remote_backend_in_an_outer_header(lab: Lab) -> None:
    lab.load(REMOTE)
    before = counted(lab, Counter.ENCAPSULATED)
    for _again in range(2):
        outcome = lab.run(UPLINK, REQUEST)
        inner = lab.frame(REQUEST.with_ttl(63))
        assert outcome == Outcome(Verdict.REDIRECT, wrapped(lab, inner, "node", "remote"))
    assert counted(lab, Counter.ENCAPSULATED) == before + 2
    (flow,) = lab.datapath.flows().values()
    assert flow.flags == FlowFlag.FORWARD | FlowFlag.DSR


def test_the_client_goes_on_and_its_flow_is_confirmed(tcp: Lab) -> None:
    tcp.load(REMOTE)
    tcp.run(UPLINK, REQUEST)
    tcp.run(UPLINK, Wire("client:4000", "balancer:80", flags="A"))
    assert len(tcp.datapath.confirmed()) == 1
    assert not tcp.datapath.pending()


def test_the_backends_node_takes_the_outer_header_off_and_answers_by_itself(lab: Lab) -> None:
    lab.load(LOCAL)
    before = counted(lab, Counter.DECAPSULATED)
    outcome = lab.datapath.run(UPLINK, wrapped(lab, lab.frame(REQUEST), "client2", "pod"))
    assert outcome == Outcome(Verdict.NEXT, lab.frame(Wire("client:4000", "pod:8080")))
    assert counted(lab, Counter.DECAPSULATED) == before + 1
    reply = Wire("pod:8080", "client:4000", flags="SA")
    lab.play(delivers(OUT, reply, Wire("balancer:80", "client:4000", flags="SA")))
    again = lab.datapath.run(UPLINK, wrapped(lab, lab.frame(REQUEST), "client2", "pod"))
    assert again == outcome


def test_a_node_port_of_another_node_is_taken_from_an_outer_header_only(lab: Lab) -> None:
    lab.load(Service("any:30080", ("pod",), dsr=True))
    request = Wire("client:4000", "external:30080")
    assert lab.run(UPLINK, request).frame == lab.frame(request)
    outcome = lab.datapath.run(UPLINK, wrapped(lab, lab.frame(request), "client2", "pod"))
    assert outcome == Outcome(Verdict.NEXT, lab.frame(Wire("client:4000", "pod:8080")))


@pytest.mark.parametrize("backend", ["pod2", "remote", "node"])
def test_others_tunnels_pass(lab: Lab, backend: str) -> None:
    """The destination is no local backend of the Service within: not sent by us."""
    lab.load(LOCAL)
    frame = wrapped(lab, lab.frame(REQUEST), "client2", backend)
    assert lab.datapath.run(UPLINK, frame) == Outcome(Verdict.NEXT, frame)
    assert not lab.datapath.flows()


def test_source_ranges_hold_for_the_client_within(lab: Lab) -> None:
    lab.load(Service("balancer:80", ("pod",), FrontendKind.LOAD_BALANCER, dsr=True, source_ranges=(("client2", 32),)))
    frame = wrapped(lab, lab.frame(REQUEST), "node", "pod")
    assert lab.datapath.run(UPLINK, frame).verdict is Verdict.DROP
    assert not lab.datapath.flows()


@pytest.mark.parametrize("hook", list(Hook))
def test_others_tunnels_pass_though_the_flow_within_is_known(lab: Lab, hook: Hook) -> None:
    lab.load(LOCAL)
    lab.run(UPLINK, REQUEST)
    backend = "pod2" if hook is UPLINK else "pod"
    frame = wrapped(lab, lab.frame(REQUEST), "client2", backend)
    assert lab.datapath.run(hook, frame) == Outcome(Verdict.NEXT, frame)


def test_a_tunnel_to_nobodys_service_passes(lab: Lab) -> None:
    lab.load(LOCAL)
    frame = wrapped(lab, lab.frame(Wire("client:4000", "balancer:81")), "client2", "pod")
    assert lab.datapath.run(UPLINK, frame) == Outcome(Verdict.NEXT, frame)


def test_an_error_to_the_services_address_reaches_the_backend_through_both_nodes(lab: Lab) -> None:
    error = Error("stranger", "balancer:80", "client:4000")
    lab.load(REMOTE)
    lab.run(UPLINK, REQUEST)
    sent = lab.datapath.run(UPLINK, error.frame(lab))
    inner = Error("stranger", "balancer:80", "client:4000", ttl=63).frame(lab)
    assert sent == Outcome(Verdict.REDIRECT, wrapped(lab, inner, "node", "remote"))
    lab.datapath.clear()
    lab.load(LOCAL)
    lab.datapath.run(UPLINK, wrapped(lab, lab.frame(REQUEST), "client2", "pod"))
    received = lab.datapath.run(UPLINK, wrapped(lab, error.frame(lab), "client2", "pod"))
    assert received == Outcome(Verdict.NEXT, Error("stranger", "pod:8080", "client:4000").frame(lab))


def test_waiting_fragments_are_let_go_where_they_came_in_only(udp: Lab) -> None:
    """The same datagram leaves by the egress hook, in its outer header: nothing may be put into that."""
    udp.load(REMOTE)
    first, later = fragments(udp, Wire("client:4000", "balancer:80", payload=bytes(160)), 80)
    for _twice in range(2):
        assert udp.datapath.run(UPLINK, later).verdict is Verdict.DROP
    assert counted(udp, Counter.FRAGMENT_HELD) >= 2
    sent = wrapped(udp, first, "node", "remote")
    released = counted(udp, Counter.FRAGMENT_RELEASED)
    assert udp.datapath.run(OUT, sent) == Outcome(Verdict.NEXT, sent)
    assert counted(udp, Counter.FRAGMENT_RELEASED) == released


@pytest.mark.parametrize("room", [0, 1])
def test_what_fits_with_the_outer_header_only_is_answered_otherwise(lab: Lab, room: int) -> None:
    lab.load(REMOTE)
    headers = len(lab.frame(Wire("client:4000", "balancer:80", payload=b""))) - ETHERNET_BYTES
    outer_bytes = len(outer(lab, "node", "remote"))
    payload = bytes(UPLINK_MTU - outer_bytes - headers + 1 - room)
    before = counted(lab, Counter.TOO_BIG_ANSWERED)
    assert lab.run(UPLINK, Wire("client:4000", "balancer:80", payload=payload)).verdict is Verdict.REDIRECT
    assert counted(lab, Counter.TOO_BIG_ANSWERED) - before == 1 - room


@pytest.mark.parametrize("offered", [8960, 1460, 1410, 536])
def test_the_backends_mss_leaves_room_for_the_outer_header(tcp: Lab, offered: int) -> None:
    """What a pod offers fits its network's MTU, an overlay's too; less than 536 nobody needs to offer."""
    tcp.load(LOCAL)
    tcp.datapath.run(UPLINK, wrapped(tcp, tcp.frame(REQUEST), "client2", "pod"))
    room = offered - (20 if tcp.family is Family.IPV4 else 40)
    reply, restored = (
        with_mss(tcp, Wire(source, "client:4000", flags="SA"), mss)
        for source, mss in (("pod:8080", offered), ("balancer:80", room if room >= LEAST_MSS else offered))
    )
    assert tcp.datapath.run(OUT, reply) == Outcome(Verdict.NEXT, restored)


def with_mss(lab: Lab, wire: Wire, mss: int) -> bytes:
    """Return a frame whose first TCP option is the MSS."""
    frame = type(ethernet(wire))(lab.frame(wire))
    frame[TCP].options = [("MSS", mss), ("SAckOK", b"")]
    frame[TCP].dataofs = None
    del frame[TCP].chksum
    if lab.family is Family.IPV4:
        del frame[IP].len, frame[IP].chksum
    else:
        del frame[IPv6].plen
    return bytes(frame)
