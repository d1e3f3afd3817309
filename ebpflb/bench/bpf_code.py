"""Puts BPF instructions one after the other, for the bench's own small programs, which need no compiler.

Decides how an instruction is encoded and where jumps lead. Knows no program and no kernel interface.

    emit, move, load, ... -> Code -> finish(value) -> bytes for bpf(BPF_PROG_LOAD)
"""

import struct
import sys
from typing import Final

WORD, HALF, BYTE, DOUBLE = 0x00, 0x08, 0x10, 0x18
"""Sizes, added to the opcode of a load or store: 4, 2, 1 and 8 bytes."""
STORE, STORE_REGISTER, LOAD, LOAD_MAP = 0x62, 0x63, 0x61, 0x18
ADD, AND, RIGHT_SHIFT, EXCLUSIVE_OR, MOVE = 0x07, 0x57, 0x77, 0xA7, 0xB7
REGISTER: Final = 0x08
"""Added to the opcode of arithmetic or of a jump: the operand is a register."""
EXIT: Final = 0x95
EQUAL, NOT_EQUAL, GREATER = 0x15, 0x55, 0x25
NOT_EQUAL_WORD: Final = 0x56
"""Of the lower 32 bits."""
MAP_LOOKUP, REDIRECT = 1, 23
"""Helpers."""
STACK: Final = 10

_TO_BIG_ENDIAN, _CALL = 0xDC, 0x85
_PSEUDO_MAP_FD: Final = 1


class Code:
    """Instructions; all jumps lead to the end, which returns a value of its own."""

    def __init__(self) -> None:
        self._instructions: list[bytes] = []
        self._jumps: list[tuple[int, int, int, int, int]] = []

    def emit(self, opcode: int, dst: int = 0, src: int = 0, off: int = 0, imm: int = 0) -> None:
        """Put one instruction."""
        self._instructions.append(struct.pack("=BBhi", opcode, _registers(dst, src), off, imm))

    def move(self, dst: int, src: int) -> None:
        """Copy a register."""
        self.emit(MOVE | REGISTER, dst, src)

    def load(self, dst: int, value: int) -> None:
        """Load a constant."""
        self.emit(MOVE, dst, imm=value)

    def alu(self, opcode: int, dst: int, *, src: int = 0, imm: int = 0) -> None:
        """Calculate."""
        self.emit(opcode, dst, src, imm=imm)

    def call(self, helper: int) -> None:
        """Call a helper."""
        self.emit(_CALL, imm=helper)

    def exit(self, value: int) -> None:
        """Return a constant."""
        self.load(0, value)
        self.emit(EXIT)

    def leave_if(self, opcode: int, dst: int, *, src: int = 0, imm: int = 0) -> None:
        """Jump to the end if a comparison holds."""
        self._jumps.append((len(self._instructions), opcode, dst, src, imm))
        self.emit(0)

    def look_up(self, array: int) -> None:
        """Point r0 to the only value of an array; leaves if it has none, which the verifier wants to be thought of."""
        self.emit(STORE | WORD, dst=STACK, off=-4)
        self.move(2, STACK)
        self.alu(ADD, 2, imm=-4)
        self.emit(LOAD_MAP, dst=1, src=_PSEUDO_MAP_FD, imm=array)
        self.emit(0)
        self.call(MAP_LOOKUP)
        self.leave_if(EQUAL, 0, imm=0)

    def open_frame(self, length: int) -> None:
        """Keep the context in r6 and point r8 to a frame of at least ``length`` bytes; leaves if it is shorter."""
        self.move(6, 1)
        self.emit(LOAD | WORD, dst=8, src=6, off=0)
        self.emit(LOAD | WORD, dst=9, src=6, off=4)
        self.move(1, 8)
        self.alu(ADD, 1, imm=length)
        self.leave_if(GREATER | REGISTER, 1, src=9)

    def write(self, frame: bytes) -> None:
        """Write a frame of whole words at r8."""
        for offset in range(0, len(frame), 4):
            word = int.from_bytes(frame[offset : offset + 4], sys.byteorder, signed=True)
            self.emit(STORE | WORD, dst=8, off=offset, imm=word)

    @staticmethod
    def immediate(value: bytes) -> int:
        """Return the operand that equals bytes of a frame, at most 4, as they are loaded from there."""
        (number,) = struct.unpack("=i", value) if len(value) == 4 else struct.unpack("=H", value)  # noqa: PLR2004 - words
        return int(number)

    def store_be16(self, register: int, offset: int) -> None:
        """Store a register's low half at an offset of the frame; the register is lost."""
        self.emit(_TO_BIG_ENDIAN, register, imm=16)
        self.emit(STORE_REGISTER | HALF, 8, register, off=offset)

    def complement(self, register: int, *, scratch: int) -> None:
        """Turn a sum into an Internet checksum; zero, which UDP has for none, becomes its other form."""
        for _ in range(2):
            self.move(scratch, register)
            self.alu(RIGHT_SHIFT, scratch, imm=16)
            self.alu(AND, register, imm=0xFFFF)
            self.alu(ADD | REGISTER, register, src=scratch)
        self.alu(EXCLUSIVE_OR, register, imm=0xFFFF)
        self.emit(NOT_EQUAL, register, off=1)
        self.load(register, 0xFFFF)

    def finish(self, value: int) -> bytes:
        """Return the program; its jumps lead to an end that returns ``value``."""
        end = len(self._instructions)
        self.exit(value)
        for place, opcode, dst, src, imm in self._jumps:
            self._instructions[place] = struct.pack("=BBhi", opcode, _registers(dst, src), end - place - 1, imm)
        return b"".join(self._instructions)


def _registers(dst: int, src: int) -> int:
    return src << 4 | dst if sys.byteorder == "little" else dst << 4 | src
