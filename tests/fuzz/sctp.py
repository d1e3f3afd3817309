"""The CRC32c of SCTP (RFC 9260, appendix A): what it becomes when the ports change and all else stays.

A CRC is linear: the exclusive or of two checksums is the checksum (without start value) of the exclusive or of the
messages, which is zero behind the ports. Zero bytes are passed over by squared matrices, as zlib combines checksums.
"""

from functools import lru_cache

_POLYNOMIAL = 0x82F63B78
_BITS = 32
_PORT_BYTES = 4
Matrix = tuple[int, ...]
"""By bit: what the register becomes when that bit alone is set."""


def _times(matrix: Matrix, vector: int) -> int:
    total = 0
    for column in matrix:
        if vector & 1:
            total ^= column
        vector >>= 1
    return total


def _square(matrix: Matrix) -> Matrix:
    return tuple(_times(matrix, column) for column in matrix)


def _one_zero_bit() -> Matrix:
    return (_POLYNOMIAL, *(1 << bit for bit in range(_BITS - 1)))


def _zero_bytes() -> list[Matrix]:
    """Return the matrices of 1, 2, 4, ... zero bytes."""
    matrix = _square(_square(_square(_one_zero_bit())))
    matrices = []
    for _ in range(17):
        matrices.append(matrix)
        matrix = _square(matrix)
    return matrices


_ZERO_BYTES = _zero_bytes()


@lru_cache(maxsize=65_536)
def crc_difference(ports: int, length: int) -> int:
    """Return by what the checksum of ``length`` bytes changes when its first four change by ``ports``.

    Little-endian numbers, as the checksum is on the wire.
    """
    register = ports
    for power, matrix in enumerate(_ZERO_BYTES):
        if length >> power & 1:
            register = _times(matrix, register)
    return register


def updated(checksum: bytes, before: bytes, after: bytes, length: int) -> bytes:
    """Return a checksum, right or wrong, after a change of ports."""
    ports = int.from_bytes(before, "little") ^ int.from_bytes(after, "little")
    changed = int.from_bytes(checksum, "little") ^ crc_difference(ports, length)
    return changed.to_bytes(_PORT_BYTES, "little")


def crc32c(data: bytes) -> int:
    """Return the CRC32c of a message, bit by bit."""
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (_POLYNOMIAL if register & 1 else 0)
    return register ^ 0xFFFFFFFF
