"""The frames of a flood, before the kernel sends one (tests/netns/test_flood.py looks at those that it sent)."""

import struct

import pytest
from scapy.layers.inet import TCP, UDP
from scapy.layers.l2 import Ether

from ebpflb.bench.frames import ADDRESS_BITS, DISTINCT, FrameKind, generator_code, sender_of, template
from ebpflb.core.abi import Family, Protocol

TARGETS = {Family.IPV4: "192.0.2.1", Family.IPV6: "2001:db8::1"}


def kind_of(family: Family, protocol: Protocol) -> FrameKind:
    return FrameKind(protocol, bytes.fromhex("02eb9f000001"), bytes.fromhex("02eb9f000002"), TARGETS[family], 30080)


@pytest.mark.parametrize("protocol", [Protocol.TCP, Protocol.UDP])
@pytest.mark.parametrize("family", Family)
def test_a_template_says_what_is_flooded(family: Family, protocol: Protocol) -> None:
    kind = kind_of(family, protocol)
    frame = template(kind)
    assert kind.family is family
    assert len(frame) % 4 == 0
    packet = Ether(frame)
    segment = packet[TCP if protocol is Protocol.TCP else UDP]
    assert (packet.src, packet.dst, packet.payload.dst) == ("02:eb:9f:00:00:01", "02:eb:9f:00:00:02", kind.address)
    assert (segment.sport, segment.dport, segment.chksum) == (0, 30080, 0)
    assert protocol is Protocol.UDP or segment.flags == "S"


def test_every_sender_is_another_one() -> None:
    step = 1 << ADDRESS_BITS
    numbers = [*range(1000), *range(step, step + 1000), *range(0, DISTINCT, step), DISTINCT - 1]
    assert len({sender_of(number) for number in numbers}) == len(set(numbers))
    assert sender_of(DISTINCT) == sender_of(0)


def test_a_generator_is_whole_instructions_whose_jumps_lead_to_the_drop() -> None:
    code = generator_code(kind_of(Family.IPV4, Protocol.TCP), counter=7, ifindex=3)
    instructions = list(struct.iter_unpack("=BBhi", code))
    drop = len(instructions) - 2
    assert instructions[drop:] == [(0xB7, 0, 0, 1), (0x95, 0, 0, 0)]
    jumps = [number + 1 + row[2] for number, row in enumerate(instructions) if row[0] in {0x15, 0x2D}]
    assert jumps == [drop, drop]
