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

_RANKED = 2
"""So many places a slot of the table are worked out in the end, to rank all free slots for all backends."""


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
    while (left := len(turns) - len(taken)) * min(left, len(at)) > size * _RANKED:
        later = turns[len(taken) :]
        end, favourites, beyond = _search(walks, later, is_free)
        for backend in later[:end].tolist():
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
    return taken + _ranked_slots(walks, turns[len(taken) :], is_free)


def _search(walks: Walks, turns: _Ints, is_free: npt.NDArray[np.bool_]) -> _Search:
    """Find free slots for the backends of the next turns, best first.

    Each backend's walk is followed for as far as its turns among half of those left will probably need.
    """
    left, size = len(turns), len(is_free)
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


def _ranked_slots(walks: Walks, turns: _Ints, is_free: npt.NDArray[np.bool_]) -> list[int]:
    """Return the slots of the last turns: of all that are free, each time the one with the first place in the walk.

    A slot's place is its distance / skip, modulo the size.
    """
    if not len(turns):
        return []
    size, free = len(is_free), np.flatnonzero(is_free)
    backends, rows = np.unique(turns, return_inverse=True)
    inverses = np.array([pow(walks.skips[backend], -1, size) for backend in backends.tolist()])
    places = free - np.array(walks.at)[backends, None]
    places += (places < 0) * size
    places *= inverses[:, None]
    places -= places // size * size
    taken = []
    for row in rows.tolist():
        first = int(places[row].argmin())
        places[:, first] = size
        taken.append(first)
    slots: list[int] = free[taken].tolist()
    return slots


def _split(backends: _Ints, slots: list[int], ends: _Ints) -> dict[int, Iterator[int]]:
    lists, start = {}, 0
    for backend, end in zip(backends.tolist(), ends.tolist(), strict=True):
        lists[backend] = iter(slots[start:end])
        start = end
    return lists
