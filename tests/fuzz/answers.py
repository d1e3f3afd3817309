"""Answers in place of a packet, from the address it went to back to its sender.

    Packet --answer--> the whole frame, link header not yet turned round

A TCP RST (RFC 9293, 3.10.7.1), ICMP port unreachable, packet too big with the MTU (RFC 1191, RFC 8201), time exceeded
(RFC 792, RFC 4443), an echo reply. Errors quote headers, up to the transport's checksum.
"""

import struct

from ebpflb.core.abi import Counter, Family, Protocol
from tests.fuzz import checksums
from tests.fuzz.decision import Act
from tests.fuzz.headers import Kind
from tests.fuzz.packet import ICMP, L2, Packet

TTL = 64
_HEADER_BYTES = {Family.IPV4: 20, Family.IPV6: 40}
_FRAGMENT_HEADER = {Family.IPV4: 0, Family.IPV6: 8}
_TYPE_AND_CODE = {
    (Act.REJECT, Family.IPV4): b"\3\3",
    (Act.REJECT, Family.IPV6): b"\1\4",
    (Act.TOO_BIG, Family.IPV4): b"\3\4",
    (Act.TOO_BIG, Family.IPV6): b"\2\0",
    (Act.EXPIRED, Family.IPV4): b"\x0b\0",
    (Act.EXPIRED, Family.IPV6): b"\3\0",
}
_ECHO_REPLY = {Family.IPV4: 0, Family.IPV6: 129}
_TTL_AT = {Family.IPV4: L2 + 8, Family.IPV6: L2 + 7}
_SADDR = {Family.IPV4: L2 + 12, Family.IPV6: L2 + 8}
_FIN, _SYN, _RST, _ACK = 1, 2, 4, 16
_QUOTED_L4 = {Protocol.TCP: 20, Protocol.UDP: 8, Protocol.SCTP: 12}
FAILURES = {Act.TOO_BIG: Counter.DROP_TOO_BIG, Act.EXPIRED: Counter.DROP_TTL, Act.REJECT: Counter.DROP_REWRITE}
"""The drop that an unanswered packet is."""


def is_answered(packet: Packet, act: Act, family: Family) -> bool:
    """Options, extension headers, fragments, ICMP errors and packets in an outer header get no answer; pings do.

    And so does a first fragment that is too big: else its sender would never make smaller ones.
    """
    if act is Act.ECHO_ANSWER:
        return True
    headers = L2 + _HEADER_BYTES[family]
    if packet.kind is Kind.FIRST_FRAGMENT and act is Act.TOO_BIG:
        return not packet.outer_daddr and packet.l4 == headers + _FRAGMENT_HEADER[family]
    return packet.kind is Kind.WHOLE and not packet.outer_daddr and packet.l4 == headers


def answer(packet: Packet, act: Act, mtu: int, family: Family) -> bytes:
    """Return the answer."""
    if act is Act.ECHO_ANSWER:
        return _echo_reply(packet, family)
    if act is Act.REJECT and packet.protocol == Protocol.TCP:
        return _reset(packet, family)
    return _error(packet, act, mtu, family)


def _header(packet: Packet, family: Family, protocol: int, length: int) -> bytes:
    """Return the network header of an answer from the packet's destination to its source."""
    size = family.address_bytes
    addresses = packet.ends[size : 2 * size] + packet.ends[:size]
    if family is Family.IPV6:
        return struct.pack(">IHBB", 6 << 28, length, protocol, TTL) + addresses
    start = struct.pack(">BBHHHBB", 0x45, 0, 20 + length, 0, 0, TTL, protocol)
    return start + checksums.checksum(start + addresses).to_bytes(2, "big") + addresses


def _pseudo(packet: Packet, family: Family, protocol: int, length: int) -> bytes:
    """Return the pseudo header, which adds up alike in both directions."""
    return packet.ends[: 2 * family.address_bytes] + struct.pack(">HH", protocol, length & 0xFFFF)


def _reset(packet: Packet, family: Family) -> bytes:
    tcp = packet.frame[packet.l4 : packet.l4 + 20]
    seq, ack = struct.unpack(">II", tcp[4:12])
    flags, length = tcp[13], (packet.length - _HEADER_BYTES[family]) & 0xFFFF
    if flags & _ACK:
        numbers, answer_flags = (ack, 0), _RST
    else:
        used = length - 4 * (tcp[12] >> 4) + bool(flags & _SYN) + bool(flags & _FIN)
        numbers, answer_flags = (0, (seq + used) & 0xFFFFFFFF), _RST | _ACK
    reset = tcp[2:4] + tcp[:2] + struct.pack(">IIBBHHH", *numbers, 0x50, answer_flags, 0, 0, 0)
    covered = _pseudo(packet, family, Protocol.TCP, len(reset))
    # A sum that is the pseudo header's stands for a checksum that the device has yet to complete: it stays one.
    is_partial = int.from_bytes(tcp[16:18], "big") == checksums.folded(_pseudo(packet, family, Protocol.TCP, length))
    sum_ = checksums.folded(covered) if is_partial else checksums.checksum(covered, reset)
    reset = reset[:16] + sum_.to_bytes(2, "big") + reset[18:]
    return packet.frame[:L2] + _header(packet, family, Protocol.TCP, len(reset)) + reset


def _error(packet: Packet, act: Act, mtu: int, family: Family) -> bytes:
    quote = packet.frame[L2 : packet.l4 + _QUOTED_L4[Protocol(packet.protocol)]]
    protocol = ICMP[family]
    told = mtu.to_bytes(4, "big") if act is Act.TOO_BIG else bytes(4)
    icmp = _TYPE_AND_CODE[act, family] + b"\0\0" + told
    covered = _pseudo(packet, family, protocol, len(icmp + quote)) if family is Family.IPV6 else b""
    icmp = icmp[:2] + checksums.checksum(covered, icmp, quote).to_bytes(2, "big") + icmp[4:]
    return packet.frame[:L2] + _header(packet, family, protocol, len(icmp + quote)) + icmp + quote


def _echo_reply(packet: Packet, family: Family) -> bytes:
    """The ping turned round: what it carries stays."""
    frame, l4, size = bytearray(packet.frame), packet.l4, family.address_bytes
    before, after = bytes(frame[l4 : l4 + 2]), bytes((_ECHO_REPLY[family], 0))
    old = int.from_bytes(frame[l4 + 2 : l4 + 4], "big")
    frame[l4 : l4 + 4] = after + checksums.updated(old, before, after).to_bytes(2, "big")
    if family is Family.IPV4:
        old, growth = int.from_bytes(frame[L2 + 10 : L2 + 12], "big"), (TTL - packet.ttl) << 8
        frame[L2 + 10 : L2 + 12] = checksums.shifted(old, growth).to_bytes(2, "big")
    frame[_TTL_AT[family]] = TTL
    at = _SADDR[family]
    frame[at : at + 2 * size] = packet.ends[size : 2 * size] + packet.ends[:size]
    return bytes(frame)
