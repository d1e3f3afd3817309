"""Decides what one snapshot changes against another, so that nothing else is looked at, and since when it is true.

Knows two snapshots; must not know what is made of them, nor what time it is now.

    Snapshot, Snapshot' --changes_between--> Changes --trigger_times--> what is timed
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import compress
from operator import is_, is_not
from typing import Generic, TypeVar

from ebpflb.core.abi import Family
from ebpflb.core.model import EndpointSlice, ObjectKey, Service, Snapshot

ObjectT = TypeVar("ObjectT", bound=Service | EndpointSlice)


@dataclass(frozen=True, slots=True)
class Difference(Generic[ObjectT]):
    """The objects of one kind that are new, different or gone."""

    before: Mapping[ObjectKey, ObjectT] = field(default_factory=dict)
    """As they were; without the new ones."""
    after: Mapping[ObjectKey, ObjectT] = field(default_factory=dict)
    """As they are; without those that are gone."""

    def keys(self) -> set[ObjectKey]:
        """Return their keys."""
        return self.before.keys() | self.after.keys()


@dataclass(frozen=True, slots=True)
class Changes:
    """What is not the same in two snapshots."""

    services: Difference[Service] = field(default_factory=Difference)
    slices: Difference[EndpointSlice] = field(default_factory=Difference)

    def slices_of(self, family: Family) -> set[ObjectKey]:
        """Return the keys of the slices of a family."""
        both = (self.slices.before, self.slices.after)
        return {each.key for objects in both for each in objects.values() if each.family is family}

    def trigger_times(self, family: Family) -> dict[ObjectKey, datetime]:
        """Return when what new and different slices say came true, as their controller has it; of those that say so."""
        moments = {
            key: trigger_time(each.triggered_at) for key, each in self.slices.after.items() if each.family is family
        }
        return {key: moment for key, moment in moments.items() if moment is not None}


def changes_between(before: Snapshot, after: Snapshot) -> Changes:
    """Compare two snapshots. Objects that were not touched are the same ones, so that looking at them is enough."""
    return Changes(_difference(before.services, after.services), _difference(before.slices, after.slices))


def trigger_time(text: str) -> datetime | None:
    """Return the moment that a slice's annotation names; ``None`` when it has none, or one that cannot be read."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None


def _difference(before: Mapping[ObjectKey, ObjectT], after: Mapping[ObjectKey, ObjectT]) -> Difference[ObjectT]:
    """Return the objects that are not equal in both.

    Most often one object out of very many was replaced: keys and order are the same, and two passes in C find it.
    """
    if len(before) == len(after) and all(map(is_, before, after)):
        touched = compress(before, map(is_not, before.values(), after.values()))
        changed = [key for key in touched if before[key] != after[key]]  # a relist brings equal ones anew
    else:
        known = before.get
        others = [key for key, each in after.items() if known(key) is not each]
        changed = [key for key in others if known(key) != after[key]]
        changed += before.keys() - after.keys()
    return Difference(
        {key: before[key] for key in changed if key in before}, {key: after[key] for key in changed if key in after}
    )
