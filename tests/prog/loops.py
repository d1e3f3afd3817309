"""Finds loops that old verifiers refuse: before Linux 6.7 a loop's last instruction must be a jump to its first.

instructions (8 bytes each) --> edges that run on, from what is no jump, into an instruction that is on the way to it

Follows a program as ``check_cfg`` in the kernel's verifier.c does. Clang lays loops out so when their way out is in the
middle; newer kernels say nothing, and only ``make kernels`` would show it.
"""

import struct
from collections.abc import Iterator

_INSTRUCTION = struct.Struct("=BBhi")
_WIDE = 0x18  # BPF_LD | BPF_DW | BPF_IMM: two instructions' room
_JUMPS = frozenset({0x05, 0x06})  # BPF_JMP, BPF_JMP32
_CLASS, _OPERATION = 0x07, 0xF0
_ALWAYS, _CALL, _EXIT = 0x00, 0x80, 0x90

Edge = tuple[int, int]
"""Numbers of two instructions: from, to."""


def run_on_loops(code: bytes) -> list[Edge]:
    """Return the edges by which a loop is closed without a jump, in the order in which they are met."""
    found: list[Edge] = []
    on_the_way, done = {0}, set[int]()
    path = [(0, _next(code, 0))]
    while path:
        at, ways = path[-1]
        for to, is_jump in ways:
            if to in on_the_way:
                if not is_jump:
                    found.append((at, to))
            elif to not in done:
                on_the_way.add(to)
                path.append((to, _next(code, to)))
                break
        else:
            path.pop()
            on_the_way.remove(at)
            done.add(at)
    return found


def _next(code: bytes, at: int) -> Iterator[tuple[int, bool]]:
    """Give the instructions that may follow one, and whether it is a jump that leads there (or does not)."""
    operation, _registers, offset, _immediate = _INSTRUCTION.unpack_from(code, at * _INSTRUCTION.size)
    kind = operation & _OPERATION
    if operation & _CLASS not in _JUMPS or kind == _CALL:
        yield at + (2 if operation == _WIDE else 1), False
    elif kind != _EXIT:
        if kind != _ALWAYS:
            yield at + 1, True
        yield at + 1 + offset, True
