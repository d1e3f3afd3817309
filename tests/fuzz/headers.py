"""Network headers, byte by byte: where the transport header begins, what it is, whether the packet is in fragments.

    frame, offset --read_header--> Header, or None: no header of this family (RFC 791, RFC 8200)

IPv6 extension headers are walked, six of them at the most. Decides nothing.
"""

from enum import IntEnum
from typing import NamedTuple

from ebpflb.core.abi import Family

_MAX_EXTENSIONS = 6
_FRAGMENT, _AUTHENTICATION = 44, 51
_IN_EIGHTS = (0, 43, 60)
"""Hop-by-hop options, routing, destination options: their length counts units of eight bytes beyond the first."""


class Kind(IntEnum):
    """What a packet is besides its protocol."""

    WHOLE = 0
    FIRST_FRAGMENT = 1
    LATER_FRAGMENT = 2
    """Has no ports of its own."""
    ICMP_ERROR = 3
    """Its ends are those of the packets that come the way it comes."""
    ECHO = 4
    OTHER = 5
    """Of a protocol that nobody translates."""


class Header(NamedTuple):
    """A network header, extension headers included."""

    addresses: bytes
    protocol: int
    ttl: int
    size: int
    length: int
    """Of the whole packet, as the header tells it."""
    kind: Kind = Kind.WHOLE
    fragment_id: bytes = bytes(4)
    """As the key of ``datagrams`` has it."""


def read_header(frame: bytes, at: int, family: Family) -> Header | None:
    """Return the header that begins at an offset."""
    return _read_ipv4(frame, at) if family is Family.IPV4 else _read_ipv6(frame, at)


def _read_ipv4(frame: bytes, at: int) -> Header | None:
    if len(frame) < at + 20:
        return None
    first = frame[at]
    if first >> 4 != 4 or first & 15 < 5:
        return None
    fragment = frame[at + 6] << 8 | frame[at + 7]
    kind = _kind(more=bool(fragment & 0x2000), offset=fragment & 0x1FFF)
    size, length = 4 * (first & 15), frame[at + 2] << 8 | frame[at + 3]
    identifier = frame[at + 4 : at + 6] + b"\0\0"
    return Header(frame[at + 12 : at + 20], frame[at + 9], frame[at + 8], size, length, kind, identifier)


def _read_ipv6(frame: bytes, at: int) -> Header | None:
    if len(frame) < at + 40 or frame[at] >> 4 != 6:
        return None
    protocol, size, kind, identifier = frame[at + 6], 40, Kind.WHOLE, bytes(4)
    for _ in range(_MAX_EXTENSIONS):
        if kind is Kind.LATER_FRAGMENT or not is_extension(protocol):
            break
        extension = frame[at + size : at + size + 8]
        if len(extension) < 8:
            return None
        if protocol == _FRAGMENT:
            offset = extension[2] << 8 | extension[3]
            found = _kind(more=bool(offset & 1), offset=offset & 0xFFF8)
            kind, identifier = found or kind, extension[4:]
        size += _extension_size(protocol, extension[1])
        protocol = extension[0]
    if is_extension(protocol) and kind is not Kind.LATER_FRAGMENT:
        return None
    length = 40 + (frame[at + 4] << 8 | frame[at + 5])
    return Header(frame[at + 8 : at + 40], protocol, frame[at + 7], size, length, kind, identifier)


def _kind(*, more: bool, offset: int) -> Kind:
    if offset:
        return Kind.LATER_FRAGMENT
    return Kind.FIRST_FRAGMENT if more else Kind.WHOLE


def is_extension(protocol: int) -> bool:
    """Say whether an IPv6 extension header has this number."""
    return protocol in _IN_EIGHTS or protocol in (_FRAGMENT, _AUTHENTICATION)


def _extension_size(protocol: int, told: int) -> int:
    if protocol == _FRAGMENT:
        return 8
    return 4 * (told + 2) if protocol == _AUTHENTICATION else 8 * (told + 1)
