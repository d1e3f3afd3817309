"""The compiler's child against the kernel: what it hides from bcc stays hidden from nobody else."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.root

SYMBOLS = Path("/proc/kallsyms")
NOBODY = 65_534
HIDE = """
import os, sys
from pathlib import Path
from ebpflb.datapath import compiler
os.setuid(int(sys.argv[1]))
compiler._hide_symbols()
print(len(Path("/proc/kallsyms").read_bytes()))
"""


def seen_by_child(user: int) -> int:
    """Return how many bytes of symbols a process of a user finds after it has hidden them."""
    command = [sys.executable, "-c", HIDE, str(user)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def first_symbol() -> bytes:
    with SYMBOLS.open("rb") as symbols:
        return symbols.readline()


def test_the_kernels_symbols_are_hidden_in_the_child_only() -> None:
    mounts = Path("/proc/self/mountinfo").read_text().count(str(SYMBOLS))
    assert seen_by_child(0) == 0
    assert first_symbol()
    assert Path("/proc/self/mountinfo").read_text().count(str(SYMBOLS)) == mounts


def test_who_may_not_hide_them_compiles_all_the_same() -> None:
    """Without the right to a mount namespace."""
    assert seen_by_child(NOBODY) > 0
