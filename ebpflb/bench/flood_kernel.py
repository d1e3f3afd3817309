"""The kernel's part of a flood: its generator, and how many entries a map has.

Decides nothing about pace or purpose.

    FrameKind -> Generator.send(frames) -> frames out of a device        pin -> count_entries
"""

import ctypes
import errno
import os
from pathlib import Path
from typing import Final

from ebpflb.bench.frames import FrameKind, generator_code, template
from ebpflb.bench.live_kernel import LiveProgram, call

_ENTRIES_A_READ: Final = 4096


class _MapInfo(ctypes.Structure):
    """The beginning of ``struct bpf_map_info``."""

    _fields_ = tuple((name, ctypes.c_uint32) for name in ("type", "id", "key_size", "value_size", "max_entries"))


class Generator(LiveProgram):
    """A loaded generator of one kind of frame, to be used in the network namespace of its device."""

    def __init__(self, kind: FrameKind, ifindex: int) -> None:
        super().__init__(
            "ebpflb_flood", template(kind), ifindex, lambda counter: generator_code(kind, counter, ifindex)
        )

    def sent(self) -> int:
        """Return how many frames were made."""
        return self.count()


def count_entries(pin: Path) -> tuple[int, int]:
    """Return how many entries a pinned hash map has, and how many it takes."""
    descriptor = call("bpf_obj_get", os.fsencode(pin))
    try:
        info = _MapInfo()
        length = ctypes.c_uint32(ctypes.sizeof(info))
        call("bpf_obj_get_info_by_fd", descriptor, ctypes.byref(info), ctypes.byref(length))
        return _count(descriptor, info), int(info.max_entries)
    finally:
        os.close(descriptor)


def _count(descriptor: int, info: _MapInfo) -> int:
    keys = ctypes.create_string_buffer(info.key_size * _ENTRIES_A_READ)
    values = ctypes.create_string_buffer(info.value_size * _ENTRIES_A_READ)
    token = ctypes.c_uint32()
    position = None
    total = 0
    while True:
        count = ctypes.c_uint32(_ENTRIES_A_READ)
        buffers = (position, ctypes.byref(token), keys, values, ctypes.byref(count), None)
        try:
            call("bpf_map_lookup_batch", descriptor, *buffers)
        except OSError as error:
            if error.errno != errno.ENOENT:  # the end, and how many the last buckets had
                raise
            return total + count.value
        total += count.value
        position = ctypes.byref(token)
