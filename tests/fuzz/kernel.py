"""The real programs and their maps, reached by the shortest way: a test run costs one call and no allocation.

    frame --Runner.run--> retval, frame          Maps --raw bytes--> the rows that programs read and write

Builds under pins of its own, in the calling process' namespace. Knows no layout and no rule.
"""

import ctypes
import errno
import json
import struct
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from types import TracebackType
from typing import Self
from uuid import uuid4

from ebpflb.core.abi import Counter
from ebpflb.datapath import bpfabi, libbpf
from ebpflb.datapath.build import BuildSpec, MapSizes, build_programs
from ebpflb.datapath.clock import JiffiesClock
from ebpflb.datapath.pins import Pins
from tests.fuzz.rows import Hook, World
from tests.prog.fixtures_maps import BPFFS

FRAME_BYTES = 3000
"""More than any frame here; less than a test run takes at once."""
_CTX_BYTES, _CTX_INGRESS_IFINDEX = 192, 36
_TWO = struct.Struct("=II")
_CHANGES = struct.Struct("=III")
"""ingress_ifindex and ifindex stand side by side."""
_U32 = struct.Struct("=I")
_XDP_MD = struct.Struct("=IIIIII")
"""data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex."""
_XDP_DATA_END = 4
_SIZES = MapSizes(256, 256, 64, 256, 4096, 4096, 4096, 64, 64, 64)
_ANY = 0
_ALL_MARKED = b"\xff" * 8


def link_addresses() -> dict[int, bytes]:
    """Return the Ethernet addresses of the namespace's devices, by index."""
    shown = subprocess.run(["ip", "-json", "link"], check=True, capture_output=True).stdout
    return {link["ifindex"]: bytes.fromhex(link["address"].replace(":", "")) for link in json.loads(shown)}


class Maps:
    """The maps of one instance, as bytes."""

    def __init__(self, pins: Pins, world: World, stack: ExitStack) -> None:
        self._handles = {
            path.name: stack.enter_context(libbpf.obj_get(path)) for path in sorted(pins.maps(world.family).iterdir())
        }
        self._info = {name: libbpf.map_info(handle) for name, handle in self._handles.items()}
        self._buffers = {
            name: ctypes.create_string_buffer(max(8, info.value_size)) for name, info in self._info.items()
        }
        lib = libbpf.library()
        self._look_up, self._next = lib.bpf_map_lookup_elem, lib.bpf_map_get_next_key
        self._mark_everything()

    def put(self, name: str, key: bytes, value: bytes) -> None:
        """Insert or replace a row."""
        info = self._info[name]
        assert (len(key), len(value)) == (info.key_size, info.value_size), f"{name}: {len(key)}, {len(value)}, {info}"
        self._write(name, key, value)
        self._note_change()

    def delete(self, name: str, key: bytes) -> None:
        """Remove a row; one that is not there is no error."""
        result = libbpf.call("bpf_map_delete_elem", self._handles[name].fileno(), key)
        if result != -errno.ENOENT:
            self._checked(name, result)
        self._note_change()

    def get(self, name: str, key: bytes) -> bytes | None:
        """Return a row's value."""
        buffer = self._buffers[name]
        result = self._look_up(self._handles[name].fileno(), key, buffer)
        if result == -errno.ENOENT:
            return None
        self._checked(name, result)
        return buffer.raw[: self._info[name].value_size]

    def rows(self, name: str) -> dict[bytes, bytes]:
        """Return all rows of a small map."""
        found = {}
        for key in list(self._keys(name)):
            value = self.get(name, key)
            if value is not None:
                found[key] = value
        return found

    def counters(self) -> list[int]:
        """Return every counter, all CPUs added up."""
        name, cpus = "counters", libbpf.possible_cpus()
        buffer = ctypes.create_string_buffer(8 * cpus)
        totals = []
        for counter in Counter:
            key = struct.pack("=I", counter)
            self._checked(name, self._look_up(self._handles[name].fileno(), key, buffer))
            totals.append(sum(struct.unpack(f"={cpus}Q", buffer.raw)))
        return totals

    def _write(self, name: str, key: bytes, value: bytes) -> None:
        self._checked(name, libbpf.call("bpf_map_update_elem", self._handles[name].fileno(), key, value, _ANY))

    def _mark_everything(self) -> None:
        """Have XDP look at every packet: what has no mark it leaves to tc, which the reference knows nothing of."""
        for index in range(self._info["marks"].max_entries):
            self._write("marks", _U32.pack(index), _ALL_MARKED)

    def _note_change(self) -> None:
        """Have XDP forget what it has kept of flows, as it must whenever a writer like this one was there."""
        key = _U32.pack(0)
        taken_back, written, swept = _CHANGES.unpack(self.get("changes", key) or bytes(_CHANGES.size))
        self._write("changes", key, _CHANGES.pack(taken_back, (written + 1) & 0xFFFFFFFF, swept))

    def _keys(self, name: str) -> Iterator[bytes]:
        fd, size = self._handles[name].fileno(), self._info[name].key_size
        key, after = None, ctypes.create_string_buffer(size)
        while self._next(fd, key, after) == 0:
            key = after.raw
            yield key

    def _checked(self, name: str, result: int) -> None:
        if result < 0:
            raise libbpf.map_error("use", f"map {name}", -result)


