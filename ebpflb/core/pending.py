"""Decides which changes are not in the maps yet: of every family, where the snapshot differs from the one it last took.

An object that changed back, or came and went meanwhile, is no change: there are never more than there are objects. A
family whose maps refuse a row has not taken its snapshot, and which rows it took all the same is not known here.

    Changes --take--> what waits      families that are behind --settle--> when what the others took came true
                                                              --counts--> how many Services and slices still wait
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from ebpflb.core.abi import Family
from ebpflb.core.changes import Changes, Difference
from ebpflb.core.model import EndpointSlice, ObjectKey, Service


class Counts(NamedTuple):
    """How many objects wait, of whichever family."""

    services: int = 0
    slices: int = 0


@dataclass(slots=True)
class _Arrears:
    """What one family has not taken: objects by key, as it knows them; ``None``: not at all."""

    services: dict[ObjectKey, Service | None] = field(default_factory=dict)
    slices: dict[ObjectKey, EndpointSlice | None] = field(default_factory=dict)
    triggered: dict[ObjectKey, datetime] = field(default_factory=dict)
    """When the first of a slice's changes came true."""


class PendingChanges:
    """Follows the changes, and what each family takes of them."""

    def __init__(self, families: Collection[Family]) -> None:
        self._arrears = {family: _Arrears() for family in families}

    def take(self, changes: Changes, unsettled: Collection[Family]) -> None:
        """Take what changed. All families but the unsettled have it: there it is timed, and no more."""
        gone = changes.slices.before.keys() - changes.slices.after.keys()
        for family, arrears in self._arrears.items():
            if family in unsettled:
                _follow(arrears.services, changes.services, changes.services.keys())
                _follow(arrears.slices, changes.slices, changes.slices_of(family))
            for key in gone:
                arrears.triggered.pop(key, None)
            for key, moment in changes.trigger_times(family).items():
                arrears.triggered.setdefault(key, moment)

    def settle(self, unsettled: Collection[Family]) -> Iterator[tuple[Family, datetime]]:
        """Hear that all other families have the snapshot; yield when what is new to them came true."""
        for family, arrears in self._arrears.items():
            if family not in unsettled:
                self._arrears[family] = _Arrears()
                yield from ((family, moment) for moment in arrears.triggered.values())

    def counts(self) -> Counts:
        """Return how much waits."""
        services: set[ObjectKey] = set()
        slices: set[ObjectKey] = set()
        for arrears in self._arrears.values():
            services.update(arrears.services)
            slices.update(arrears.slices)
        return Counts(len(services), len(slices))


def _follow(known: dict[ObjectKey, Any], difference: Difference[Any], keys: Iterable[ObjectKey]) -> None:
    for key in keys:
        was = known.pop(key, difference.before.get(key))
        if difference.after.get(key) != was:
            known[key] = was
