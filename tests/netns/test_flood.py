"""A flood of forged senders: its frames are what they say, and nobody but the forgers notices it."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from scapy.layers.inet import TCP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from ebpflb.bench.flood import FloodPlan, run_flood
from ebpflb.bench.flood_kernel import Generator
from ebpflb.bench.flood_stage import staged
from ebpflb.bench.frames import FrameKind, sender_of
from ebpflb.core.abi import Family, Protocol
from tests.netns.host_helpers import inside, namespace, run

pytestmark = pytest.mark.root

MACS = bytes.fromhex("02eb9f000001"), bytes.fromhex("02eb9f000002")
TARGETS = {Family.IPV4: "192.0.2.1", Family.IPV6: "2001:db8::1"}
FRAMES = 130
"""Three batches: pages come back as the receiver left them."""
PACKETS = 70_000
"""More than there are source ports towards the one remote backend, and less than `pending` has room for."""
FLOWS = 16_384
"""Entries: a flood that was taken for flows would not fit."""
_SO_RCVBUFFORCE = 33


@contextmanager
def cable() -> Iterator[tuple[socket.socket, int]]:
    """Have a veth pair in a namespace; give a socket that hears at one end, and the index of the other."""
    with namespace("flood") as path, inside(path):
        run("ip", "link", "add", "up0", "up", "type", "veth", "peer", "name", "up1")
        run("ip", "link", "set", "up1", "up", "addrgenmode", "none")
        run("ethtool", "-K", "up1", "gro", "on")
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as heard:
            heard.bind(("up1", 0))
            heard.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 1 << 22)  # a live frame counts as a whole page
            heard.settimeout(60)
            yield heard, socket.if_nametoindex("up0")


def next_frame(heard: socket.socket) -> bytes:
    while True:
        frame = heard.recv(2000)
        if frame[6:12] == MACS[0]:
            return frame


def as_it_should_be(frame: bytes) -> bytes:
    """Return the frame with all lengths and checksums computed anew."""
    packet: Packet = Ether(frame)
    for layer in packet.layers():
        for name in {"chksum", "len", "plen"} & packet[layer].fields.keys():
            del packet[layer].fields[name]
    return bytes(packet)


@pytest.mark.parametrize("protocol", [Protocol.TCP, Protocol.UDP], ids=lambda protocol: protocol.name)
@pytest.mark.parametrize("family", Family, ids=lambda family: family.name)
def test_each_frame_is_whole_and_from_another_sender(family: Family, protocol: Protocol) -> None:
    kind = FrameKind(protocol, *MACS, TARGETS[family], 30080)
    senders = set()
    with cable() as (heard, ifindex), Generator(kind, ifindex) as generator:
        generator.send(FRAMES)
        assert generator.sent() == FRAMES
        for number in range(FRAMES):
            frame = next_frame(heard)
            assert frame == as_it_should_be(frame)
            packet = Ether(frame)
            segment = packet[TCP if protocol is Protocol.TCP else UDP]
            assert (packet.payload.dst, segment.dport) == (kind.address, kind.port)
            assert segment.sport == sender_of(number)[1]
            senders.add((packet.payload.src, segment.sport))
    assert len(senders) == FRAMES


def test_a_flood_is_noticed_by_nobody_else() -> None:
    plan = FloodPlan(PACKETS, (Protocol.TCP, Protocol.UDP))
    with staged(Family.IPV4, ["--map-size", f"flows={FLOWS}"]) as stage:
        report = run_flood(stage, plan)
    assert report.complaints() == []
    assert [wave.arrived >= wave.wanted == PACKETS for wave in report.waves] == [True, True]
    assert report.counters["flow_created"] > PACKETS
    before, after, size = report.fill["flows"]
    assert before <= after < size // 2
