"""Loops of our programs, and of three small ones: each goes back by a jump, or old kernels refuse the program."""

import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from ebpflb.core.abi import Family
from tests.prog.harness import Datapath
from tests.prog.loops import run_on_loops


def instruction(operation: int, offset: int = 0, immediate: int = 0) -> bytes:
    return struct.pack("=BBhi", operation, 0, offset, immediate)


def jump(offset: int) -> bytes:
    return instruction(0x05, offset)


def jump_if_zero(offset: int) -> bytes:
    return instruction(0x15, offset)


ADD_1, CALL, WIDE = instruction(0x07, immediate=1), instruction(0x85, immediate=7), instruction(0x18) + instruction(0)
EXIT = instruction(0x95)


@pytest.mark.parametrize(
    ("code", "found"),
    [
        pytest.param(ADD_1 + jump_if_zero(-2) + EXIT, [], id="left at its end"),
        pytest.param(jump_if_zero(2) + ADD_1 + jump(-3) + EXIT, [], id="left at its beginning"),
        pytest.param(jump(1) + ADD_1 + CALL + jump_if_zero(-3) + EXIT, [(1, 2)], id="begun in its middle"),
        pytest.param(jump(2) + WIDE + CALL + jump_if_zero(-4) + EXIT, [(1, 3)], id="a wide instruction"),
        pytest.param(jump(1) + CALL + ADD_1 + jump_if_zero(-3) + EXIT, [(1, 2)], id="a call is no jump"),
        pytest.param(jump_if_zero(1) + ADD_1 + ADD_1 + EXIT, [], id="no loop: two ways meet"),
    ],
)
def test_a_loop_closed_by_running_on(code: bytes, found: list[tuple[int, int]]) -> None:
    assert run_on_loops(code) == found


@pytest.mark.root
def test_no_program_has_such_a_loop(family: Family, datapath_of: Callable[[Family], Datapath], tmp_path: Path) -> None:
    """As the verifier left them: it moves instructions, and makes no loops."""
    found = {}
    for stem, pin in datapath_of(family).build.pins.items():
        file = tmp_path / stem
        subprocess.run(["bpftool", "prog", "dump", "xlated", "pinned", str(pin), "file", str(file)], check=True)
        if edges := run_on_loops(file.read_bytes()):
            found[stem] = edges
    assert not found
