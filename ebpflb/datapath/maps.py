"""One pinned map as numpy arrays: batches in, batches out.

Decides how many syscalls a read or a write takes, and goes on after a row that the kernel refuses. Dtypes come from
the map's BTF. Knows no map by name and no row's meaning.

    pin --BpfMap.open--> BpfMap --read--> keys, values (structured arrays)
                                --update, delete--> the rows that failed
"""

import ctypes
import errno
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from ebpflb.datapath import bpfabi, libbpf, trie
from ebpflb.datapath.arrays import Rows, joined, pointers
from ebpflb.datapath.btf import Btf
from ebpflb.datapath.layout import Layout
from ebpflb.errors import EbpflbError, LayoutError, MapError

__all__ = ["BpfMap", "RowError", "Rows"]

_Write = Callable[[int, ctypes.c_uint32, bpfabi.BatchOpts], int]
"""Writes ``count`` rows from a position on; leaves in ``count`` how many were taken."""

_CHUNK = 65_536
"""Rows a write syscall takes at most: the kernel does not reschedule within one."""
_READ_CHUNK = 16_384
"""Rows a read syscall returns at most, unless a bucket of a hash holds more."""
_PER_CPU_ALIGNMENT = 8


@dataclass(frozen=True, slots=True)
class RowError:
    """One row of a batch that the kernel did not take."""

    index: int
    """Position in the arrays given."""
    errno: int
    """E2BIG: the map is full, or the array has no such index."""


