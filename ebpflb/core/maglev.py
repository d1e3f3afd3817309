"""Decides which backend each slot of a Maglev table names (NSDI'16), with weights.

identities, weights, size, seed --maglev_table--> array of indexes
"""

from collections.abc import Sequence
from bisect import bisect_left
from hashlib import blake2b
import numpy as np
import numpy.typing as npt

SEED = b"ebpflb"
_SIZES = (251, 509, 1021, 2039, 4093, 8191, 16381, 32749, 65537, 131071)


def table_size(backends: int) -> int:
    return _SIZES[min(bisect_left(_SIZES, 100 * backends), len(_SIZES) - 1)]


def maglev_table(
    identities: Sequence[bytes], weights: Sequence[int], size: int, seed: bytes = SEED
) -> npt.NDArray[np.uint32]:
    rows = []
    for index, (identity, weight) in enumerate(zip(identities, weights, strict=True)):
        if weight > 0:
            d = blake2b(identity, key=seed, digest_size=24).digest()
            rows.append(
                (
                    d[:8],
                    identity,
                    index,
                    weight,
                    int.from_bytes(d[8:16], "big") % size,
                    int.from_bytes(d[16:24], "big") % (size - 1) + 1,
                )
            )
    if not rows:
        return np.empty(0, np.uint32)
    rows.sort()
    top = max(r[3] for r in rows)
    table = [-1] * size
    pos = [r[4] for r in rows]
    acc = [0] * len(rows)
    left = size
    while left:
        for i, r in enumerate(rows):
            acc[i] += r[3]
            if acc[i] < top:
                continue
            acc[i] -= top
            p = pos[i]
            while table[p] >= 0:
                p = (p + r[5]) % size
            table[p] = r[2]
            pos[i] = p
            left -= 1
            if not left:
                break
    return np.array(table, np.uint32)
