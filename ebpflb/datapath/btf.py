"""BTF of a map's key and value -> numpy dtype. Pure: bytes in, dtypes out.

Reads what map keys and values are made of: integers, enums, arrays, structs, typedefs, qualifiers. Byte order comes
from the typedef's name (``__be16``, ``__be32``, ``__be64``: big-endian), offsets and sizes from BTF, so padding is
right. ``char[N]`` becomes ``S<N>`` (NUL-padded text: trailing NULs are not part of the value); every other array
becomes a subarray. Knows no map by name.

    BTF bytes --Btf.parse--> Btf --dtype_of(type id)--> numpy.dtype
"""

import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import Any

import numpy as np

from ebpflb.errors import LayoutError

DType = np.dtype[Any]

_MAGIC = 0xEB9F
_HEADER = struct.Struct("=HBBIIIII")
_TYPE = struct.Struct("=III")
_ARRAY = struct.Struct("=III")
_MEMBER = struct.Struct("=III")
_BIG_ENDIAN = frozenset({"__be16", "__be32", "__be64"})
_BITFIELD_SHIFT = 24
_ENCODING = struct.Struct("=I")
_ENCODING_SHIFT = 24
_INT_SIGNED = 1


class _Kind(IntEnum):
    INT = 1
    ARRAY = 3
    STRUCT = 4
    UNION = 5
    ENUM = 6
    TYPEDEF = 8
    VOLATILE = 9
    CONST = 10
    FUNC_PROTO = 13
    VAR = 14
    DATASEC = 15
    DECL_TAG = 17
    TYPE_TAG = 18
    ENUM64 = 19


# Bytes that follow the common header of a type: fixed, then for each of its ``vlen`` elements. Others have none.
_TRAILER: dict[int, tuple[int, int]] = {
    _Kind.INT: (4, 0),
    _Kind.ARRAY: (12, 0),
    _Kind.STRUCT: (0, 12),
    _Kind.UNION: (0, 12),
    _Kind.ENUM: (0, 8),
    _Kind.FUNC_PROTO: (0, 8),
    _Kind.VAR: (4, 0),
    _Kind.DATASEC: (0, 12),
    _Kind.DECL_TAG: (4, 0),
    _Kind.ENUM64: (0, 12),
}
_TRANSPARENT = frozenset({_Kind.TYPEDEF, _Kind.VOLATILE, _Kind.CONST, _Kind.TYPE_TAG})


@dataclass(frozen=True, slots=True)
class _Type:
    name: str
    kind: int
    flag: bool
    """kind_flag: of a struct, members may be bit fields; of an enum, values are signed."""
    size_or_type: int
    count: int
    trailer: bytes


_VOID = _Type("void", 0, False, 0, 0, b"")


