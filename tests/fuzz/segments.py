"""Valid transport segments around any ends: TCP, UDP, SCTP, ICMP. Knows no conversation and no world."""

import struct

from ebpflb.core.abi import Family, Protocol
from tests.fuzz import checksums
from tests.fuzz.rows import Ends
from tests.fuzz.sctp import crc32c

MACS = bytes.fromhex("020000000002020000000001")
ETHERTYPE = {Family.IPV4: b"\x08\x00", Family.IPV6: b"\x86\xdd"}
ICMP = {Family.IPV4: 1, Family.IPV6: 58}
_FRAGMENT = 44


def network(
    family: Family,
    protocol: int,
    ends: Ends,
    segment: bytes,
    *,
    ttl: int = 64,
    fragment: int = 0x4000,
    number: bytes = b"\x12\x34",
) -> bytes:
    """Return a packet around a segment. ``fragment``: flags and offset as in IPv4's header."""
    size = family.address_bytes
    addresses = ends[: 2 * size]
    if family is Family.IPV4:
        start = struct.pack(">BBH2sHBB", 0x45, 0x48, 20 + len(segment), number, fragment, ttl, protocol)
        return start + checksums.checksum(start + addresses).to_bytes(2, "big") + addresses + segment
    if fragment & 0x3FFF:
        place = (fragment & 0x1FFF) << 3 | bool(fragment & 0x2000)
        segment = struct.pack(">BBH2s2x", protocol, 0, place, number) + segment
        protocol = _FRAGMENT
    return struct.pack(">IHBB", 0x64812345, len(segment), protocol, ttl) + addresses + segment


def frame(family: Family, packet: bytes) -> bytes:
    """Return a frame around a packet."""
    return MACS + ETHERTYPE[family] + packet


def tcp(ends: Ends, flags: int, payload: bytes, options: bytes = b"") -> bytes:
    """Return a TCP segment."""
    offset = (20 + len(options)) // 4 << 4
    start = ends[-4:] + struct.pack(">IIBBHHH", 1000, 2000, offset, flags, 8192, 0, 0) + options
    covered = ends[:-4] + struct.pack(">HH", Protocol.TCP, len(start + payload))
    sum_ = checksums.checksum(covered, start, payload)
    return start[:16] + sum_.to_bytes(2, "big") + start[18:] + payload


def udp(ends: Ends, payload: bytes) -> bytes:
    """Return a UDP datagram."""
    length = 8 + len(payload)
    covered = ends[:-4] + struct.pack(">HH", Protocol.UDP, length)
    start = ends[-4:] + struct.pack(">H", length)
    sum_ = checksums.checksum(covered, start + b"\0\0", payload) or 0xFFFF
    return start + sum_.to_bytes(2, "big") + payload


def sctp(ends: Ends, chunk: int, payload: bytes) -> bytes:
    """Return an SCTP packet of one chunk."""
    body = struct.pack(">BBH", chunk, 3, 4 + len(payload)) + payload
    start = ends[-4:] + b"\1\2\3\4"
    return start + crc32c(start + bytes(4) + body).to_bytes(4, "little") + body


def icmp(family: Family, addresses: bytes, start: bytes, rest: bytes) -> bytes:
    """Return an ICMP message: type and code, then all behind the checksum."""
    covered = addresses + struct.pack(">HH", ICMP[family], 4 + len(rest)) if family is Family.IPV6 else b""
    return start + checksums.checksum(covered, start + b"\0\0", rest).to_bytes(2, "big") + rest
