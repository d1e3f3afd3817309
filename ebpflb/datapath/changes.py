"""Tells the programs that something has changed which they may have kept of established flows (ADR 27).

Decides that each writer has a number of its own in ``changes``: programs add theirs up, and nobody loses another's.
Must not know what has changed.

    after a change --ChangeCount.note--> one more in `changes` --> programs ask anew
"""

import mmap
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from ebpflb.datapath import libbpf
from ebpflb.datapath.maps import BpfMap


class Writer(IntEnum):
    """Which u32 of ``struct lb_changes`` (bpf/lb/abi.h) is whose. The first is the programs'."""

    STORE = 1
    """Rows of backends and devices were written."""
    SWEEP = 2
    """Flows were taken away that somebody may still use."""


class ChangeCount:
    """One writer's number in the map ``changes`` of a family, in memory. One thread at a time may use it."""

    def __init__(self, changes: BpfMap, writer: Writer) -> None:
        """Map it; the descriptor stays the caller's. Raises ``MapError`` when the kernel refuses."""
        self._number: npt.NDArray[np.uint32] = mapped(changes, np.uint32)[writer : writer + 1]

    def note(self) -> None:
        """Have the programs ask anew; call it after a change."""
        self._number += np.uint32(1)


def mapped(source: BpfMap, dtype: type[np.generic]) -> npt.NDArray[Any]:
    """Return an array map's values, shape ``(max_entries * value_size / itemsize,)``, as they are in the kernel: to be
    written in place. It is taken out of memory with the last reference. Raises ``MapError`` when the kernel refuses.
    """
    try:
        memory = mmap.mmap(source.fileno(), source.info.max_entries * source.info.value_size)
    except OSError as error:
        raise libbpf.failure("map into memory", f"map {source.info.name}", error.errno or 0) from error
    return np.frombuffer(memory, dtype)