class BpfMap:
    """A map, opened by its pin. A context manager; one thread at a time may write."""

    def __init__(self, handle: libbpf.Handle, info: libbpf.MapInfo, layout: Layout) -> None:
        self._handle = handle
        self.info = info
        self.layout = layout
        self._cpus = libbpf.possible_cpus() if info.type in bpfabi.PER_CPU_TYPES else 0

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open the map pinned at ``path``; raises ``LayoutError`` when it carries no BTF."""
        handle = libbpf.obj_get(path)
        try:
            info = libbpf.map_info(handle)
            return cls(handle, info, _layout(path, info))
        except BaseException:
            handle.close()
            raise

    def close(self) -> None:
        """Close the descriptor."""
        self._handle.close()

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._handle.fileno()

    def __enter__(self) -> Self:
        """Return the map itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the descriptor."""
        self.close()

    def lookup(self, key: Any) -> Any:
        """Return the value of one key (per-CPU maps: an array, one for each possible CPU), or ``None``."""
        packed = np.ascontiguousarray(np.asarray(key, dtype=self.layout.key).reshape(1), self.layout.key).tobytes()
        buffer = ctypes.create_string_buffer(self._value_bytes())
        result = libbpf.call("bpf_map_lookup_elem", self.fileno(), packed, buffer)
        if result == -errno.ENOENT:
            return None
        if result < 0:
            raise self._failure("look up", -result, packed)
        value = self._unpacked(buffer.raw)
        return value if self._cpus else value[0]

    def lookup_rows(self, keys: Rows) -> tuple[npt.NDArray[np.bool_], Rows]:
        """Return which keys are there, and their values (zero where not), at the least cost a lookup can have."""
        keys, values = np.ascontiguousarray(keys, self.layout.key), np.zeros(len(keys), self.layout.value)
        look_up, fd = libbpf.library().bpf_map_lookup_elem, self.fileno()
        places = zip(pointers(keys), pointers(values), strict=True)
        results = np.fromiter((look_up(fd, key, value) for key, value in places), np.int32, len(keys))
        bad = (results < 0) & (results != -errno.ENOENT)
        if bad.any():
            raise self._failure("look up", -int(results[bad][0]))
        return results == 0, values

    def read(self) -> tuple[Rows, Rows]:
        """Return all keys and values; values of per-CPU maps have the shape (entries, possible CPUs).

        No snapshot: rows that others insert or delete meanwhile may be missing, or seen.
        """
        if self._cpus:
            return self._read_per_cpu()
        if self.info.type == bpfabi.MapType.LPM_TRIE:
            return self._read_trie()
        chunks = [*self.chunks()]
        return joined([keys for keys, _ in chunks]), joined([values for _, values in chunks])

    def chunks(self) -> Iterator[tuple[Rows, Rows]]:
        """Yield all keys and values, some thousands at a time; at least once. Neither of per-CPU maps nor of tries."""
        token: bytes | None = None
        room = min(self.info.max_entries, _CHUNK, _READ_CHUNK)
        while True:
            result, after, keys, values = self._lookup_batch(token, room)
            if result == -errno.ENOSPC and room <= self.info.max_entries:
                room *= 2  # one bucket of the hash holds more than the buffer; none holds more than the map
                continue
            if result not in {0, -errno.ENOENT}:
                raise self._failure("read", -result)
            yield keys, values
            if result:
                return
            if after == token:
                raise MapError(f"read {self.info.name}: the kernel does not advance")
            token = after

    def update(self, keys: Rows, values: Rows, *, is_locked: bool = False) -> list[RowError]:
        """Write rows, new or not; return those that failed. ``is_locked``: under the lock that each value has."""
        if self._cpus:
            raise MapError(f"update {self.info.name}: a per-CPU map is written by programs only")
        keys, values = np.ascontiguousarray(keys, self.layout.key), np.ascontiguousarray(values, self.layout.value)
        if self.info.type == bpfabi.MapType.LPM_TRIE:
            return [RowError(*failure) for failure in trie.update(self.fileno(), keys, values)]

        def write(start: int, count: ctypes.c_uint32, options: bpfabi.BatchOpts) -> int:
            key, value = keys[start:].ctypes.data, values[start:].ctypes.data
            return libbpf.call(
                "bpf_map_update_batch", self.fileno(), key, value, ctypes.byref(count), ctypes.byref(options)
            )

        return list(self._write("update", keys, write, ignored=0, flags=bpfabi.F_LOCK if is_locked else 0))

    def delete(self, keys: Rows) -> list[RowError]:
        """Remove rows; a row that is not there is no failure."""
        keys = np.ascontiguousarray(keys, self.layout.key)
        if self.info.type == bpfabi.MapType.LPM_TRIE:
            return [RowError(*failure) for failure in trie.delete(self.fileno(), keys)]

        def write(start: int, count: ctypes.c_uint32, options: bpfabi.BatchOpts) -> int:
            key = keys[start:].ctypes.data
            return libbpf.call("bpf_map_delete_batch", self.fileno(), key, ctypes.byref(count), ctypes.byref(options))

        return list(self._write("delete", keys, write, ignored=errno.ENOENT))

    def _write(self, operation: str, keys: Rows, write: _Write, ignored: int, flags: int = 0) -> Iterator[RowError]:
        """Write in batches; after the row at which the kernel stops, go on with the next."""
        options = bpfabi.BatchOpts(sz=ctypes.sizeof(bpfabi.BatchOpts), elem_flags=flags)
        start = 0
        while start < len(keys):
            wanted = min(_CHUNK, len(keys) - start)
            count = ctypes.c_uint32(wanted)
            result = write(start, count, options)
            if not result:
                start += wanted
                continue
            if count.value >= wanted:  # refused as a whole, before the first row
                raise self._failure(operation, -result)
            failed = start + count.value
            if -result != ignored:
                yield RowError(failed, -result)
            start = failed + 1

    def _lookup_batch(self, token: bytes | None, room: int) -> tuple[int, bytes, Rows, Rows]:
        """Read up to ``room`` rows behind ``token``; return the result, the next token and the rows."""
        # A hash's token is a u32 bucket number, an array's is its last key.
        after = ctypes.create_string_buffer(max(self.info.key_size, 4))
        keys, values = np.empty(room, self.layout.key), np.empty(room, self.layout.value)
        count = ctypes.c_uint32(room)
        options = bpfabi.BatchOpts(sz=ctypes.sizeof(bpfabi.BatchOpts))
        result = libbpf.call(
            "bpf_map_lookup_batch",
            self.fileno(),
            token,
            after,
            keys.ctypes.data,
            values.ctypes.data,
            ctypes.byref(count),
            ctypes.byref(options),
        )
        taken = count.value if result in {0, -errno.ENOENT} else 0
        return result, after.raw, keys[:taken], values[:taken]

    def _read_per_cpu(self) -> tuple[Rows, Rows]:
        """Read row by row: per-CPU arrays have batches since 5.14 only, and ours have a handful of rows."""
        if self.info.type not in bpfabi.ARRAY_TYPES:
            raise MapError(f"read {self.info.name}: of per-CPU maps only arrays can be read")
        keys = np.arange(self.info.max_entries, dtype=self.layout.key)
        return keys, np.stack([self.lookup(key) for key in keys])

    def _read_trie(self) -> tuple[Rows, Rows]:
        number, keys = trie.read_keys(self.fileno(), self.layout.key)
        if number:
            raise self._failure("read", number)
        return keys, self.lookup_rows(keys)[1]

    def _value_bytes(self) -> int:
        if not self._cpus:
            return self.info.value_size
        return self._cpus * -(-self.info.value_size // _PER_CPU_ALIGNMENT) * _PER_CPU_ALIGNMENT

    def _unpacked(self, buffer: bytes) -> Rows:
        raw = np.frombuffer(buffer, np.uint8).reshape(max(self._cpus, 1), -1)
        return np.ascontiguousarray(raw[:, : self.info.value_size]).view(self.layout.value)[:, 0]

    def _failure(self, operation: str, number: int, key: bytes = b"") -> EbpflbError:
        subject = f"map {self.info.name} key {key.hex()}" if key else f"map {self.info.name}"
        return libbpf.failure(operation, subject, number)


def _layout(path: Path, info: libbpf.MapInfo) -> Layout:
    if not info.btf_id or not info.btf_key_type_id or not info.btf_value_type_id:
        raise LayoutError(f"map {info.name} at {path} carries no BTF", remedy="remove it with `ebpflb cleanup`")
    btf = Btf.parse(libbpf.btf_bytes(info.btf_id))
    layout = Layout(btf.dtype_of(info.btf_key_type_id), btf.dtype_of(info.btf_value_type_id))
    if (layout.key.itemsize, layout.value.itemsize) != (info.key_size, info.value_size):
        raise LayoutError(
            f"map {info.name} at {path}: BTF describes {layout.key.itemsize}+{layout.value.itemsize} bytes,"
            f" the map holds {info.key_size}+{info.value_size}"
        )
    return layout
