"""Decides what the frames of a measure look like, and what the bench's own XDP programs do with them.

Knows no kernel interface: what comes out are bytes of a frame and instructions.

    Stream -> template, generator_code -> live_kernel.py -> frames        Target -> sink_code: counts what arrived there

A frame's page comes back as its receiver left it, so the generator writes the whole frame on each run, in whole words:
MACs, ethertype, addresses, ports, checksums.
"""

import struct
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from ebpflb.bench.bpf_code import (
    ADD,
    AND,
    DOUBLE,
    EXIT,
    HALF,
    LOAD,
    NOT_EQUAL_WORD,
    REDIRECT,
    REGISTER,
    STORE_REGISTER,
    WORD,
    Code,
)

FLOWS: Final = 16
"""Source ports of a stream, one after the other: a power of two."""
FRAME_BYTES: Final = 60
MARK: Final = b"LB-F"
"""Begins the payload of what is counted: the datagrams that open the flows, ARP and the like are not."""

_DROP, _PASS, _TRANSMIT = 1, 2, 3  # enum xdp_action
_UDP: Final = 17
_TTL: Final = 64
_ADDRESS, _PORTS, _CHECKSUM, _PAYLOAD = 30, 34, 40, 42
"""Where the destination address, the ports, UDP's checksum and the payload are."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where datagrams go."""

    address: str
    """IPv4."""
    port: int


@dataclass(frozen=True, slots=True)
class Stream:
    """UDP datagrams of 18 bytes in ``FLOWS`` flows."""

    source_mac: bytes
    destination_mac: bytes
    source: Target
    """Its port is that of the first flow; the others follow."""
    target: Target


def template(stream: Stream) -> bytes:
    """Return the first flow's frame, right to its checksums, without a checksum of UDP."""
    payload = MARK.ljust(FRAME_BYTES - _PAYLOAD, b"\0")
    source, target = (ip_address(where.address).packed for where in (stream.source, stream.target))
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 28 + len(payload), 0, 0x4000, _TTL, _UDP, 0, source, target)
    header = header[:10] + struct.pack("!H", _folded(header) ^ 0xFFFF) + header[12:]
    datagram = struct.pack("!HHHH", stream.source.port, stream.target.port, 8 + len(payload), 0) + payload
    return stream.destination_mac + stream.source_mac + b"\x08\0" + header + datagram


def generator_code(stream: Stream, counter: int, ifindex: int) -> bytes:
    """Return a program that writes the next flow's frame and sends it out of a device.

    ``counter``: descriptor of an array with one u64, the number of the next frame. r7: source port, r8: the frame.
    """
    frame = template(stream)
    code = Code()
    code.open_frame(len(frame))
    code.look_up(counter)
    code.emit(LOAD | DOUBLE, dst=7, src=0)
    code.move(1, 7)
    code.alu(ADD, 1, imm=1)
    code.emit(STORE_REGISTER | DOUBLE, dst=0, src=1)
    code.alu(AND, 7, imm=FLOWS - 1)
    code.alu(ADD, 7, imm=stream.source.port)
    code.write(frame)
    code.move(4, 7)
    code.store_be16(4, _PORTS)
    # The pseudo header: addresses, protocol, length; without the first flow's port.
    pseudo = frame[26:34] + struct.pack("!HH", _UDP, FRAME_BYTES - _PORTS)
    code.load(4, _sum(pseudo + frame[_PORTS:]) - stream.source.port)
    code.alu(ADD | REGISTER, 4, src=7)
    code.complement(4, scratch=5)
    code.store_be16(4, _CHECKSUM)
    code.load(1, ifindex)
    code.load(2, 0)
    code.call(REDIRECT)
    code.emit(EXIT)
    return code.finish(_DROP)


def sink_code(target: Target, counter: int) -> bytes:
    """Return a program that counts and drops the marked datagrams to a target, and passes all else."""
    code = Code()
    code.open_frame(FRAME_BYTES)
    _leave_unless(code, WORD, _PAYLOAD, MARK)
    _leave_unless(code, WORD, _ADDRESS, ip_address(target.address).packed)
    _leave_unless(code, HALF, _PORTS + 2, struct.pack("!H", target.port))
    code.look_up(counter)
    code.emit(LOAD | DOUBLE, dst=1, src=0)
    code.alu(ADD, 1, imm=1)
    code.emit(STORE_REGISTER | DOUBLE, dst=0, src=1)
    code.exit(_DROP)
    return code.finish(_PASS)


def swap_code() -> bytes:
    """Return a program that sends the marked datagrams back with their MACs swapped: the floor of a load balancer."""
    code = Code()
    code.open_frame(FRAME_BYTES)
    _leave_unless(code, WORD, _PAYLOAD, MARK)
    halves = dict(enumerate((1, 2, 3, 4, 5, 7)))
    for place, register in halves.items():
        code.emit(LOAD | HALF, dst=register, src=8, off=2 * place)
    for place, register in halves.items():
        code.emit(STORE_REGISTER | HALF, dst=8, src=register, off=(2 * place + 6) % 12)
    code.exit(_TRANSMIT)
    return code.finish(_PASS)


def _leave_unless(code: Code, size: int, offset: int, value: bytes) -> None:
    """Go to the end unless the frame at r8 has these bytes there."""
    code.emit(LOAD | size, dst=1, src=8, off=offset)
    code.leave_if(NOT_EQUAL_WORD, 1, imm=code.immediate(value))


def _sum(data: bytes) -> int:
    return sum(struct.unpack(f"!{len(data) // 2}H", data))


def _folded(data: bytes) -> int:
    total = _sum(data)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total
