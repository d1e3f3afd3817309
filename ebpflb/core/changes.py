"""Decides what one snapshot changes against the one before, for the metrics: how much, and since when it is true.

Knows two snapshots; must not know what is made of them, nor what time it is now.

    Snapshot, Snapshot' --changes_between--> Changes
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import compress
from operator import is_, is_not
from typing import TypeVar

from ebpflb.core.abi import Family
from ebpflb.core.model import ObjectKey, Snapshot

ObjectT = TypeVar("ObjectT")


@dataclass(frozen=True, slots=True)
class Changes:
    """How many objects are new, different or gone."""

    services: int = 0
    slices: int = 0
    triggered: tuple[tuple[Family, datetime], ...] = ()
    """When what new and different slices say came true, as their controller has it; of those that say so."""


def changes_between(before: Snapshot, after: Snapshot) -> Changes:
    """Compare two snapshots. Objects that were not touched are the same ones, so that looking at them is enough."""
    services, services_gone = _difference(before.services, after.services)
    slices, slices_gone = _difference(before.slices, after.slices)
    moments = [(each.family, trigger_time(each.triggered_at)) for each in slices]
    return Changes(
        services=len(services) + services_gone,
        slices=len(slices) + slices_gone,
        triggered=tuple((family, moment) for family, moment in moments if moment is not None),
    )


def trigger_time(text: str) -> datetime | None:
    """Return the moment that a slice's annotation names; ``None`` when it has none, or one that cannot be read."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None


def _difference(before: Mapping[ObjectKey, ObjectT], after: Mapping[ObjectKey, ObjectT]) -> tuple[list[ObjectT], int]:
    """Return the objects of ``after`` that are new or different, and how many are gone.

    Most often one object out of very many was replaced: keys and order are the same, and two passes in C find it.
    """
    if len(before) == len(after) and all(map(is_, before, after)):
        pairs = zip(before.values(), after.values(), strict=True)
        touched = compress(pairs, map(is_not, before.values(), after.values()))
        return [new for old, new in touched if old != new], 0  # a relist brings equal ones anew
    missing = object()
    changed = [each for key, each in after.items() if before.get(key, missing) != each]
    return changed, len(before.keys() - after.keys())
