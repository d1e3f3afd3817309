"""Direct server return: the outer header that takes a packet to its backend's node, and the room that it needs.

frame + Ends --encapsulate--> frame in an outer header (RFC 2003, RFC 2473)
"""

import struct

from ebpflb.core.abi import Family
from tests.fuzz import checksums
from tests.fuzz.packet import L2, OUTER, Packet
from tests.fuzz.rows import Ends

HEADER_BYTES = {Family.IPV4: 20, Family.IPV6: 40}
_TTL = 64
_DONT_FRAGMENT = 0x4000
_TCP_BYTES, _TCP_OFFSET, _TCP_CHECKSUM = 20, 12, 16
_MSS = b"\x02\x04"
_LEAST_WORDS = 5
_LEAST_MSS = 536
"""RFC 9293, 3.7.1."""


def encapsulate(frame: bytearray, packet: Packet, to: Ends, family: Family) -> bytes:
    """Return the frame in an outer header that carries the ends' addresses."""
    size, protocol = 2 * family.address_bytes, OUTER[family]
    if family is Family.IPV6:
        header = struct.pack(">IHBB", 6 << 28, packet.length, protocol, _TTL) + to[:size]
    else:
        start = struct.pack(">BBHHHBB", 0x45, 0, packet.length + 20, 0, _DONT_FRAGMENT, _TTL, protocol)
        header = start + checksums.checksum(start + to[:size]).to_bytes(2, "big") + to[:size]
    return bytes(frame[:L2]) + header + bytes(frame[L2:])


def lower_mss(frame: bytearray, packet: Packet, family: Family) -> bytearray:
    """What the client sends must fit its way in an outer header: the MSS is the first option of a SYN-ACK."""
    at = packet.l4 + _TCP_BYTES
    has_options = packet.l4 + _TCP_OFFSET < len(frame) and frame[packet.l4 + _TCP_OFFSET] >> 4 > _LEAST_WORDS
    if not packet.is_syn_ack or not has_options or frame[at : at + 2] != _MSS or len(frame) < at + 4:
        return frame
    told = bytes(frame[at + 2 : at + 4])
    lowered = int.from_bytes(told, "big") - HEADER_BYTES[family]
    if lowered >= _LEAST_MSS:
        after, place = lowered.to_bytes(2, "big"), packet.l4 + _TCP_CHECKSUM
        old = frame[place] << 8 | frame[place + 1]
        frame[place : place + 2] = checksums.updated(old, told, after).to_bytes(2, "big")
        frame[at + 2 : at + 4] = after
    return frame
