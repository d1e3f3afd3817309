"""Valid frames to begin with: every conversation of a world as TCP and UDP packets of several kinds.

Conversation --frames--> Seed(hook, device, frame)
"""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ebpflb.core.abi import Family, Protocol
from tests.fuzz import checksums
from tests.fuzz.rows import Ends, Hook
from tests.fuzz.worlds import Conversation
from tests.prog.world import Device

MACS = bytes.fromhex("020000000002020000000001")
ETHERTYPE = {Family.IPV4: b"\x08\x00", Family.IPV6: b"\x86\xdd"}
PAYLOADS = (b"", b"ebpflb, a packet's inside.", bytes(range(251)), bytes(1240))
"""The last one is too big for the narrow device, headers included."""
_TCP_FLAGS = (0x02, 0x12, 0x10, 0x18, 0x11, 0x04, 0x14)


@dataclass(frozen=True, slots=True)
class Seed:
    """A frame and where it shows up."""

    hook: Hook
    device: Device
    is_own: bool
    frame: bytes


def frame_of(family: Family, protocol: int, ends: Ends, segment: bytes, ttl: int = 64) -> bytes:
    """Return a frame around a transport segment whose checksum is in place."""
    size = family.address_bytes
    saddr, daddr = ends[:size], ends[size : 2 * size]
    if family is Family.IPV6:
        network = struct.pack(">IHBB", 0x64812345, len(segment), protocol, ttl) + saddr + daddr
    else:
        start = struct.pack(">BBHHHBB", 0x45, 0x48, 20 + len(segment), 0x1234, 0x4000, ttl, protocol)
        network = start + checksums.checksum(start + saddr + daddr).to_bytes(2, "big") + saddr + daddr
    return MACS + ETHERTYPE[family] + network + segment


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


def segments(conversation: Conversation) -> Iterator[bytes]:
    """Return the transport segments of a conversation."""
    ends = conversation.ends
    if conversation.protocol is Protocol.TCP:
        mss = bytes.fromhex("020405b401030307")
        yield from (tcp(ends, flags, b"", mss if flags & 2 else b"") for flags in _TCP_FLAGS)
        yield from (tcp(ends, 0x18, payload) for payload in PAYLOADS[1:])
    else:
        yield from (udp(ends, payload) for payload in PAYLOADS)


def seeds_of(family: Family, conversations: Iterable[Conversation]) -> list[Seed]:
    """Return the seeds of all conversations."""
    return [
        Seed(item.hook, item.device, item.is_own, frame_of(family, item.protocol, item.ends, segment))
        for item in conversations
        for segment in segments(item)
    ]