@dataclass(frozen=True, slots=True)
class Btf:
    """A parsed BTF object."""

    types: tuple[_Type, ...]
    """By id; 0 is void."""
    strings: bytes

    @staticmethod
    @lru_cache(maxsize=4)
    def parse(data: bytes) -> "Btf":
        """Parse a raw BTF object as the kernel returns it. All maps of a family have the same one."""
        try:
            types, strings = _sections(data)
            return Btf((_VOID, *_parse_types(types, strings)), strings)
        except (struct.error, ValueError) as error:
            raise LayoutError(f"BTF of {len(data)} bytes is cut short or damaged ({error})") from error

    def dtype_of(self, type_id: int) -> DType:
        """Return the dtype of a type; raises ``LayoutError`` for what no key or value may be made of."""
        return self._dtype(type_id, big_endian=False)

    def _type(self, type_id: int) -> _Type:
        if type_id >= len(self.types):
            raise LayoutError(f"BTF has no type {type_id}")
        return self.types[type_id]

    def _dtype(self, type_id: int, *, big_endian: bool) -> DType:
        this = self._type(type_id)
        if this.kind in _TRANSPARENT:
            return self._dtype(this.size_or_type, big_endian=big_endian or this.name in _BIG_ENDIAN)
        if this.kind == _Kind.INT:
            return _integer(this, big_endian=big_endian)
        if this.kind in {_Kind.ENUM, _Kind.ENUM64}:
            return np.dtype(f"{'i' if this.flag else 'u'}{this.size_or_type}")
        if this.kind == _Kind.ARRAY:
            return self._array(this)
        if this.kind == _Kind.STRUCT:
            return self._struct(this)
        raise LayoutError(f"BTF type {type_id} {this.name!r} is of kind {this.kind}, which no key or value may have")

    def _array(self, this: _Type) -> DType:
        element, _index, length = _ARRAY.unpack(this.trailer)
        if self._is_char(element):
            return np.dtype(f"S{length}")
        return np.dtype((self.dtype_of(element), (length,)))

    def _is_char(self, type_id: int) -> bool:
        this = self._type(type_id)
        if this.kind in _TRANSPARENT:
            return self._is_char(this.size_or_type)
        # clang marks plain char as a signed integer, not as BTF_INT_CHAR: its name is what tells it from s8.
        return this.kind == _Kind.INT and this.name == "char"

    def _struct(self, this: _Type) -> DType:
        members = [_MEMBER.unpack_from(this.trailer, index * _MEMBER.size) for index in range(this.count)]
        names = [_text(self.strings, name) for name, _type_id, _offset in members]
        # With the flag set, the top byte of an offset is the width of a bit field: it must be zero as well.
        if any(offset % 8 or (this.flag and offset >> _BITFIELD_SHIFT) for _name, _type_id, offset in members):
            raise LayoutError(f"BTF struct {this.name!r} of {names} has a bit field, which no key or value may have")
        return np.dtype(
            {
                "names": names,
                "formats": [self.dtype_of(type_id) for _name, type_id, _offset in members],
                "offsets": [offset // 8 for _name, _type_id, offset in members],
                "itemsize": this.size_or_type,
            }
        )


def _integer(this: _Type, *, big_endian: bool) -> DType:
    (encoding,) = _ENCODING.unpack(this.trailer)
    sign = "i" if encoding >> _ENCODING_SHIFT & _INT_SIGNED else "u"
    return np.dtype(f"{'>' if big_endian else '='}{sign}{this.size_or_type}")


def _text(strings: bytes, offset: int) -> str:
    return strings[offset : strings.index(0, offset)].decode()


def _parse_types(data: bytes, strings: bytes) -> list[_Type]:
    return [
        _Type(_text(strings, name), info >> 24 & 0x1F, bool(info >> 31), size_or_type, info & 0xFFFF, data[start:end])
        for name, info, size_or_type, start, end in _walk(data)
    ]


def _walk(data: bytes) -> Iterator[tuple[int, int, int, int, int]]:
    """Give the common header of each type (offset of the name, info, size or type), and where its trailer lies."""
    position, number = 0, 0
    while position < len(data):
        number += 1
        name, info, size_or_type = _TYPE.unpack_from(data, position)
        fixed, each = _TRAILER.get(info >> 24 & 0x1F, (0, 0))
        start = position + _TYPE.size
        position = start + fixed + each * (info & 0xFFFF)
        if position > len(data):
            raise ValueError(f"type {number} ends after the type section")
        yield name, info, size_or_type, start, position


@dataclass(frozen=True, slots=True)
class Bit:
    """A field of a struct that is true or false."""

    byte: int
    """From the start of the struct."""
    mask: int
    """Of the byte: one bit for a bit field, all for a ``bool``."""


def find_bit(data: bytes, struct_name: str, member: str) -> Bit | None:
    """Return where a bit field or ``bool`` of a struct lies, making nothing of other types: a kernel has 100,000.

    ``None``: there is no such struct, it has no such member, or that has several bits.
    """
    types, strings = _sections(data)
    wanted, bit_name = (strings.find(f"\0{name}\0".encode()) + 1 for name in (struct_name, member))
    for name, info, _size, start, end in _walk(types):
        if 0 < name == wanted and info >> 24 & 0x1F == _Kind.STRUCT and info >> 31:
            for member_name, _type_id, offset in _MEMBER.iter_unpack(types[start:end]):
                if member_name == bit_name:
                    return _bit_at(offset)
    return None


def _bit_at(offset: int) -> Bit | None:
    """Return what a member's offset says; no width is a member that is no bit field, here a ``bool``."""
    width = offset >> _BITFIELD_SHIFT
    byte, bit = divmod(offset & ((1 << _BITFIELD_SHIFT) - 1), 8)
    if width == 0:
        return Bit(byte, 0xFF)
    return Bit(byte, 1 << bit if sys.byteorder == "little" else 0x80 >> bit) if width == 1 else None


def _sections(data: bytes) -> tuple[bytes, bytes]:
    """Return the types and the strings of a raw BTF object."""
    magic, _version, _flags, header, type_off, type_len, str_off, str_len = _HEADER.unpack_from(data)
    if magic != _MAGIC:
        raise LayoutError(f"BTF starts with {magic:#06x}, not with {_MAGIC:#06x}")
    return data[header + type_off :][:type_len], data[header + str_off :][:str_len]
