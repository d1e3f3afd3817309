"""Decides which backend each slot of a Maglev table names (Eisenbud et al., NSDI'16), with weights.

Knows identities, weights and a seed, the same on every node; knows nothing of backend ids, addresses or services.

    identities, weights, size, seed --maglev_table--> for each slot, the index of an identity

Each backend prefers the slots in an order of its own: from ``offset`` in steps of ``skip``, both hashed from its
identity. Backends take turns; at its turn a backend takes the slot it likes best of those still free. The result
is the paper's, exactly. Most of the paper's work is the last few turns of a table, which search long for a free
slot: for these numpy computes beforehand, for all backends at once, which free slots each of them likes best.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from math import log
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Indexes = npt.NDArray[np.uint32]
_Ints = npt.NDArray[np.int64]

SEED = b"ebpflb-maglev-1"
"""The cluster's seed: nodes with different seeds send one client to different backends."""

SIZES = (251, 509, 1021, 2039, 4093, 8191, 16381, 32749, 65537, 131071, 262139, 524287, 1048573)
"""Primes: any skip then visits every slot."""

_SLOTS_PER_BACKEND = 100
_SEARCH_PART = 16
"""The last 1/16 of the turns is searched for by numpy: they take about three quarters of all probes."""

_SEARCH_FROM = 2039
"""Smaller tables are done before numpy has warmed up."""

_SPARE = 1.25
"""How much longer than on average needed a search is: few backends then have to search on by themselves."""


class _Walks(NamedTuple):
    """The backends that take part, in their order of turns, and how each walks through the slots."""

    indexes: list[int]
    weights: list[int]
    at: list[int]
    """The slot from which a backend's search goes on: its offset, then the slot it took last."""
    skips: list[int]


class _Search(NamedTuple):
    """Free slots that numpy found for the turns up to ``end``, best first, by backend."""

    end: int
    favourites: dict[int, Iterator[int]]


def table_size(backends: int) -> int:
    """Return the number of slots for so many backends: at least 100 for each, while there is such a size."""
    return SIZES[min(bisect_left(SIZES, _SLOTS_PER_BACKEND * backends), len(SIZES) - 1)]


def maglev_table(identities: Sequence[bytes], weights: Sequence[int], size: int, seed: bytes = SEED) -> Indexes:
    """Return the index of a backend for each of ``size`` slots; an empty array when no backend has a weight.

    ``size`` is a prime. Backends with weight 0 are left out. The order of the input does not matter: it only
    determines what the indexes mean.
    """
    walks = _walks(identities, weights, size, seed)
    if not walks.indexes:
        return np.empty(0, dtype=np.uint32)
    owners = _populate(walks, _turns(walks.weights, size), size)
    return np.array(walks.indexes, dtype=np.uint32)[owners]


def _walks(identities: Sequence[bytes], weights: Sequence[int], size: int, seed: bytes) -> _Walks:
    rows = []
    for index, (identity, weight) in enumerate(zip(identities, weights, strict=True)):
        if weight > 0:
            digest = blake2b(identity, key=seed, digest_size=24).digest()
            offset = int.from_bytes(digest[8:16], "big") % size
            skip = int.from_bytes(digest[16:], "big") % (size - 1) + 1
            rows.append((digest[:8], identity, index, weight, offset, skip))
    rows.sort()
    return _Walks(
        [row[2] for row in rows], [row[3] for row in rows], [row[4] for row in rows], [row[5] for row in rows]
    )


def _turns(weights: Sequence[int], size: int) -> _Ints:
    """Return whose turn it is, for each of ``size`` turns.

    In every round each backend gains its share of the heaviest one's weight, and takes a turn whenever that
    adds up to a whole one. So its k-th turn is in round ceil(k * heaviest / weight).
    """
    count, heaviest = len(weights), max(weights)
    if min(weights) == heaviest:
        return np.arange(size, dtype=np.int64) % count
    rounds = -(-size * heaviest // sum(weights))
    while sum(rounds * weight // heaviest for weight in weights) < size:
        rounds += 1
    turns = [rounds * weight // heaviest for weight in weights]
    backend = np.repeat(np.arange(count), turns)
    in_round = np.concatenate(
        [-(-np.arange(1, many + 1) * heaviest // weight) for many, weight in zip(turns, weights, strict=True)]
    )
    return backend[np.lexsort((backend, in_round))][:size]


def _populate(walks: _Walks, turns: _Ints, size: int) -> _Ints:
    """Return the backend of each slot, as its position in ``walks``."""
    _, _, at, skips = walks
    free = bytearray(b"\1") * size  # the fastest sequence to probe; numpy reads it in place
    is_free = np.frombuffer(free, dtype=np.bool_)
    taken: list[int] = []
    begin = size - size // _SEARCH_PART if size >= _SEARCH_FROM else size
    for backend in turns[:begin].tolist():
        slot, skip = at[backend], skips[backend]
        while not free[slot]:
            slot = (slot + skip) % size
        free[slot] = 0
        at[backend] = slot
        taken.append(slot)
    while begin < size:
        end, favourites = _search(walks, turns, begin, is_free)
        for backend in turns[begin:end].tolist():
            for slot in favourites[backend]:
                if free[slot]:
                    break
            else:
                slot = at[backend]
                while not free[slot]:
                    slot = (slot + skips[backend]) % size
            free[slot] = 0
            at[backend] = slot
            taken.append(slot)
        begin = end
    table = np.empty(size, dtype=np.int64)
    table[taken] = turns
    return table


def _search(walks: _Walks, turns: _Ints, begin: int, is_free: npt.NDArray[np.bool_]) -> _Search:
    """Find free slots for the backends of the next turns, best first; return also the turn that they reach to.

    While many slots are left, each backend's walk is followed for as far as its turns among half of them will
    probably need; a backend whose list ends goes on by itself. In the end all free slots are put in its order.
    """
    left = len(turns) - begin
    if left * min(left, len(walks.at)) <= len(turns):
        backends = np.unique(turns[begin:])
        return _Search(len(turns), _ranked(walks, backends, is_free))
    end = begin + left // 2
    backends, counts = np.unique(turns[begin:end], return_counts=True)
    widths = (counts * (_SPARE * 2 * log(2) * len(turns) / left)).astype(np.int64) + 1
    return _Search(end, _followed(walks, backends, widths, is_free))


def _followed(
    walks: _Walks, backends: _Ints, widths: _Ints, is_free: npt.NDArray[np.bool_]
) -> dict[int, Iterator[int]]:
    """Return the free ones among the next ``widths`` slots of each backend's walk."""
    skips = np.array(walks.skips)[backends]
    ends = np.cumsum(widths)
    slots = np.arange(ends[-1]) * np.repeat(skips, widths)
    slots += np.repeat(np.array(walks.at)[backends] - (ends - widths) * skips, widths)
    slots -= slots // len(is_free) * len(is_free)
    kept = is_free[slots]
    return _split(backends, slots[kept].tolist(), np.cumsum(kept)[ends - 1])


def _ranked(walks: _Walks, backends: _Ints, is_free: npt.NDArray[np.bool_]) -> dict[int, Iterator[int]]:
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
