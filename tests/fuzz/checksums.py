"""Internet checksums by arithmetic modulo 0xffff, apart from how the kernel and the programs compute them.

A sum of 16-bit words in one's complement is their sum modulo 0xffff. Zero has two forms there: a sum of anything that
is not all zero comes out as 0xffff, so a checksum (its complement) as 0 and never as 0xffff (RFC 1071, RFC 1624).
"""

import struct


def total(data: bytes) -> int:
    """Return the sum of the big-endian 16-bit words, not reduced; an odd byte is padded with zero."""
    if len(data) % 2:
        data += b"\0"
    return sum(struct.unpack(f">{len(data) // 2}H", data))


def checksum(*parts: bytes) -> int:
    """Return the checksum over parts, each of even length but the last one."""
    return _complement(sum(total(part) for part in parts))


def folded(data: bytes) -> int:
    """Return the sum itself, in the form that is not zero."""
    return total(data) % 0xFFFF or 0xFFFF


def updated(old: int, before: bytes, after: bytes) -> int:
    """Return what a checksum becomes when ``before`` is replaced by ``after`` in what it covers."""
    return shifted(old, difference(before, after))


def difference(before: bytes, after: bytes) -> int:
    """Return by how much the sum grows, modulo 0xffff."""
    return (total(after) - total(before)) % 0xFFFF


def shifted(old: int, by: int) -> int:
    """Return a checksum whose sum has grown."""
    return _complement((0xFFFF - old + by) % 0xFFFF)


def _complement(number: int) -> int:
    return 0xFFFF - ((number % 0xFFFF) or 0xFFFF)
