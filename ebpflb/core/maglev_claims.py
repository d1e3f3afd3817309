"""Decides which turn gets each slot of many Maglev tables at once, all backends of all tables moving in step.

Knows offsets and skips, of tables of equal size with equally many backends of equal weight; knows no hash.

    Steps --first_turns--> the turn that has each slot --last_turns--> no slot without one

A backend's turns are those of one round after another: the k-th of N backends has turns k, k + N, k + 2N. The table
is the one in which every turn has the slot that its backend likes best of those that no earlier turn has. So turns
need not be played in order: each backend goes through its slots and claims what a later turn has or nobody; who
loses a slot takes that turn again from there. A claim never loses to a later turn, so each loss is final, and the
order of claims does not matter (deferred acceptance: Gale and Shapley, 1962).
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

_Ints = npt.NDArray[np.int64]

_LOOK = 4
"""Steps between two looks at who is done."""
_PATIENCE = 0.5
"""How many slots a backend looks at before it claims one, of those that it passes on average: looks are cheap."""
_CROWD = 3 / 4
"""When fewer than this part of the backends are still going, the others are left out of a step."""


class Steps(NamedTuple):
    """How all backends walk through the slots."""

    offsets: _Ints
    """Shape (tables, backends), backends in their order of turns."""
    skips: _Ints
    size: int
    """Slots of a table, a prime."""


class _State(NamedTuple):
    """Of all backends of all tables, in one row; slots count through the tables, too."""

    owners: _Ints
    """The turn that has each slot."""
    at: _Ints
    """The slot that is claimed next."""
    turn: _Ints
    """The turn it is claimed for."""
    skips: _Ints
    ends: _Ints
    """The end of the backend's table."""
    firsts: _Ints
    """The position of the first backend of its table."""


def first_turns(steps: Steps, turns: int) -> _Ints:
    """Return the turn that has each slot after so many turns, shape (tables, size); ``turns``: nobody.

    ``turns`` is a multiple of the number of backends, and less than ``size``.
    """
    tables, count = steps.offsets.shape
    ends = np.repeat(np.arange(1, tables + 1) * steps.size, count)
    state = _State(
        owners=np.full(tables * steps.size, turns, dtype=np.int64),
        at=steps.offsets.ravel() + (ends - steps.size),
        turn=np.tile(np.arange(count), tables),
        skips=steps.skips.ravel(),
        ends=ends,
        firsts=np.repeat(np.arange(tables) * count, count),
    )
    while True:
        going = np.flatnonzero(state.turn < turns)
        if not len(going):
            return state.owners.reshape(tables, steps.size)
        chosen = going if len(going) < len(ends) * _CROWD else slice(None)
        free = max(steps.size - float(np.mean(state.turn)), steps.size - turns)
        for _ in range(_LOOK):
            _step(state, chosen, turns, steps, int(_PATIENCE * steps.size / free))


def _step(state: _State, chosen: _Ints | slice, turns: int, steps: Steps, looks: int) -> None:
    """Let each chosen backend claim a slot; those that were driven out of theirs go back.

    ``looks``: how many slots of earlier turns each may pass by first.
    Of several that claim one slot, any may come through. An earlier turn then claims it again in the next step.
    A backend that has all its turns claims in vain.
    """
    owners, count = state.owners, steps.offsets.shape[1]
    at, turn, skips, ends = state.at[chosen], state.turn[chosen], state.skips[chosen], state.ends[chosen]
    held = owners[at]
    for _ in range(looks):
        at = at + skips * (held < turn)
        at -= (at >= ends) * steps.size
        held = owners[at]
    owners[at] = np.minimum(held, turn)
    got = owners[at]
    has_won = got == turn
    lost = np.flatnonzero(has_won & (held > turn) & (held < turns))
    lost_turns, lost_slots = held[lost], at[lost]
    losers = state.firsts[chosen][lost] + lost_turns % count
    following = at + skips
    following -= (following >= ends) * steps.size
    again = np.flatnonzero(got > turn)
    following[again] = at[again]
    state.at[chosen] = following
    state.turn[chosen] = turn + has_won * count
    _go_back(state, losers, lost_turns, lost_slots, steps.size)


def _go_back(state: _State, losers: _Ints, turns: _Ints, slots: _Ints, size: int) -> None:
    """Send backends that lost slots on from the one that they had for their earliest turn."""
    order = np.argsort(-turns)
    order = order[state.turn[losers[order]] > turns[order]]
    losers, slots = losers[order], slots[order]
    state.turn[losers] = turns[order]  # of several for one backend, the last assignment holds: the earliest turn
    following = slots + state.skips[losers]
    state.at[losers] = following - (following >= state.ends[losers]) * size


def last_turns(steps: Steps, owners: _Ints, begin: int) -> None:
    """Give the slots that nobody has to the turns from ``begin`` on; ``owners`` is what ``first_turns`` returned.

    Turn by turn, in all tables at once, each backend takes of the free slots the one with the first place in its
    walk, which is distance / skip, mod size.
    """
    tables, count = steps.offsets.shape
    left = steps.size - begin
    free = (np.flatnonzero(owners == begin) % steps.size).reshape(tables, left)
    inverses = _inverses(steps)
    choices = np.empty((count, left, tables), dtype=np.int64)
    for backend in range(count):
        distances = free.T - steps.offsets[:, backend]
        places = (distances + (distances < 0) * steps.size) * inverses[:, backend]
        choices[backend] = places - places // steps.size * steps.size
    choices *= left
    choices += np.arange(left)[:, None]
    each = np.arange(tables)
    for turn in range(begin, steps.size):
        best = choices[turn % count].min(axis=0) % left
        choices[:, best, each] = steps.size * left
        owners[each, free[each, best]] = turn


def _inverses(steps: Steps) -> _Ints:
    """Return 1 / skip, modulo the size: by Fermat skip to the power of size - 2."""
    inverses, power, exponent = np.ones_like(steps.skips), steps.skips.copy(), steps.size - 2
    while exponent:
        if exponent & 1:
            inverses = inverses * power % steps.size
        power = power * power % steps.size
        exponent >>= 1
    return inverses