class Runner:
    """One program, run on one frame after the other."""

    def __init__(self, program: libbpf.Handle, *, is_xdp: bool) -> None:
        self._fd, self._is_xdp = program.fileno(), is_xdp
        self._place = (0, False)
        self._in = (ctypes.c_char * FRAME_BYTES)()
        self._out = (ctypes.c_char * (FRAME_BYTES + 256))()
        self._ctx = (ctypes.c_char * _CTX_BYTES)()
        self._options = bpfabi.TestRunOpts(
            sz=ctypes.sizeof(bpfabi.TestRunOpts),
            data_in=ctypes.addressof(self._in),
            data_out=ctypes.addressof(self._out),
            ctx_in=ctypes.addressof(self._ctx),
            ctx_size_in=_XDP_MD.size if is_xdp else _CTX_BYTES,
            repeat=1,
        )
        self._pointer = ctypes.byref(self._options)
        self._test_run = libbpf.library().bpf_prog_test_run_opts

    def _enter(self, device: int, came_in_by: int) -> None:
        if self._is_xdp:
            _XDP_MD.pack_into(self._ctx, 0, 0, 0, 0, device, 0, 0)
        else:
            _TWO.pack_into(self._ctx, _CTX_INGRESS_IFINDEX, came_in_by, device)

    def run(self, frame: bytes, device: int, *, is_own: bool) -> int:
        """Run the program on a frame that shows up at a device; what did not come in by one is the node's own.

        Returns what the program returned, or a negative errno when the kernel refused the frame.
        """
        options, size = self._options, len(frame)
        if (device, is_own) != self._place:
            self._enter(device, 0 if is_own else device)
            self._place = device, is_own
        ctypes.memmove(self._in, frame, size)
        options.data_size_in = size
        if self._is_xdp:
            _U32.pack_into(self._ctx, _XDP_DATA_END, size)
        options.data_size_out = FRAME_BYTES + 256
        result: int = self._test_run(self._fd, self._pointer)
        return result if result < 0 else options.retval

    def frame(self) -> bytes:
        """Return the frame as the program left it."""
        return ctypes.string_at(self._out, self._options.data_size_out)


class Programs:
    """The programs of a world's family with maps that hold the world. A context manager."""

    def __init__(self, world: World) -> None:
        self._pins = Pins(BPFFS, f"fuzz-{uuid4().hex[:12]}")
        self._open = ExitStack()
        try:
            self._open.callback(self._pins.remove)
            clock = self._open.enter_context(JiffiesClock())
            self.now = clock.now_jiffies
            build = build_programs(self._spec(world, clock.hz))
            self._handles = {
                hook: self._open.enter_context(libbpf.obj_get(build.pins[hook])) for hook in Hook if hook in build.pins
            }
            self.maps = Maps(self._pins, world, self._open)
        except BaseException:
            self.close()
            raise

    def _spec(self, world: World, hz: int) -> BuildSpec:
        self._pins.create_folders(world.family)
        return BuildSpec(
            world.family,
            self._pins.maps(world.family),
            self._pins.progs(world.family),
            hz=hz,
            host_netns_cookie=1,
            hairpin_address=world.hairpin_address,
            sizes=_SIZES,
        )

    def runner(self, hook: Hook) -> Runner:
        """Return what runs a hook's program."""
        return Runner(self._handles[hook], is_xdp=hook is Hook.XDP_IN)

    def close(self) -> None:
        """Close and unpin everything."""
        self._open.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
