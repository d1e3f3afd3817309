"""Decides which slot each turn of one Maglev table takes, one turn after the other, from any point on.

Knows how each backend walks through the slots and whose turn it is; knows no hash and no weights.

    Walks, turns, free slots --slots_by_turn--> the slot of each turn

Most of the work is the last few turns of a table, which search long for a free slot: for these numpy computes
beforehand, for all backends at once, which free slots each of them likes best.
"""

from collections.abc import Iterator
from math import log
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

_Ints = npt.NDArray[np.int64]

_SEARCH_PART = 16
"""The last 1/16 of the turns is searched for by numpy: they take about three quarters of all probes."""

_SEARCH_FROM = 2039
"""Smaller tables are done before numpy has warmed up."""

_SPARE = 1.25
"""How much longer than on average needed a search is: few backends then have to search on by themselves."""


class Walks(NamedTuple):
    """How the backends of one table walk through the slots, in their order of turns."""

    at: list[int]
    """The slot from which a backend's search goes on: its offset, then the slot it took last."""
    skips: list[int]


class _Search(NamedTuple):
    """Free slots that numpy found for the turns up to ``end``, best first, by backend."""

    end: int
    favourites: dict[int, Iterator[int]]
    beyond: dict[int, int]
    """Where a backend's own search begins when all of them are taken."""


def slots_by_turn(walks: Walks, turns: _Ints, free: bytearray) -> list[int]:
    """Return the slot that each turn takes. ``turns``: whose; one for each slot that is 1 in ``free``.

    ``walks`` and ``free`` are used up.
    """
    size = len(free)
    left = size // _SEARCH_PART if size >= _SEARCH_FROM else 0
    begin = max(len(turns) - left, 0)
    at, skips = walks
    taken: list[int] = []
    for backend in turns[:begin].tolist():
        slot, skip = at[backend], skips[backend]
        while not free[slot]:
            slot = (slot + skip) % size
        free[slot] = 0
        at[backend] = slot
        taken.append(slot)
    return taken + last_slots(walks, turns[begin:], free)


def last_slots(walks: Walks, turns: _Ints, free: bytearray) -> list[int]:
    """Do as ``slots_by_turn`` where most slots are taken: numpy searches for all turns."""
    at, skips = walks
    size, is_free = len(free), np.frombuffer(free, dtype=np.bool_)
    taken: list[int] = []
    while len(taken) < len(turns):
        begin = len(taken)
        end, favourites, beyond = _search(walks, turns[begin:], is_free)
        for backend in turns[begin : begin + end].tolist():
            for slot in favourites[backend]:
                if free[slot]:
                    break
            else:
                slot, skip = beyond[backend], skips[backend]
                while not free[slot]:
                    slot = (slot + skip) % size
                beyond[backend] = slot
            free[slot] = 0
            at[backend] = slot
            taken.append(slot)
    return taken


def _search(walks: Walks, turns: _Ints, is_free: npt.NDArray[np.bool_]) -> _Search:
    """Find free slots for the backends of the next turns, best first.

    While many slots are left, each backend's walk is followed for as far as its turns among half of them will
    probably need. In the end all free slots are put in its order.
    """
    left, size = len(turns), len(is_free)
    if left * min(left, len(walks.at)) <= size:
        backends = np.unique(turns)
        return _Search(left, _ranked(walks, backends, is_free), {})
    end = left // 2
    backends, counts = np.unique(turns[:end], return_counts=True)
    widths = (counts * (_SPARE * 2 * log(2) * size / left)).astype(np.int64) + 1
    starts, skips = np.array(walks.at)[backends], np.array(walks.skips)[backends]
    beyond = (starts + widths * skips) % size
    return _Search(
        end,
        _followed(backends, starts, skips, widths, is_free),
        dict(zip(backends.tolist(), beyond.tolist(), strict=True)),
    )


def _followed(
    backends: _Ints, starts: _Ints, skips: _Ints, widths: _Ints, is_free: npt.NDArray[np.bool_]
) -> dict[int, Iterator[int]]:
    """Return the free ones among the next ``widths`` slots of each backend's walk."""
    ends = np.cumsum(widths)
    slots = np.arange(ends[-1]) * np.repeat(skips, widths)
    slots += np.repeat(starts - (ends - widths) * skips, widths)
    slots -= slots // len(is_free) * len(is_free)
    kept = is_free[slots]
    return _split(backends, slots[kept].tolist(), np.cumsum(kept)[ends - 1])


def _ranked(walks: Walks, backends: _Ints, is_free: npt.NDArray[np.bool_]) -> dict[int, Iterator[int]]:
    """Return all free slots in the order of each backend's walk: a slot's place in it is distance / skip, mod size."""
    size = len(is_free)
    free = np.flatnonzero(is_free)
    inverses = np.array([pow(walks.skips[backend], -1, size) for backend in backends.tolist()])
    places = (free - np.array(walks.at)[backends, None]) % size * inverses[:, None] % size
    slots = free[np.argsort(places, axis=1)]
    return _split(backends, slots.ravel().tolist(), len(free) * np.arange(1, len(backends) + 1))


def _split(backends: _Ints, slots: list[int], ends: _Ints) -> dict[int, Iterator[int]]:
    lists, start = {}, 0
    for backend, end in zip(backends.tolist(), ends.tolist(), strict=True):
        lists[backend] = iter(slots[start:end])
        start = end
    return lists
