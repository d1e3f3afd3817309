"""BTF parsed from bytes that the test assembles, as clang would write them."""

import struct
import sys

import numpy as np
import pytest

from ebpflb.datapath.btf import Bit, Btf, find_bit
from ebpflb.errors import LayoutError

INT, PTR, ARRAY, STRUCT, ENUM, TYPEDEF, VOLATILE, CONST, FUNC_PROTO = 1, 2, 3, 4, 6, 8, 9, 10, 13


class Assembler:
    """Builds a BTF object type by type; ids count from 1."""

    def __init__(self) -> None:
        self._types = b""
        self._strings = b"\0"
        self._count = 0

    def name(self, text: str) -> int:
        """Return where a string stands: each once, as compilers and the kernel write them."""
        if (known := self._strings.find(f"\0{text}\0".encode()) + 1) or not text:
            return known
        self._strings += text.encode() + b"\0"
        return len(self._strings) - len(text) - 1

    def add(
        self, kind: int, name: str, size_or_type: int, trailer: bytes = b"", *, count: int = 0, flag: int = 0
    ) -> int:
        info = flag << 31 | kind << 24 | count
        self._types += struct.pack("=III", self.name(name), info, size_or_type) + trailer
        self._count += 1
        return self._count

    def integer(self, name: str, size: int, encoding: int = 0) -> int:
        return self.add(INT, name, size, struct.pack("=I", encoding << 24 | size * 8))

    def array(self, element: int, length: int) -> int:
        return self.add(ARRAY, "", 0, struct.pack("=III", element, element, length))

    def structure(self, name: str, size: int, *members: tuple[str, int, int], flag: int = 0) -> int:
        trailer = b"".join(struct.pack("=III", self.name(text), kind, bits) for text, kind, bits in members)
        return self.add(STRUCT, name, size, trailer, count=len(members), flag=flag)

    def data(self) -> bytes:
        types, strings = len(self._types), len(self._strings)
        header = struct.pack("=HBBIIIII", 0xEB9F, 1, 0, 24, 0, types, types, strings)
        return header + self._types + self._strings


def test_byte_order_comes_from_the_name_of_a_typedef() -> None:
    code = Assembler()
    short = code.integer("unsigned short", 2)
    plain = code.add(TYPEDEF, "__u16", short)
    wire = code.add(CONST, "", code.add(TYPEDEF, "__be16", plain))
    btf = Btf.parse(code.data())
    assert btf.dtype_of(plain) == np.dtype("=u2")
    assert btf.dtype_of(wire) == np.dtype(">u2")


def test_scalars_keep_sign_and_size() -> None:
    code = Assembler()
    ids = [code.integer("int", 4, 1), code.integer("unsigned char", 1), code.integer("_Bool", 1, 4)]
    ids += [code.integer("unsigned long", 8), code.add(ENUM, "e", 4, bytes(8), count=1), code.add(ENUM, "s", 4, flag=1)]
    btf = Btf.parse(code.data())
    assert [btf.dtype_of(each).str for each in ids] == ["<i4", "|u1", "|u1", "<u8", "<u4", "<i4"]


def test_text_is_a_string_and_every_other_array_a_subarray() -> None:
    code = Assembler()
    char, byte = code.integer("char", 1, 1), code.integer("unsigned char", 1)
    name, raw = code.array(code.add(VOLATILE, "", char), 192), code.array(byte, 3)
    btf = Btf.parse(code.data())
    assert btf.dtype_of(name) == np.dtype("S192")
    assert btf.dtype_of(raw) == np.dtype((np.uint8, (3,)))


