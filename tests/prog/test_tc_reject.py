"""Answers for Services without backends: TCP gets a reset, UDP a port unreachable, byte for byte as RFCs ask."""

from collections.abc import Callable

import pytest
from scapy.layers.inet import ICMP, IP, TCP
from scapy.layers.inet6 import ICMPv6DestUnreach, IPv6
from scapy.packet import Packet, Raw

from ebpflb.core.abi import Counter, Family, FrontendKind, Protocol
from tests.prog.harness import Hook, Verdict
from tests.prog.lab import Lab, drops, passes
from tests.prog.services import Service
from tests.prog.wire import ETHERNET_BYTES, Wire, ethernet
from tests.prog.world import Device, address

pytestmark = pytest.mark.root

UPLINK, POD, OUT = Hook.UPLINK_IN, Hook.POD_IN, Hook.OUT
EMPTY = Service("cluster:80", (), FrontendKind.CLUSTER_IP)
ENDS = ("client:4000", "cluster:80")
PORT_UNREACHABLE_V6 = 4
QUOTED_TRANSPORT_BYTES = {Protocol.UDP: 8, Protocol.SCTP: 12}
"""Up to the checksum."""


def answer_header(lab: Lab, wire: Wire) -> Packet:
    """Return the headers of a packet from the Service back to its client, as a host would send it."""
    source, destination = (address(end.rpartition(":")[0], lab.family) for end in (wire.dst, wire.src))
    link = ethernet(Wire(wire.src, wire.dst, swapped=True))
    if lab.family is Family.IPV6:
        return link / IPv6(src=source, dst=destination, hlim=64)
    return link / IP(src=source, dst=destination, ttl=64, id=0)


def reset(lab: Lab, wire: Wire, flags: str, seq: int, ack: int) -> bytes:
    sport, dport = (int(end.rpartition(":")[2]) for end in (wire.dst, wire.src))
    return bytes(answer_header(lab, wire) / TCP(sport=sport, dport=dport, flags=flags, seq=seq, ack=ack, window=0))


def unreachable(lab: Lab, wire: Wire) -> bytes:
    header_bytes = 20 if lab.family is Family.IPV4 else 40
    quote = Raw(lab.frame(wire)[ETHERNET_BYTES:][: header_bytes + QUOTED_TRANSPORT_BYTES[lab.protocol]])
    error = ICMPv6DestUnreach(code=PORT_UNREACHABLE_V6) if lab.family is Family.IPV6 else ICMP(type=3, code=3)
    return bytes(answer_header(lab, wire) / error / quote)


def answer(lab: Lab, hook: Hook, wire: Wire, padding: bytes = b"") -> bytes:
    """Return the frame that a packet is turned into; asserts that it is sent back, and counted."""
    device = Device.POD if hook is POD else Device.UPLINK
    before = lab.datapath.counters().get(Counter.REJECTED, 0)
    outcome = lab.datapath.run(hook, lab.frame(wire) + padding, device)
    assert outcome.verdict is Verdict.REDIRECT
    assert lab.datapath.counters()[Counter.REJECTED] == before + 1
    assert lab.datapath.flows() == {}
    return outcome.frame


SEGMENTS = [
    # segment                                                          flags, seq,  ack of the reset
    pytest.param(Wire(*ENDS, payload=b""), ("RA", 0, 1001), id="SYN"),
    pytest.param(Wire(*ENDS, payload=b"abc"), ("RA", 0, 1004), id="SYN with data"),
    pytest.param(Wire(*ENDS, payload=b"", seq=0xFFFFFFFF), ("RA", 0, 0), id="SYN at the end of the numbers"),
    pytest.param(Wire(*ENDS, payload=b"abc", flags="SF"), ("RA", 0, 1005), id="SYN with data and FIN"),
    pytest.param(Wire(*ENDS, payload=b"abcd", flags="P"), ("RA", 0, 1004), id="data without ACK"),
    pytest.param(Wire(*ENDS, payload=b"", flags="A", ack=5000), ("R", 5000, 0), id="ACK"),
    pytest.param(Wire(*ENDS, flags="PA", ack=5000), ("R", 5000, 0), id="data"),
    pytest.param(Wire(*ENDS, flags="FA", ack=5000), ("R", 5000, 0), id="FIN"),
    pytest.param(Wire(*ENDS, flags="SA", ack=5000), ("R", 5000, 0), id="SYN and ACK"),
    pytest.param(Wire(*ENDS, payload=b"x" * 1400), ("RA", 0, 2401), id="a full segment"),
]


