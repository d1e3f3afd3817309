"""Decides which backends have a row, from how often all Services together use each: counts that come and go.

Knows Members of Services and which backends had a row before; knows nothing of ids, of frontends or of limits.

    Members of a Service --uses_of--> {backend: Uses} --Tally.set--> Uses of all --state_of--> BackendState
    one Member after the other --Count.add--> Uses of the backends that are used otherwise than usual --> Tally
"""

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple

from ebpflb.core.abi import BackendState
from ebpflb.core.choice import needs_of, union_of
from ebpflb.core.forwarding import here
from ebpflb.core.service_rows import Member
from ebpflb.core.tables import BackendKey


class Uses(NamedTuple):
    """How many service ports use a backend, by what for."""

    active: int = 0
    """A range of theirs names it. It is counted twice where both sets do."""
    leaving: int = 0
    """It finishes its flows there, or other nodes may send to it: it needs a row, and gets no new flows of ours."""
    listed: int = 0
    """They list it, for whatever it is good: a row that it has already stays."""
    local: int = 0
    """They say that it is on this node."""


UNUSED = Uses()
USUAL = Uses(active=1, listed=1)
"""Of nearly all backends: one Service lists them, on another node, and sends there."""


@lru_cache(maxsize=4096)
def plus(one: Uses, other: Uses) -> Uses:
    """Return the sum: few sums are made, again and again."""
    return Uses._make(map(sum, zip(one, other, strict=True)))


@lru_cache(maxsize=4096)
def minus(one: Uses, other: Uses) -> Uses:
    """Return the difference."""
    return Uses._make(first - second for first, second in zip(one, other, strict=True))


_ACTIVE, _LEAVING, _LISTED = Uses(active=1), Uses(leaving=1), Uses(listed=1)
_LISTED_HERE = Uses(listed=1, local=1)


def uses_of(members: Iterable[Member], is_here: Callable[[bytes], bool]) -> dict[BackendKey, Uses]:
    """Return how a Service uses its backends, in the order in which they would get rows."""
    uses: dict[BackendKey, Uses] = {}
    for exposure, candidates, selection in members:
        needs = union_of(needs_of(exposure, kind) for _, kind in exposure.claims)
        active = (selection.cluster if needs.cluster else ()) + (selection.local if needs.local else ())
        for key, is_local, _ in candidates:
            uses[key] = plus(uses.get(key, UNUSED), _LISTED_HERE if is_local else _LISTED)
        for candidate in active:
            uses[candidate.key] = plus(uses[candidate.key], _ACTIVE)
        for key in leaving_of(Member(exposure, candidates, selection), is_here):
            uses[key] = plus(uses[key], _LEAVING)
    return uses


def usual_of(member: Member) -> list[BackendKey] | None:
    """Return the backends of a service port whose use of all of them is the usual one; ``None``: not of all, or not
    known without a look at each.
    """
    exposure, candidates, selection = member
    if exposure.has_direct or len(selection.cluster) != len(candidates) or (candidates and candidates[0].is_local):
        return None
    if not all(needs_of(exposure, kind).cluster for _, kind in exposure.claims):
        return None
    return [candidate.key for candidate in candidates]


def leaving_of(member: Member, is_here: Callable[[bytes], bool]) -> list[BackendKey]:
    """Return the backends of a service port that need a row although no range may name them.

    With DSR other nodes choose by their own hints and policies: what they send here needs a row.
    """
    keys = [candidate.key for candidate in member.selection.draining]
    if member.exposure.has_direct:
        keys += [candidate.key for candidate in here(member.candidates, is_here)]
    return keys


def state_of(uses: Uses, *, had_row: bool) -> BackendState:
    """Return the state of a backend's row; NONE: it has none (any more)."""
    if uses.active:
        return BackendState.ACTIVE
    if uses.leaving or (uses.listed and had_row):
        return BackendState.DRAINING
    return BackendState.NONE


class Count:
    """Counts the uses of backends while one service port after the other takes ids for them.

    Whether a backend is in use by then tells the usual ones: nothing is stored of these.
    """

    def __init__(self, active: Mapping[BackendKey, object], is_here: Callable[[bytes], bool]) -> None:
        """``active``: the backends that some range names, now and whenever asked."""
        self._active = active
        self._is_here = is_here
        self._counted: dict[BackendKey, Uses] = {}

    def add(self, member: Member) -> bool:
        """Count a service port whose backends have not been taken yet; return whether it is the first to use them, and
        uses all of them as usual.
        """
        keys, active, counted = usual_of(member), self._active, self._counted
        if keys is not None and active.keys().isdisjoint(keys) and counted.keys().isdisjoint(keys):
            return True
        for key, each in uses_of([member], self._is_here).items():
            counted[key] = plus(counted.get(key, USUAL if key in active else UNUSED), each)
        return False

    def unusual(self) -> dict[BackendKey, Uses]:
        """Return the uses that are not the usual one."""
        return {key: each for key, each in self._counted.items() if each != USUAL}


class Tally:
    """The uses of every backend by all Services. The usual ones are not stored: of those only the row tells."""

    def __init__(self, unusual: Mapping[BackendKey, Uses], backends: Mapping[BackendKey, object]) -> None:
        """``backends``: those that have rows, now and whenever asked."""
        self._backends = backends
        self._uses = dict(unusual)

    def of(self, key: BackendKey) -> Uses:
        """Return a backend's uses. To be asked before its row comes or goes."""
        found = self._uses.get(key)
        if found is not None:
            return found
        return USUAL if key in self._backends else UNUSED

    def set(self, key: BackendKey, uses: Uses) -> None:
        """Replace a backend's uses; its row is the matching one then."""
        if uses in {USUAL, UNUSED}:
            self._uses.pop(key, None)
        else:
            self._uses[key] = uses
