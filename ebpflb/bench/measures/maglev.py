"""P14: 1,000 Maglev tables at once; P14b: a large one. Both against the paper's algorithm as a plain loop.

    sets of identities --> core.maglev, plain loop: the same tables --> ratio of CPU time, balance, disruption

The loop is the paper's pseudo-code with what a careful person would do in Python: bytes as flags of taken slots, no
permutation in memory, the next slot by one addition. Both hash the same identities within the measured time. Time is
that of the thread, so that other jobs on the machine count for neither.
"""

import time
from collections.abc import Callable, Sequence
from hashlib import blake2b
from statistics import median
from typing import Final, NamedTuple

import numpy as np

from ebpflb.bench.figures import Result, judge
from ebpflb.bench.measure import Effort, Measured, Point, Progress, RefusedError, Series
from ebpflb.bench.rounds import half_spread, interleaved
from ebpflb.core.maglev import SEED, Indexes, maglev_table, maglev_tables

_NUMPY, _LOOP = "numpy", "loop"
_MS: Final = 1e6


class Shape(NamedTuple):
    """Tables to compute."""

    tables: int
    backends: int
    size: int


MANY: Final = Shape(1_000, 10, 1_021)
LARGE: Final = Shape(1, 1_000, 65_537)
BACKENDS: Final = (10, 20, 50, 100, 200, 500, 1_000)
SIZES: Final = (1_021, 16_381, 65_537)
"""Of the curves, a hundred slots for each backend or more."""
_SLOTS_PER_BACKEND: Final = 16
"""Curves end where a backend has fewer."""
_REMOVALS: Final = 10


def measure(effort: Effort, progress: Progress) -> Measured:
    """Measure P14 and P14b, and draw balance and disruption."""
    results = [
        _compared("P14", MANY, effort.rounds(11, 3), progress),
        _compared("P14b", LARGE, effort.rounds(15, 7), progress),
    ]
    backends = BACKENDS[::3] if effort.is_quick else BACKENDS
    removals = 2 if effort.is_quick else _REMOVALS
    progress("balance and disruption")
    curves = {f"{size:,} slots": _quality(size, backends, removals) for size in SIZES}
    balance = {name: [Point(each.backends, each.load) for each in curve] for name, curve in curves.items()}
    moved = {name: [Point(each.backends, each.moved) for each in curve] for name, curve in curves.items()}
    moved["those of the backend itself"] = [Point(count, 1 / count) for count in backends]
    return Measured(
        results,
        (
            Series("maglev_balance", "Maglev: balance", "backends", "largest load / mean load", balance, is_log_x=True),
            Series(
                "maglev_disruption",
                "Maglev: slots that change when one backend goes",
                *("backends", "part of all slots", moved),
                is_log_x=True,
                is_log_y=True,
            ),
        ),
    )


def sets_of(shape: Shape) -> list[list[bytes]]:
    """Return the identities of the backends of each table, no two alike: an address and its rank."""
    return [
        [
            b"\x0a%c%c%c\0\0" % (table & 0xFF, table >> 8, 0) + number.to_bytes(2, "big")
            for number in range(shape.backends)
        ]
        for table in range(shape.tables)
    ]


def plain_table(identities: Sequence[bytes], size: int, seed: bytes = SEED) -> list[int]:
    """Return the table by the paper's algorithm, turn by turn."""
    ranked = []
    for index, identity in enumerate(identities):
        digest = blake2b(identity, key=seed, digest_size=24).digest()
        offset = int.from_bytes(digest[8:16], "big") % size
        skip = int.from_bytes(digest[16:], "big") % (size - 1) + 1
        ranked.append((digest[:8], identity, index, offset, skip))
    ranked.sort()
    following = [offset for _, _, _, offset, _ in ranked]
    is_taken, entry, filled = bytearray(size), [0] * size, 0
    while True:
        for backend, (_, _, index, _, skip) in enumerate(ranked):
            slot = following[backend]
            while is_taken[slot]:
                slot += skip
                if slot >= size:
                    slot -= size
            is_taken[slot] = 1
            entry[slot] = index
            following[backend] = slot
            filled += 1
            if filled == size:
                return entry


def numpy_tables(sets: Sequence[Sequence[bytes]], size: int) -> list[Indexes]:
    """Return what the control plane would compute: one table alone, or many together."""
    if len(sets) == 1:
        return [maglev_table(sets[0], [1] * len(sets[0]), size)]
    return maglev_tables(sets, size)


def check_tables(numpy: Sequence[Indexes], loop: Sequence[Sequence[int]]) -> None:
    """Raise ``RefusedError`` unless all tables are equal, slot by slot."""
    if len(numpy) != len(loop):
        raise RefusedError(f"{len(numpy)} tables by numpy, {len(loop)} by the loop")
    for number, (one, other) in enumerate(zip(numpy, loop, strict=True)):
        if not np.array_equal(one, np.array(other)):
            raise RefusedError(f"the Maglev table {number} is not the paper's")


def _compared(figure: str, shape: Shape, rounds: int, progress: Progress) -> Result:
    what = f"{shape.tables:,} x {shape.size:,} slots, {shape.backends:,} backends"
    progress(what)
    sets = sets_of(shape)
    check_tables(numpy_tables(sets, shape.size), [plain_table(each, shape.size) for each in sets])
    contenders = {
        _NUMPY: _timed(lambda: numpy_tables(sets, shape.size)),
        _LOOP: _timed(lambda: [plain_table(each, shape.size) for each in sets]),
    }
    times = interleaved(contenders, rounds, on_round=lambda number: progress(f"{what}: round {number} of {rounds}"))
    return judge(
        figure,
        times.ratio(_NUMPY, _LOOP),
        peer=times.median(_LOOP) / _MS,
        spread=times.spread(_NUMPY, _LOOP),
        detail={
            "ours_ms": times.median(_NUMPY) / _MS,
            "loop_ms": times.median(_LOOP) / _MS,
            "ours_spread_ms": half_spread(times.values[_NUMPY]) / _MS,
            "tables": shape.tables,
            "slots": shape.size,
            "backends": shape.backends,
        },
        note=f"CPU time of {what}; equal slot by slot",
    )


def _timed(work: Callable[[], object]) -> Callable[[], float]:
    def run() -> float:
        began = time.thread_time_ns()
        work()
        return float(time.thread_time_ns() - began)

    return run


class Quality(NamedTuple):
    """How good a table is."""

    backends: int
    load: float
    """Of the backend with the most slots, of the mean."""
    moved: float
    """Part of all slots that name another backend when one goes, median of several."""


def _quality(size: int, backends: Sequence[int], removals: int) -> list[Quality]:
    return [quality(count, size, removals) for count in backends if count * _SLOTS_PER_BACKEND <= size]


def quality(count: int, size: int, removals: int) -> Quality:
    """Return how well a table of so many backends is balanced, and what removing one of them moves."""
    (identities,) = sets_of(Shape(1, count, size))
    weights = [1] * count
    table = maglev_table(identities, weights, size)
    moved = []
    for number in range(removals):
        gone = number * count // removals
        without = maglev_table(identities, [*weights[:gone], 0, *weights[gone + 1 :]], size)
        moved.append(np.count_nonzero(table != without) / size)
    return Quality(count, float(np.bincount(table, minlength=count).max() * count / size), float(median(moved)))
