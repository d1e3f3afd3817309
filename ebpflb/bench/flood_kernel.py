"""The kernel's part of a flood: runs the generator over live frames, counts entries of a map.

Decides nothing about pace or purpose. By libbpf and not by the data plane's own loader, which must not be trusted to
measure itself.

    code -> Generator.send(frames) -> frames out of a device        pin -> count_entries
"""

import ctypes
import errno
import os
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from ebpflb.bench.frames import FrameKind, generator_code, template
from ebpflb.errors import PrerequisiteError

BATCH: Final = 64
"""Frames that the kernel has under way at a time: fewer are slower, more are no faster."""
_ARRAY, _XDP = 2, 6
_LIVE_FRAMES: Final = 1 << 1
_ENTRIES_A_READ: Final = 4096


class _RunOptions(ctypes.Structure):
    """``struct bpf_test_run_opts``."""

    _fields_ = (
        ("sz", ctypes.c_size_t),
        ("data_in", ctypes.c_void_p),
        ("data_out", ctypes.c_void_p),
        ("data_size_in", ctypes.c_uint32),
        ("data_size_out", ctypes.c_uint32),
        ("ctx_in", ctypes.c_void_p),
        ("ctx_out", ctypes.c_void_p),
        ("ctx_size_in", ctypes.c_uint32),
        ("ctx_size_out", ctypes.c_uint32),
        ("retval", ctypes.c_uint32),
        ("repeat", ctypes.c_int),
        ("duration", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("cpu", ctypes.c_uint32),
        ("batch_size", ctypes.c_uint32),
    )


class _MapInfo(ctypes.Structure):
    """The beginning of ``struct bpf_map_info``."""

    _fields_ = tuple((name, ctypes.c_uint32) for name in ("type", "id", "key_size", "value_size", "max_entries"))


@cache
def _libbpf() -> ctypes.CDLL:
    try:
        return ctypes.CDLL("libbpf.so.1")
    except OSError as error:
        raise PrerequisiteError(
            f"libbpf.so.1 cannot be loaded ({error})", remedy="install it with `apt-get install libbpf1`"
        ) from error


def _call(name: str, *arguments: object) -> int:
    """Return what a function of libbpf returns; its failures are negated error numbers."""
    result: int = getattr(_libbpf(), name)(*arguments)
    if result < 0:
        raise OSError(-result, f"{name}: {os.strerror(-result)}")
    return result


class Generator:
    """A loaded generator of one kind of frame, to be used in the network namespace of its device."""

    def __init__(self, kind: FrameKind, ifindex: int) -> None:
        self._ifindex = ifindex
        self._frame = template(kind)
        self._counter = self._program = -1
        try:
            self._counter = _call("bpf_map_create", _ARRAY, b"ebpflb_flood", 4, 8, 1, None)
            code = generator_code(kind, self._counter, ifindex)
            self._program = _call("bpf_prog_load", _XDP, b"ebpflb_flood", b"GPL", code, len(code) // 8, None)
        except OSError as error:
            self.close()
            raise PrerequisiteError(f"flood: the generator does not load ({error})", remedy="run as root") from error

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Unload it."""
        self.close()

    def close(self) -> None:
        """Unload program and map."""
        for descriptor in (self._counter, self._program):
            if descriptor >= 0:
                os.close(descriptor)
        self._counter = self._program = -1

    def send(self, frames: int) -> None:
        """Send the next frames; returns when the kernel has handed them over."""
        data = ctypes.create_string_buffer(self._frame, len(self._frame))
        # struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index. The device that a frame goes to
        # is looked up in the namespace of the one that it is said to come from.
        context = (ctypes.c_uint32 * 5)(0, len(self._frame), 0, self._ifindex, 0)
        options = _RunOptions(
            sz=ctypes.sizeof(_RunOptions),
            data_in=ctypes.addressof(data),
            data_size_in=len(self._frame),
            ctx_in=ctypes.addressof(context),
            ctx_size_in=ctypes.sizeof(context),
            repeat=frames,
            flags=_LIVE_FRAMES,
            batch_size=BATCH,
        )
        try:
            _call("bpf_prog_test_run_opts", self._program, ctypes.byref(options))
        except OSError as error:
            old = error.errno in {errno.EINVAL, errno.E2BIG}
            remedy = "run it on Linux 5.18 or later: older kernels have no live frames" if old else "run as root"
            raise PrerequisiteError(f"flood: the kernel sends no frames ({error})", remedy=remedy) from error

    def sent(self) -> int:
        """Return how many frames were made."""
        value = ctypes.c_uint64()
        _call("bpf_map_lookup_elem", self._counter, ctypes.byref(ctypes.c_uint32(0)), ctypes.byref(value))
        return value.value


def count_entries(pin: Path) -> tuple[int, int]:
    """Return how many entries a pinned hash map has, and how many it takes."""
    descriptor = _call("bpf_obj_get", os.fsencode(pin))
    try:
        info = _MapInfo()
        length = ctypes.c_uint32(ctypes.sizeof(info))
        _call("bpf_obj_get_info_by_fd", descriptor, ctypes.byref(info), ctypes.byref(length))
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
            _call("bpf_map_lookup_batch", descriptor, *buffers)
        except OSError as error:
            if error.errno != errno.ENOENT:  # the end, and how many the last buckets had
                raise
            return total + count.value
        total += count.value
        position = ctypes.byref(token)
