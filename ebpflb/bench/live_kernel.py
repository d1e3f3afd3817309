"""Runs the bench's own XDP programs: live frames by BPF_PROG_TEST_RUN, counters of one u64, native XDP on a device.

Decides nothing about what is sent or counted. By libbpf and not by the data plane's own loader, which must not be
trusted to measure itself.

    instructions -> LiveProgram.send(frames) -> frames out of a device        instructions -> attach -> Counter.read()
"""

import ctypes
import errno
import os
from collections.abc import Callable
from functools import cache
from typing import Final

from ebpflb.bench.closing import Closing
from ebpflb.errors import PrerequisiteError

BATCH: Final = 64
"""Frames that the kernel has under way at a time: fewer are slower, more are no faster."""
_ARRAY, _XDP = 2, 6
_LIVE_FRAMES: Final = 1 << 1
_IN_STACK, _NATIVE = 1 << 1, 1 << 2  # XDP_FLAGS_SKB_MODE, XDP_FLAGS_DRV_MODE


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


@cache
def _libbpf() -> ctypes.CDLL:
    try:
        return ctypes.CDLL("libbpf.so.1")
    except OSError as error:
        raise PrerequisiteError(
            f"libbpf.so.1 cannot be loaded ({error})", remedy="install it with `apt-get install libbpf1`"
        ) from error


def call(name: str, *arguments: object) -> int:
    """Return what a function of libbpf returns; its failures are negated error numbers. Raises ``OSError``."""
    result: int = getattr(_libbpf(), name)(*arguments)
    if result < 0:
        raise OSError(-result, f"{name}: {os.strerror(-result)}")
    return result


class _Owner(Closing):
    """Owns descriptors; a context manager."""

    def __init__(self) -> None:
        self._descriptors: list[int] = []

    def close(self) -> None:
        """Close what it owns."""
        while self._descriptors:
            os.close(self._descriptors.pop())

    def _own(self, descriptor: int) -> int:
        self._descriptors.append(descriptor)
        return descriptor


class CountingProgram(_Owner):
    """A loaded XDP program with an array of one u64, which it counts in."""

    def __init__(self, name: str, make_code: Callable[[int], bytes]) -> None:
        """``make_code`` gets the array's descriptor. Raises ``PrerequisiteError``."""
        super().__init__()
        try:
            self._counter = self._own(call("bpf_map_create", _ARRAY, name.encode(), 4, 8, 1, None))
            code = make_code(self._counter)
            loaded = call("bpf_prog_load", _XDP, name.encode(), b"GPL", code, len(code) // 8, None)
            self._program = self._own(loaded)
        except OSError as error:
            self.close()
            raise PrerequisiteError(f"bench: {name} does not load ({error})", remedy="run as root") from error

    def count(self) -> int:
        """Return what it has counted."""
        value = ctypes.c_uint64()
        call("bpf_map_lookup_elem", self._counter, ctypes.byref(ctypes.c_uint32(0)), ctypes.byref(value))
        return value.value

    def attach(self, ifindex: int, *, in_stack: bool = False) -> None:
        """Attach it to a device of the calling thread's network namespace, for as long as that lives.

        ``in_stack``: where an skb has reached the device (generic mode), however it got there; else in the driver.
        """
        try:
            call("bpf_xdp_attach", ifindex, self._program, _IN_STACK if in_stack else _NATIVE, None)
        except OSError as error:
            raise PrerequisiteError(
                f"bench: a veth takes no XDP program ({error})", remedy="run it on Linux 5.18 or later"
            ) from error


class LiveProgram(CountingProgram):
    """A generator of frames: it counts those that it makes."""

    def __init__(self, name: str, frame: bytes, ifindex: int, make_code: Callable[[int], bytes]) -> None:
        super().__init__(name, make_code)
        self._ifindex = ifindex
        self._frame = frame

    def send(self, frames: int) -> None:
        """Send the next frames, from the namespace of the device; returns when the kernel has handed them over."""
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
            call("bpf_prog_test_run_opts", self._program, ctypes.byref(options))
        except OSError as error:
            old = error.errno in {errno.EINVAL, errno.E2BIG}
            remedy = "run it on Linux 5.18 or later: older kernels have no live frames" if old else "run as root"
            raise PrerequisiteError(f"bench: the kernel sends no frames ({error})", remedy=remedy) from error
