"""The TCP segments that programs are measured with, and what can be read off those that came out. Pure.

Endpoints, flags --segment--> frame, right to its checksums --(program)--> frame --endpoints_of--> Endpoints
"""

import struct
from ipaddress import ip_address
from typing import Final, NamedTuple

from ebpflb.core.abi import Family, Protocol

SYN: Final = 0x02
SYN_ACK: Final = 0x12
ACK: Final = 0x10
_ETHERTYPES: Final = {Family.IPV4: 0x0800, Family.IPV6: 0x86DD}
_HEADER_BYTES: Final = {Family.IPV4: 20, Family.IPV6: 40}
_TTL: Final = 64
_PAYLOAD: Final = b"as many"
_ETHERNET_BYTES: Final = 14
_TCP: Final = struct.Struct("!HHIIBBHHH")


class Endpoints(NamedTuple):
    """Who sends to whom."""

    source: bytes
    source_port: int
    destination: bytes
    destination_port: int

    def reversed(self) -> "Endpoints":
        """Return those of an answer."""
        return Endpoints(self.destination, self.destination_port, self.source, self.source_port)


def packed(address: str) -> bytes:
    """Return an address in network byte order."""
    return ip_address(address).packed


def segment(ends: Endpoints, flags: int) -> bytes:
    """Return a frame with a TCP segment."""
    family = Family.IPV4 if len(ends.source) == Family.IPV4.address_bytes else Family.IPV6
    tcp = _TCP.pack(ends.source_port, ends.destination_port, 1, 1, 0x50, flags, 65535, 0, 0) + _PAYLOAD
    pseudo = ends.source + ends.destination + struct.pack("!II", len(tcp), Protocol.TCP)
    tcp = tcp[:16] + struct.pack("!H", checksum(pseudo + tcp)) + tcp[18:]
    if family is Family.IPV4:
        fields = (0x45, 0, 20 + len(tcp), 0, 0x4000, _TTL, Protocol.TCP)
        ip = struct.pack("!BBHHHBBH", *fields, 0) + ends.source + ends.destination
        ip = ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:]
    else:
        ip = struct.pack("!IHBB", 6 << 28, len(tcp), Protocol.TCP, _TTL) + ends.source + ends.destination
    return bytes(12) + struct.pack("!H", _ETHERTYPES[family]) + ip + tcp


def endpoints_of(frame: bytes) -> Endpoints:
    """Return the endpoints of a frame that ``segment`` made, or that was translated since."""
    family = _family_of(frame)
    size = family.address_bytes
    l4_offset = _ETHERNET_BYTES + _HEADER_BYTES[family]
    addresses = frame[l4_offset - 2 * size : l4_offset]
    ports = struct.unpack_from("!HH", frame, l4_offset)
    return Endpoints(addresses[:size], ports[0], addresses[size:], ports[1])


def is_right(frame: bytes) -> bool:
    """Return whether a frame's checksums are right."""
    family = _family_of(frame)
    l4_offset = _ETHERNET_BYTES + _HEADER_BYTES[family]
    tcp = frame[l4_offset:]
    addresses = frame[l4_offset - 2 * family.address_bytes : l4_offset]
    pseudo = addresses + struct.pack("!II", len(tcp), Protocol.TCP)
    header = frame[_ETHERNET_BYTES:l4_offset] if family is Family.IPV4 else b""
    return not checksum(pseudo + tcp) and (not header or not checksum(header))


def checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071)."""
    data += bytes(len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _family_of(frame: bytes) -> Family:
    return Family.IPV4 if frame[12:14] == b"\x08\x00" else Family.IPV6
