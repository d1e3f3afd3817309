"""What is none of our business goes through untouched, and a packet cut anywhere is either translated or left alone."""

from collections.abc import Callable
from functools import reduce
from operator import truediv

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoReply,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet, Raw

from ebpflb.core.abi import Counter, Family, FrontendKind, Protocol
from tests.prog.harness import Hook, Outcome, Verdict
from tests.prog.lab import Lab
from tests.prog.services import Service
from tests.prog.wire import ETHERNET_BYTES, Wire, ethernet, network, transport
from tests.prog.world import Device

pytestmark = pytest.mark.root

UPLINK, POD, OUT = Hook.UPLINK_IN, Hook.POD_IN, Hook.OUT
WIRE = Wire("client:4000", "cluster:80")
LOCAL = Service("cluster:80", ("pod",), FrontendKind.CLUSTER_IP)
REMOTE = Service("cluster:80", ("remote",), FrontendKind.CLUSTER_IP)
EMPTY = Service("cluster:80", (), FrontendKind.CLUSTER_IP)
LAYER4_BYTES = {Protocol.TCP: 20, Protocol.UDP: 8}
EXPERIMENTAL_ETHERTYPE = b"\x88\xb5"  # IEEE 802, local use
HEADER_BYTES = {Family.IPV4: 20, Family.IPV6: 40}


def addressed(family: Family) -> Packet:
    """Return headers to a Service's address, for whatever is to follow."""
    return ethernet(WIRE) / network(WIRE, family)


def ipv4(**fields: object) -> Packet:
    """Return a UDP packet to a Service over IPv4 whose header has other values in some fields."""
    packet = addressed(Family.IPV4)
    for name, value in fields.items():
        setattr(packet[IP], name, value)
    return packet / transport(WIRE, Protocol.UDP) / Raw(WIRE.payload)


def ipv6_with(header: Packet) -> Packet:
    return addressed(Family.IPV6) / header / transport(WIRE, Protocol.UDP) / Raw(WIRE.payload)


STRANGERS = [
    (Family.IPV4, "an ICMP echo reply", addressed(Family.IPV4) / ICMP(type=0) / Raw(b"echo")),
    (Family.IPV4, "UDP-Lite", ipv4(proto=136)),
    (Family.IPV4, "ESP", ipv4(proto=50)),
    (Family.IPV4, "IPv6 in IPv4", addressed(Family.IPV4) / network(WIRE, Family.IPV6) / UDP(sport=4000, dport=80)),
    (Family.IPV4, "ARP", ethernet(WIRE) / ARP(op="who-has", pdst="10.96.0.10")),
    (Family.IPV4, "IPv6", addressed(Family.IPV6) / transport(WIRE, Protocol.UDP)),
    (Family.IPV4, "an inner VLAN tag", ethernet(WIRE) / Dot1Q(vlan=7) / network(WIRE, Family.IPV4) / UDP(dport=80)),
    (Family.IPV4, "a header length of 16", ipv4(ihl=4)),
    (Family.IPV4, "a header length beyond the frame", Ether(bytes(ipv4(ihl=15))[:60])),
    (Family.IPV4, "version 5", ipv4(version=5)),
    (Family.IPV6, "an ICMPv6 echo reply", addressed(Family.IPV6) / ICMPv6EchoReply(data=b"echo")),
    (Family.IPV6, "seven extension headers", ipv6_with(reduce(truediv, [IPv6ExtHdrDestOpt() for _ in range(7)]))),
    (Family.IPV6, "no next header", ipv6_with(IPv6ExtHdrDestOpt(nh=59))),
    (Family.IPV6, "IPv4", ipv4()),
    (Family.IPV6, "nothing behind the header", addressed(Family.IPV6)),
]


def is_untouched(outcome: Outcome, frame: bytes) -> bool:
    return outcome == Outcome(Verdict.NEXT, frame)


@pytest.mark.parametrize("hook", Hook)
@pytest.mark.parametrize(("family", "packet"), [pytest.param(f, p, id=f"{f.name}, {name}") for f, name, p in STRANGERS])
def test_strangers_pass(lab_of: Callable[[Family, Protocol], Lab], hook: Hook, family: Family, packet: Packet) -> None:
    lab = lab_of(family, Protocol.UDP)
    lab.load(LOCAL)
    before = lab.datapath.counters().get(Counter.PASSED, 0)
    frame = bytes(packet)
    assert is_untouched(lab.datapath.run(hook, frame), frame)
    assert lab.datapath.counters()[Counter.PASSED] == before + 1
    assert lab.datapath.flows() == {}


ANOTHER_MAC = bytes.fromhex("020000000003")
GROUPS = [b"\xff" * 6, bytes.fromhex("03bf0a600010")]
"""Everybody, and a group, as some clusters of routers have their traffic delivered."""


def to_mac(lab: Lab, wire: Wire, mac: bytes) -> bytes:
    return mac + lab.frame(wire)[len(mac) :]


def test_what_is_for_another_host_passes(lab: Lab) -> None:
    """A promiscuous uplink shows it: another host's balancer has the same frontends."""
    lab.load(REMOTE)
    before = lab.datapath.counters().get(Counter.PASSED, 0)
    frame = to_mac(lab, WIRE, ANOTHER_MAC)
    assert is_untouched(lab.datapath.run(UPLINK, frame), frame)
    assert lab.datapath.counters()[Counter.PASSED] == before + 1
    assert lab.datapath.flows() == {}


