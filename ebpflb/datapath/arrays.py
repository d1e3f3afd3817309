"""Rows of maps as numpy arrays, as C sees them. Pure: knows no map.

rows --pointers--> addresses for libbpf          chunks of rows --joined--> rows
keys --as_text, sorted--> places(of others)
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[Any]
"""Keys or values: one-dimensional and structured, or of scalars where the C type is one."""


def pointers(rows: Rows) -> range:
    """Return the address of each row."""
    start = rows.ctypes.data
    return range(start, start + rows.nbytes, rows.itemsize)


def joined(chunks: Sequence[Rows]) -> Rows:
    """Return the chunks, at least one, as one array. numpy's concatenate drops the padding of structured dtypes."""
    result = np.empty(sum(len(chunk) for chunk in chunks), dtype=chunks[0].dtype)
    position = 0
    for chunk in chunks:
        result[position : position + len(chunk)] = chunk
        position += len(chunk)
    return result


def as_text(keys: Rows) -> npt.NDArray[np.bytes_]:
    """Return keys as byte strings, which numpy sorts fast. It ignores trailing NULs; at one length no two collide."""
    return np.ascontiguousarray(keys).view(f"S{keys.dtype.itemsize}")


def places(ascending: npt.NDArray[Any], wanted: npt.NDArray[Any]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
    """Return where each wanted value stands among ascending ones, and whether it is there at all."""
    if not len(ascending):
        return np.zeros(len(wanted), np.intp), np.zeros(len(wanted), np.bool_)
    place = np.minimum(np.searchsorted(ascending, wanted), len(ascending) - 1)
    return place, ascending[place] == wanted
