"""The frames of a measure and the programs around them, before the kernel runs one."""

import struct

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from ebpflb.bench.bpf_code import Code
from ebpflb.bench.live_frames import (
    FLOWS,
    FRAME_BYTES,
    MARK,
    Stream,
    Target,
    generator_code,
    sink_code,
    swap_code,
    template,
)

STREAM = Stream(
    bytes.fromhex("02eb9f000001"), bytes.fromhex("02eb9f000002"), Target("192.0.2.9", 20000), Target("192.0.2.1", 53)
)
END_PASS, END_DROP = (0xB7, 0, 0, 2), (0xB7, 0, 0, 1)
EXIT = (0x95, 0, 0, 0)


def instructions(code: bytes) -> list[tuple[int, int, int, int]]:
    return list(struct.iter_unpack("=BBhi", code))


def test_a_template_is_a_datagram_to_the_target() -> None:
    frame = template(STREAM)
    assert len(frame) == FRAME_BYTES
    packet = Ether(frame)
    assert (packet.src, packet.dst) == ("02:eb:9f:00:00:01", "02:eb:9f:00:00:02")
    assert (packet[IP].src, packet[IP].dst, packet[IP].len) == ("192.0.2.9", "192.0.2.1", 46)
    assert (packet[UDP].sport, packet[UDP].dport, packet[UDP].len) == (20000, 53, 26)
    assert bytes(packet[UDP].payload).startswith(MARK)
    header = packet[IP].copy()
    del header.chksum
    assert IP(bytes(header)).chksum == packet[IP].chksum


def test_flows_are_a_power_of_two() -> None:
    assert FLOWS & (FLOWS - 1) == 0


@pytest.mark.parametrize(
    ("code", "end"),
    [
        (generator_code(STREAM, 3, 5), END_DROP),
        (sink_code(STREAM.target, 3), END_PASS),
        (swap_code(), END_PASS),
    ],
    ids=["generator", "sink", "swap"],
)
def test_what_is_not_expected_ends_at_the_end(code: bytes, end: tuple[int, int, int, int]) -> None:
    program = instructions(code)
    assert program[-2:] == [end, EXIT]
    comparisons = {0x15, 0x56, 0x2D}
    targets = {number + 1 + row[2] for number, row in enumerate(program) if row[0] in comparisons}
    assert targets == {len(program) - 2}


def test_an_operand_equals_bytes_as_they_are_loaded() -> None:
    assert Code.immediate(struct.pack("=H", 0xFFFE)) == 0xFFFE
    assert Code.immediate(struct.pack("=I", 0xFFFFFFFE)) == -2
