"""How longest-prefix-match tries are read and written: row by row.

Tries have batch syscalls since 5.13 only, and ours have few rows. Knows no row's meaning.

    descriptor, keys[, values] --> keys, or the (index, errno) of each row that failed
"""

import errno
from collections.abc import Iterator

import numpy as np

from ebpflb.datapath import libbpf
from ebpflb.datapath.arrays import Rows, joined, pointers
from ebpflb.datapath.btf import DType

_ANY = 0
"""``BPF_ANY``: insert or replace."""


def read_keys(fd: int, dtype: DType) -> tuple[int, Rows]:
    """Return 0 and all keys, or the errno that ended the reading and those found so far."""
    chunks = [np.empty(0, dtype)]
    after: int | None = None
    while True:
        key = np.empty(1, dtype)
        result = libbpf.call("bpf_map_get_next_key", fd, after, key.ctypes.data)
        if result:
            return (0 if result == -errno.ENOENT else -result), joined(chunks)
        chunks.append(key)
        after = key.ctypes.data


def update(fd: int, keys: Rows, values: Rows) -> Iterator[tuple[int, int]]:
    """Insert or replace rows. A trie that is full says ENOSPC, where other maps say E2BIG.

    Old kernels (5.10) say so of a row that is there already, too: it makes room for itself then.
    """
    put, remove = libbpf.library().bpf_map_update_elem, libbpf.library().bpf_map_delete_elem
    for index, (key, value) in enumerate(zip(pointers(keys), pointers(values), strict=True)):
        result = put(fd, key, value, _ANY)
        if result == -errno.ENOSPC and remove(fd, key) == 0:
            result = put(fd, key, value, _ANY)
        if result:
            yield index, errno.E2BIG if result == -errno.ENOSPC else -result


def delete(fd: int, keys: Rows) -> Iterator[tuple[int, int]]:
    """Remove rows; one that is not there is no failure."""
    remove = libbpf.library().bpf_map_delete_elem
    for index, key in enumerate(pointers(keys)):
        result = remove(fd, key)
        if result not in {0, -errno.ENOENT}:
            yield index, -result
