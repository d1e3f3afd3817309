"""Decides what one snapshot changes against the one before, for the metrics: how much, and since when it is true.

Knows two snapshots; must not know what is made of them, nor what time it is now.

    Snapshot, Snapshot' --changes_between--> Changes
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ebpflb.core.abi import Family
from ebpflb.core.model import EndpointSlice, ObjectKey, Snapshot


@dataclass(frozen=True, slots=True)
class Changes:
    """How many objects are new, different or gone."""

    services: int = 0
    slices: int = 0
    triggered: tuple[tuple[Family, datetime], ...] = ()
    """When what new and different slices say came true, as their controller has it; of those that say so."""


def changes_between(before: Snapshot, after: Snapshot) -> Changes:
    """Compare two snapshots. Objects that were not touched are the same ones, so that looking at them is enough."""
    changed = _changed(before.slices, after.slices)
    slices = [each for each in changed if isinstance(each, EndpointSlice)]
    moments = [(each.family, trigger_time(each.triggered_at)) for each in slices]
    return Changes(
        services=len(_changed(before.services, after.services)) + len(before.services.keys() - after.services.keys()),
        slices=len(slices) + len(before.slices.keys() - after.slices.keys()),
        triggered=tuple((family, moment) for family, moment in moments if moment is not None),
    )


def trigger_time(text: str) -> datetime | None:
    """Return the moment that a slice's annotation names; ``None`` when it has none, or one that cannot be read."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None


def _changed(before: Mapping[ObjectKey, Any], after: Mapping[ObjectKey, Any]) -> list[Any]:
    """Return the objects of ``after`` that are new or different; a relist brings equal ones anew."""
    return [each for key, each in after.items() if (known := before.get(key)) is not each and known != each]
