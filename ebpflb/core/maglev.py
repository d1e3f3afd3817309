"""Decides which backend each slot of a Maglev table names (Eisenbud et al., NSDI'16), with weights.

Knows identities, weights and a seed, the same on every node; knows nothing of backend ids, addresses or services.

    identities, weights, size, seed --maglev_table--> for each slot, the index of an identity
    many sets of identities --maglev_tables--> the same for each, computed together

Each backend prefers the slots in an order of its own: from ``offset`` in steps of ``skip``, both hashed from its
identity. Backends take turns; at its turn a backend takes the slot it likes best of those still free. The result
is the paper's, exactly, whichever way it is computed (ADR 29): turn by turn (``maglev_walk.py``) where there is
little to do, else by numpy for all backends at once (``maglev_claims.py``).
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from hashlib import blake2b
from itertools import chain

import numpy as np
import numpy.typing as npt

from ebpflb.core.maglev_claims import Steps, first_turns, last_turns
from ebpflb.core.maglev_walk import Walks, last_slots, slots_by_turn

Indexes = npt.NDArray[np.uint32]
_Ints = npt.NDArray[np.int64]

SEED = b"ebpflb-maglev-1"
"""The cluster's seed: nodes with different seeds send one client to different backends."""

SIZES = (251, 509, 1021, 2039, 4093, 8191, 16381, 32749, 65537, 131071, 262139, 524287, 1048573)
"""Primes: any skip then visits every slot."""

_SLOTS_PER_BACKEND = 100
_DIGEST_BYTES = 24
"""Three words, big-endian: a backend's place in the order of turns, its offset, its skip."""

_LARGE = 400
"""From so many backends on, one table alone keeps numpy busy."""
_LARGE_LEFT = 16
"""1/16 of the turns of a large table is searched for turn by turn: claims would mostly fail."""

_TOGETHER = 64
"""From so many tables of one shape on, numpy is faster than a loop for each."""
_TOGETHER_LEFT = 12
"""1/12 of the turns is left to ``last_turns``."""
_MOST_BACKENDS = 1 << 14
"""Of all tables that are computed together: their state stays in the cache."""
_MOST_CHOICES = 1 << 22
"""Backends times slots that ``last_turns`` weighs at a time: 16 MB."""


def table_size(backends: int) -> int:
    """Return the number of slots for so many backends: at least 100 for each, while there is such a size."""
    return SIZES[min(bisect_left(SIZES, _SLOTS_PER_BACKEND * backends), len(SIZES) - 1)]


def maglev_table(identities: Sequence[bytes], weights: Sequence[int], size: int, seed: bytes = SEED) -> Indexes:
    """Return the index of a backend for each of ``size`` slots; an empty array when no backend has a weight.

    ``size`` is a prime. Backends with weight 0 are left out. The order of the input does not matter: it only
    determines what the indexes mean.
    """
    ranked = sorted(
        (blake2b(identity, key=seed, digest_size=_DIGEST_BYTES).digest(), identity, index, weight)
        for index, (identity, weight) in enumerate(zip(identities, weights, strict=True))
        if weight > 0
    )
    if not ranked:
        return np.empty(0, dtype=np.uint32)
    digests, _, indexes, shares = zip(*ranked, strict=True)
    steps = _steps(digests, 1, size)
    turns = _turns(shares, size)
    is_large = _LARGE <= len(ranked) <= size // 2 and min(shares) == max(shares)
    owners = _large(steps, turns) if is_large else _small(steps, turns)
    return np.array(indexes, dtype=np.uint32)[owners]