def test_nor_is_it_part_of_a_flow(lab: Lab) -> None:
    lab.load(REMOTE)
    lab.run(UPLINK, WIRE)
    reply = to_mac(lab, Wire("remote:8080", "node:4000", flags="SA"), ANOTHER_MAC)
    assert is_untouched(lab.datapath.run(UPLINK, reply), reply)


@pytest.mark.parametrize("mac", GROUPS)
def test_what_is_for_a_group_is_for_this_host_too(lab: Lab, mac: bytes) -> None:
    lab.load(REMOTE)
    assert lab.datapath.run(UPLINK, to_mac(lab, WIRE, mac)).verdict is Verdict.REDIRECT


def test_what_a_pod_sends_to_its_bridge_is_for_this_host(lab: Lab) -> None:
    lab.load(REMOTE)
    wire = Wire("pod:4000", "cluster:80")
    outcome = lab.datapath.run(POD, to_mac(lab, wire, ANOTHER_MAC), Device.POD)
    assert outcome == Outcome(Verdict.NEXT, to_mac(lab, Wire("pod:4000", "remote:8080"), ANOTHER_MAC))


EXTENSIONS = {
    "hop-by-hop": IPv6ExtHdrHopByHop(),
    "routing": IPv6ExtHdrRouting(),
    "destination options": IPv6ExtHdrDestOpt(),
    "an atomic fragment": IPv6ExtHdrFragment(offset=0, m=0, id=7),  # RFC 6946
    "six": reduce(truediv, [IPv6ExtHdrDestOpt() for _ in range(6)]),
}


@pytest.mark.parametrize("header", EXTENSIONS.values(), ids=EXTENSIONS)
def test_extension_headers_are_walked(lab_of: Callable[[Family, Protocol], Lab], header: Packet) -> None:
    lab = lab_of(Family.IPV6, Protocol.UDP)
    lab.load(REMOTE)
    translated = Wire("node:4000", "remote:8080", ttl=63)
    expected = ethernet(translated) / network(translated, Family.IPV6) / header
    outcome = lab.datapath.run(UPLINK, bytes(ipv6_with(header)))
    whole = bytes(expected / transport(translated, Protocol.UDP) / Raw(translated.payload))
    assert outcome == Outcome(Verdict.REDIRECT, whole)


def test_flags_that_make_no_fragment_do_not_count_as_one(lab_of: Callable[[Family, Protocol], Lab]) -> None:
    lab = lab_of(Family.IPV4, Protocol.UDP)
    lab.load(LOCAL)
    for flags in ("DF", "evil", 0):
        assert not is_untouched(lab.datapath.run(UPLINK, bytes(ipv4(flags=flags))), bytes(ipv4(flags=flags)))


JOURNEYS = {
    "delivered": (LOCAL, UPLINK, "client:4000", "cluster:80", b""),
    "forwarded": (REMOTE, UPLINK, "client:4000", "cluster:80", b""),
    "hairpinned": (LOCAL, POD, "pod:4000", "cluster:80", b""),
    "restored": (LOCAL, OUT, "pod:8080", "client:4000", b""),
    "with options": (REMOTE, UPLINK, "client:4000", "cluster:80", bytes([148, 4, 0, 0] * 10)),
    "nobody's": (LOCAL, UPLINK, "client:4000", "external:80", b""),
}
"""Service, hook, source, destination, IPv4 options."""


def cut(lab: Lab, frame: bytes, length: int) -> bytes:
    """Return the first bytes of a frame. A test run takes no IP frame without its IP header: such a one is disguised.

    The programs are attached by protocol and never look at the Ethernet type themselves.
    """
    if length >= ETHERNET_BYTES + HEADER_BYTES[lab.family]:
        return frame[:length]
    return (frame[:12] + EXPERIMENTAL_ETHERTYPE + frame[14:])[:length]


@pytest.mark.parametrize("journey", JOURNEYS)
def test_a_packet_cut_at_every_byte(lab: Lab, journey: str) -> None:
    service, hook, source, destination, options = JOURNEYS[journey]
    lab.load(service)
    lab.run(UPLINK, WIRE)
    wire = Wire(source, destination, options=options if lab.family is Family.IPV4 else b"")
    whole, frame = lab.run(hook, wire), lab.frame(wire)
    headers = ETHERNET_BYTES + HEADER_BYTES[lab.family] + len(wire.options) + LAYER4_BYTES[lab.protocol]
    assert whole.frame != frame or journey == "nobody's"
    for length in range(ETHERNET_BYTES, len(frame) + 1):
        part = cut(lab, frame, length)
        expected = Outcome(whole.verdict, whole.frame[:length]) if length >= headers else Outcome(Verdict.NEXT, part)
        assert lab.datapath.run(hook, part, Device.POD if hook is POD else Device.UPLINK) == expected, length


@pytest.mark.parametrize("hook", [UPLINK, POD])
def test_a_refused_packet_cut_at_every_byte(lab: Lab, hook: Hook) -> None:
    """The answer is made of headers alone: it is the same for every length that has them all."""
    lab.load(EMPTY)
    whole, frame = lab.run(hook, WIRE), lab.frame(WIRE)
    headers = ETHERNET_BYTES + HEADER_BYTES[lab.family] + LAYER4_BYTES[lab.protocol]
    assert whole.verdict is Verdict.REDIRECT
    for length in range(ETHERNET_BYTES, len(frame) + 1):
        part = cut(lab, frame, length)
        expected = whole if length >= headers else Outcome(Verdict.NEXT, part)
        assert lab.datapath.run(hook, part) == expected, length