def test_structs_nest_with_the_offsets_and_the_padding_of_c() -> None:
    code = Assembler()
    u32, u8 = code.integer("unsigned int", 4), code.integer("unsigned char", 1)
    words = code.array(code.add(TYPEDEF, "__be32", u32), 4)
    address = code.add(TYPEDEF, "addr_t", code.structure("", 16, ("word", words, 0)))
    outer = code.structure("row", 28, ("state", u8, 0), ("address", address, 32), ("id", u32, 160))
    dtype = Btf.parse(code.data()).dtype_of(outer)
    assert dtype.itemsize == 28
    assert {name: field[1] for name, field in (dtype.fields or {}).items()} == {"state": 0, "address": 4, "id": 20}
    assert dtype["address"]["word"] == np.dtype((">u4", (4,)))


def test_kinds_of_other_types_are_stepped_over() -> None:
    code = Assembler()
    u32 = code.integer("unsigned int", 4)
    code.add(PTR, "", u32)
    code.add(FUNC_PROTO, "", u32, bytes(16), count=2)
    last = code.add(TYPEDEF, "u32", u32)
    assert Btf.parse(code.data()).dtype_of(last) == np.dtype("=u4")


def test_what_no_key_may_hold_is_refused() -> None:
    code = Assembler()
    u32 = code.integer("unsigned int", 4)
    pointer = code.add(PTR, "", u32)
    unaligned = code.structure("a", 4, ("x", u32, 3))
    bits = code.structure("b", 4, ("x", u32, 5 << 24), flag=1)
    btf = Btf.parse(code.data())
    for bad, problem in ((pointer, "kind 2"), (unaligned, "bit field"), (bits, "bit field"), (99, "no type 99")):
        with pytest.raises(LayoutError, match=problem):
            btf.dtype_of(bad)


def test_damaged_bytes_are_refused_at_every_length() -> None:
    code = Assembler()
    code.structure("row", 4, ("x", code.integer("unsigned int", 4), 0))
    data = code.data()
    whole = Btf.parse(data)
    for length in range(len(data)):
        try:
            assert Btf.parse(data[:length]) != whole
        except LayoutError:
            continue
    with pytest.raises(LayoutError, match="starts with"):
        Btf.parse(b"\0" * 24)


def bits_of_a_struct(flag: int = 1) -> bytes:
    """Return a struct with a bool, two bits and a number of two bits, behind other types and before one."""
    code = Assembler()
    short = code.integer("sock", 2)
    code.add(TYPEDEF, "first", short)
    members = (("truth", short, 8), ("first", short, 1 << 24 | 32), ("second", short, 1 << 24 | 33))
    code.structure("sock", 8, *members, ("number", short, 2 << 24 | 34), flag=flag)
    code.structure("sock_after", 8, ("second", short, 1 << 24 | 40), flag=1)
    return code.data()


@pytest.mark.parametrize(
    ("member", "little", "big"),
    [
        ("truth", Bit(1, 0xFF), Bit(1, 0xFF)),
        ("first", Bit(4, 1), Bit(4, 0x80)),
        ("second", Bit(4, 2), Bit(4, 0x40)),
        ("number", None, None),
        ("nothing", None, None),
    ],
)
def test_bits_are_found_by_name(
    monkeypatch: pytest.MonkeyPatch, member: str, little: Bit | None, big: Bit | None
) -> None:
    data = bits_of_a_struct()
    for byteorder, expected in (("little", little), ("big", big)):
        monkeypatch.setattr(sys, "byteorder", byteorder)
        assert find_bit(data, "sock", member) == expected


def test_only_a_struct_with_bit_fields_has_bits() -> None:
    assert find_bit(bits_of_a_struct(flag=0), "sock", "first") is None
    assert find_bit(bits_of_a_struct(), "socket", "first") is None
    nameless = Assembler()
    nameless.structure("", 8, ("first", nameless.integer("u8", 1), 1 << 24), flag=1)
    assert find_bit(nameless.data(), "sock", "first") is None


def test_a_bit_is_not_looked_for_in_what_is_no_btf() -> None:
    with pytest.raises(LayoutError, match="starts with"):
        find_bit(bytes(24), "sock", "first")