def maglev_tables(sets: Sequence[Sequence[bytes]], size: int, seed: bytes = SEED) -> list[Indexes]:
    """Return ``maglev_table(identities, [1, 1, ...], size, seed)`` of each set, for many sets in less time.

    Sets with equally many identities are computed together, if there are at least 64 of them.
    """
    tables: list[Indexes] = [np.empty(0, dtype=np.uint32)] * len(sets)
    by_count: dict[int, list[int]] = defaultdict(list)
    for position, identities in enumerate(sets):
        by_count[len(identities)].append(position)
    for count, positions in by_count.items():
        most = _most_together(count, size)
        while count > 1 and min(len(positions), most) >= _TOGETHER:
            chosen, positions = positions[:most], positions[most:]  # noqa: PLW2901 - what is left of the group
            for position, table in zip(chosen, _together([sets[each] for each in chosen], size, seed), strict=True):
                tables[position] = table
        for position in positions:
            tables[position] = maglev_table(sets[position], [1] * count, size, seed)
    return tables


def _most_together(count: int, size: int) -> int:
    return min(_MOST_BACKENDS, _MOST_CHOICES // (size // _TOGETHER_LEFT + count)) // max(count, 1)


def _together(sets: Sequence[Sequence[bytes]], size: int, seed: bytes) -> Indexes:
    """Return the tables of sets of equal length, shape (sets, slots)."""
    tables, count = len(sets), len(sets[0])
    digests = [blake2b(each, key=seed, digest_size=_DIGEST_BYTES).digest() for each in chain.from_iterable(sets)]
    firsts = np.frombuffer(b"".join(digests), dtype=">u8")[::3].reshape(tables, count)
    order = np.argsort(firsts, axis=1, kind="stable")
    ranks = (order + np.arange(tables)[:, None] * count).ravel().tolist()
    steps = _steps([digests[rank] for rank in ranks], tables, size)
    turns = (size - size // _TOGETHER_LEFT) // count * count
    owners = first_turns(steps, turns)
    last_turns(steps, owners, turns)
    return np.take_along_axis(order.astype(np.uint32), owners % count, axis=1)


def _steps(digests: Sequence[bytes], tables: int, size: int) -> Steps:
    words = np.frombuffer(b"".join(digests), dtype=">u8").reshape(tables, -1, 3)
    offsets = (words[:, :, 1] % np.uint64(size)).astype(np.int64)
    return Steps(offsets, (words[:, :, 2] % np.uint64(size - 1)).astype(np.int64) + 1, size)


def _turns(weights: Sequence[int], size: int) -> _Ints:
    """Return whose turn it is, for each of ``size`` turns.

    In every round each backend gains its share of the heaviest one's weight, and takes a turn whenever that
    adds up to a whole one. So its k-th turn is in round ceil(k * heaviest / weight).
    """
    count, heaviest = len(weights), max(weights)
    if min(weights) == heaviest:
        return np.resize(np.arange(count, dtype=np.int64), size)
    rounds = -(-size * heaviest // sum(weights))
    while sum(rounds * weight // heaviest for weight in weights) < size:
        rounds += 1
    turns = [rounds * weight // heaviest for weight in weights]
    backend = np.repeat(np.arange(count), turns)
    in_round = np.concatenate(
        [-(-np.arange(1, many + 1) * heaviest // weight) for many, weight in zip(turns, weights, strict=True)]
    )
    return backend[np.lexsort((backend, in_round))][:size]


def _small(steps: Steps, turns: _Ints) -> _Ints:
    """Return the backend of each slot of one table, as its place in the order of turns."""
    owners = np.empty(steps.size, dtype=np.int64)
    walks = Walks(steps.offsets[0].tolist(), steps.skips[0].tolist())
    owners[slots_by_turn(walks, turns, bytearray(b"\1") * steps.size)] = turns
    return owners


def _large(steps: Steps, turns: _Ints) -> _Ints:
    """Return the same for a table of many backends of equal weight."""
    size, count = steps.size, steps.offsets.shape[1]
    begin = (size - size // _LARGE_LEFT) // count * count
    turn_of = first_turns(steps, begin)[0]
    slots = np.empty(size, dtype=np.int64)
    taken = np.flatnonzero(turn_of < begin)
    slots[turn_of[taken]] = taken
    walks = Walks(slots[begin - count : begin].tolist(), steps.skips[0].tolist())
    slots[begin:] = last_slots(walks, turns[begin:], bytearray(turn_of == begin))
    owners = np.empty(size, dtype=np.int64)
    owners[slots] = turns
    return owners
