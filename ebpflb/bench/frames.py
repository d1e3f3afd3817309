"""Decides what the frames of a flood look like: each is whole, right to its checksums, and from another sender.

Knows no kernel interface: what comes out are bytes of a frame and instructions of an XDP program that writes it anew
on each run, since the kernel gives a frame's page back as the receiver left it.

    FrameKind -> template, generator_code(map, device) -> flood_kernel.py
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
    LOAD,
    REDIRECT,
    REGISTER,
    RIGHT_SHIFT,
    STORE_REGISTER,
    Code,
)
from ebpflb.core.abi import Family, Protocol

SENDERS: Final = {Family.IPV4: "198.18.0.0", Family.IPV6: "2001:2::"}
"""First address of the forged senders: networks for benchmarks (RFC 2544, RFC 5180), which nobody has."""
ADDRESS_BITS: Final = 17
PORT_BITS: Final = 15
FIRST_PORT: Final = 1 << 14
DISTINCT: Final = 1 << (ADDRESS_BITS + PORT_BITS)
"""So many frames differ in address or port."""

_ETHERTYPES: Final = {Family.IPV4: 0x0800, Family.IPV6: 0x86DD}
_PAYLOAD: Final = b"flood of datagrams"
_TCP_SYN: Final = 0x02
_MSS_OPTION: Final = struct.pack("!BBH", 2, 4, 1440)
_TTL: Final = 64
_XDP_DROP: Final = 1


@dataclass(frozen=True, slots=True)
class FrameKind:
    """What all frames of a flood have in common."""

    protocol: Protocol
    """TCP: SYNs. UDP: datagrams of 18 bytes."""
    source_mac: bytes
    destination_mac: bytes
    address: str
    """Of the frontend that is flooded; its family is the frames'."""
    port: int

    @property
    def family(self) -> Family:
        """Return the family."""
        return Family(ip_address(self.address).version)

    @property
    def l4_offset(self) -> int:
        """Return where the transport header begins."""
        return 34 if self.family is Family.IPV4 else 54

    @property
    def sender_offset(self) -> int:
        """Return where the last 32 bits of the source address are."""
        return 26 if self.family is Family.IPV4 else 34

    @property
    def checksum_offset(self) -> int:
        """Return where the transport's checksum is."""
        return self.l4_offset + (16 if self.protocol is Protocol.TCP else 6)


def template(kind: FrameKind) -> bytes:
    """Return the frame of sender 0 from port 0, with checksums of zero, in whole 32-bit words."""
    segment = _segment(kind)
    sender, frontend = (ip_address(text).packed for text in (SENDERS[kind.family], kind.address))
    if kind.family is Family.IPV4:
        fields = (0x45, 0, 20 + len(segment), 0, 0x4000, _TTL, kind.protocol, 0, sender, frontend)
        header = struct.pack("!BBHHHBBH4s4s", *fields)
    else:
        header = struct.pack("!IHBB16s16s", 6 << 28, len(segment), kind.protocol, _TTL, sender, frontend)
    ethernet = kind.destination_mac + kind.source_mac + struct.pack("!H", _ETHERTYPES[kind.family])
    frame = ethernet + header + segment
    return frame.ljust(-(-len(frame) // 4) * 4, b"\0")


def _segment(kind: FrameKind) -> bytes:
    if kind.protocol is Protocol.TCP:
        header_words = 5 + len(_MSS_OPTION) // 4
        return struct.pack("!HHIIBBHHH", 0, kind.port, 1, 0, header_words << 4, _TCP_SYN, 65535, 0, 0) + _MSS_OPTION
    return struct.pack("!HHHH", 0, kind.port, 8 + len(_PAYLOAD), 0) + _PAYLOAD


def sender_of(number: int) -> tuple[int, int]:
    """Return what the ``number``-th frame adds to the first sender's address, and its source port."""
    address = number & (1 << ADDRESS_BITS) - 1
    return address, FIRST_PORT + ((number >> ADDRESS_BITS) + number & (1 << PORT_BITS) - 1)


def generator_code(kind: FrameKind, counter: int, ifindex: int) -> bytes:
    """Return the instructions of an XDP program that writes the next frame and sends it out of a device.

    ``counter`` is the descriptor of an array with one u64: the number of the next frame. r6: context, r7: number,
    r8: start of the frame.
    """
    frame = template(kind)
    code = Code()
    code.open_frame(len(frame))
    code.look_up(counter)
    code.emit(LOAD | DOUBLE, dst=7, src=0)
    code.move(1, 7)
    code.alu(ADD, 1, imm=1)
    code.emit(STORE_REGISTER | DOUBLE, dst=0, src=1)
    code.write(frame)
    _write_sender(code, kind, frame)
    code.load(1, ifindex)
    code.load(2, 0)
    code.call(REDIRECT)
    code.emit(EXIT)
    return code.finish(_XDP_DROP)


def _write_sender(code: Code, kind: FrameKind, frame: bytes) -> None:
    """Put address and port of sender r7 into the frame, then the checksums. r1, r2: halves of the address, r3: port."""
    high, low = struct.unpack_from("!HH", frame, kind.sender_offset)
    code.move(1, 7)
    code.alu(RIGHT_SHIFT, 1, imm=16)
    code.alu(AND, 1, imm=(1 << ADDRESS_BITS - 16) - 1)
    code.alu(ADD, 1, imm=high)
    code.move(2, 7)
    code.alu(AND, 2, imm=0xFFFF)
    code.alu(ADD, 2, imm=low)
    code.move(3, 7)
    code.alu(RIGHT_SHIFT, 3, imm=ADDRESS_BITS)
    code.alu(ADD | REGISTER, 3, src=7)
    code.alu(AND, 3, imm=(1 << PORT_BITS) - 1)
    code.alu(ADD, 3, imm=FIRST_PORT)
    for register, offset in ((1, kind.sender_offset), (2, kind.sender_offset + 2), (3, kind.l4_offset)):
        code.move(4, register)
        code.store_be16(4, offset)
    sums = [(24, _sum_of_header(frame), False)] if kind.family is Family.IPV4 else []
    sums.append((kind.checksum_offset, _sum_of_segment(kind, frame), True))
    for offset, constant, with_port in sums:
        code.load(4, constant - high - low)
        code.alu(ADD | REGISTER, 4, src=1)
        code.alu(ADD | REGISTER, 4, src=2)
        if with_port:
            code.alu(ADD | REGISTER, 4, src=3)
        code.complement(4, scratch=5)
        code.store_be16(4, offset)


def _sum_of_header(frame: bytes) -> int:
    words: tuple[int, ...] = struct.unpack_from("!10H", frame, 14)
    return sum(words)


def _sum_of_segment(kind: FrameKind, frame: bytes) -> int:
    """Sum the transport segment and its pseudo header, unfolded."""
    addresses = 26 if kind.family is Family.IPV4 else 22
    end = kind.l4_offset + len(_segment(kind))
    words: tuple[int, ...] = struct.unpack_from(f"!{(end - addresses) // 2}H", frame, addresses)
    return sum(words) + kind.protocol + end - kind.l4_offset
