"""Answers in place of a packet: a TCP RST (RFC 9293, 3.10.7.1), an ICMP port unreachable (RFC 792, RFC 4443).

Packet --reject--> the whole frame that goes back to the sender
"""

import struct

from ebpflb.core.abi import Family, Protocol
from tests.fuzz import checksums
from tests.fuzz.packet import L2, Packet

TTL = 64
_HEADER_BYTES = {Family.IPV4: 20, Family.IPV6: 40}
_ICMP = {Family.IPV4: 1, Family.IPV6: 58}
_PORT_UNREACHABLE = {Family.IPV4: (3, 3), Family.IPV6: (1, 4)}
_FIN, _SYN, _RST, _ACK = 1, 2, 4, 16
_QUOTED_L4 = 8


def has_options(packet: Packet, family: Family) -> bool:
    """Say whether anything stands between the network header and the transport header: that is not answered."""
    return packet.l4 != L2 + _HEADER_BYTES[family]


def reject(packet: Packet, family: Family) -> bytes:
    """Return the refusal of a packet without options."""
    if packet.protocol == Protocol.TCP:
        return _reset(packet, family)
    return _unreachable(packet, family)


def swapped_link(frame: bytes) -> bytes:
    """Return the link header of a frame that goes back."""
    return frame[6:12] + frame[:6] + frame[12:L2]


def header(packet: Packet, family: Family, protocol: int, length: int) -> bytes:
    """Return the network header of an answer from the packet's destination to its source."""
    size = family.address_bytes
    saddr, daddr = packet.ends[size : 2 * size], packet.ends[:size]
    if family is Family.IPV6:
        return struct.pack(">IHBB", 6 << 28, length, protocol, TTL) + saddr + daddr
    start = struct.pack(">BBHHHBB", 0x45, 0, 20 + length, 0, 0, TTL, protocol)
    return start + checksums.checksum(start + saddr + daddr).to_bytes(2, "big") + saddr + daddr


def pseudo(packet: Packet, family: Family, protocol: int, length: int) -> bytes:
    """Return the pseudo header, which adds up alike in both directions."""
    return packet.ends[: 2 * family.address_bytes] + struct.pack(">HH", protocol, length & 0xFFFF)


def _l4_length(packet: Packet, family: Family) -> int:
    told = int.from_bytes(packet.frame[16:18] if family is Family.IPV4 else packet.frame[18:20], "big")
    return (told - 20) & 0xFFFF if family is Family.IPV4 else told


def _reset(packet: Packet, family: Family) -> bytes:
    tcp = packet.frame[packet.l4 : packet.l4 + 20]
    seq, ack = struct.unpack(">II", tcp[4:12])
    flags, length = tcp[13], _l4_length(packet, family)
    if flags & _ACK:
        numbers, answer_flags = (ack, 0), _RST
    else:
        used = length - 4 * (tcp[12] >> 4) + bool(flags & _SYN) + bool(flags & _FIN)
        numbers, answer_flags = (0, (seq + used) & 0xFFFFFFFF), _RST | _ACK
    answer = tcp[2:4] + tcp[:2] + struct.pack(">IIBBHHH", *numbers, 0x50, answer_flags, 0, 0, 0)
    covered = pseudo(packet, family, Protocol.TCP, len(answer))
    # A sum that is the pseudo header's stands for a checksum that the device has yet to complete: it stays one.
    is_partial = int.from_bytes(tcp[16:18], "big") == checksums.folded(pseudo(packet, family, Protocol.TCP, length))
    sum_ = checksums.folded(covered) if is_partial else checksums.checksum(covered, answer)
    answer = answer[:16] + sum_.to_bytes(2, "big") + answer[18:]
    return swapped_link(packet.frame) + header(packet, family, Protocol.TCP, len(answer)) + answer


def _unreachable(packet: Packet, family: Family) -> bytes:
    quote = packet.frame[L2 : packet.l4 + _QUOTED_L4]
    protocol, (type_, code) = _ICMP[family], _PORT_UNREACHABLE[family]
    icmp = bytes((type_, code, 0, 0, 0, 0, 0, 0))
    covered = pseudo(packet, family, protocol, len(icmp + quote)) if family is Family.IPV6 else b""
    icmp = icmp[:2] + checksums.checksum(covered, icmp, quote).to_bytes(2, "big") + icmp[4:]
    return swapped_link(packet.frame) + header(packet, family, protocol, len(icmp + quote)) + icmp + quote