@pytest.mark.parametrize(("segment", "expected"), SEGMENTS)
def test_reset(tcp: Lab, segment: Wire, expected: tuple[str, int, int]) -> None:
    tcp.load(EMPTY)
    assert answer(tcp, UPLINK, segment).hex() == reset(tcp, segment, *expected).hex()


@pytest.mark.parametrize("payload", [b"", b"x", b"payload", b"x" * 1400])
def test_port_unreachable(udp: Lab, payload: bytes) -> None:
    udp.load(EMPTY)
    datagram = Wire("client:4000", "cluster:80", payload=payload)
    assert answer(udp, UPLINK, datagram).hex() == unreachable(udp, datagram).hex()


def test_port_unreachable_quotes_a_datagram_without_checksum(lab_of: Callable[[Family, Protocol], Lab]) -> None:
    lab = lab_of(Family.IPV4, Protocol.UDP)
    lab.load(EMPTY)
    datagram = Wire("client:4000", "cluster:80", no_checksum=True)
    assert answer(lab, UPLINK, datagram).hex() == unreachable(lab, datagram).hex()


def expected_answer(lab: Lab, wire: Wire) -> bytes:
    if lab.protocol is not Protocol.TCP:
        return unreachable(lab, wire)
    return reset(lab, wire, "RA", 0, wire.seq + 1 + len(wire.payload))


KINDS = [
    (Service("any:30080"), "node:30080"),
    (Service("external:80", kind=FrontendKind.EXTERNAL_IP), "external:80"),
    (Service("balancer:80", kind=FrontendKind.LOAD_BALANCER), "balancer:80"),
    (EMPTY, "cluster:80"),
]


@pytest.mark.parametrize(("service", "dialled"), KINDS, ids=[kind[0].kind.name for kind in KINDS])
@pytest.mark.parametrize(("hook", "client"), [(UPLINK, "client"), (POD, "pod")], ids=["outside", "pod"])
def test_every_frontend_refuses_everybody(lab: Lab, service: Service, dialled: str, hook: Hook, client: str) -> None:
    lab.load(service)
    wire = Wire(f"{client}:4000", dialled)
    assert answer(lab, hook, wire).hex() == expected_answer(lab, wire).hex()


def test_the_padding_of_a_short_frame_is_no_data(lab: Lab) -> None:
    lab.load(EMPTY)
    wire = Wire("client:4000", "cluster:80", payload=b"")
    assert answer(lab, UPLINK, wire, padding=bytes(6)).hex() == expected_answer(lab, wire).hex()


def test_a_local_policy_with_no_backend_anywhere_refuses(lab: Lab) -> None:
    lab.load(Service("balancer:80", (), FrontendKind.LOAD_BALANCER, local_policy=True))
    wire = Wire("client:4000", "balancer:80")
    assert answer(lab, UPLINK, wire).hex() == expected_answer(lab, wire).hex()


def test_a_reset_is_never_answered(tcp: Lab) -> None:
    tcp.load(EMPTY)
    tcp.play(passes(UPLINK, Wire("client:4000", "cluster:80", flags="R")))


def test_options_are_refused_in_silence(lab_of: Callable[[Family, Protocol], Lab]) -> None:
    for protocol in (Protocol.TCP, Protocol.UDP):
        lab = lab_of(Family.IPV4, protocol)
        lab.load(EMPTY)
        lab.play(drops(UPLINK, Wire("client:4000", "cluster:80", options=bytes([148, 4, 0, 0])), Counter.DROP_REWRITE))


def test_what_others_send_is_not_looked_at_when_it_leaves(lab: Lab) -> None:
    lab.load(EMPTY)
    lab.play(passes(OUT, Wire("node:4000", "cluster:80")))


def test_the_nodes_own_packets_are_refused_where_they_leave(lab: Lab) -> None:
    """Sockets that the socket hooks could not refuse (before Linux 5.18), or left alone."""
    lab.load(EMPTY)
    wire = Wire("node:4000", "cluster:80")
    outcome = lab.datapath.run(OUT, lab.frame(wire), came_in_by=0)
    assert outcome.verdict is Verdict.REDIRECT
    assert outcome.frame.hex() == expected_answer(lab, wire).hex()
