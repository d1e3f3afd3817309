"""Rows of maps as numpy arrays, as C sees them. Pure: knows no map.

rows --pointers--> addresses for libbpf          chunks of rows --joined--> rows
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
