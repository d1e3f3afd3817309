"""Decides what one snapshot changes against another, so that nothing else is looked at, and since when it is true.

Knows two states of the objects that changed, and where the others are; must not know what is made of them, nor what
time it is now.

    Snapshot, Snapshot' --changes_between--> Changes --trigger_times--> what is timed
    batches of the inbox --------------------^       --excerpts--> what is told, --Ledger--> rows
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import compress
from operator import is_, is_not
from typing import Generic, TypeVar

from ebpflb.core.abi import Family
from ebpflb.core.model import EndpointSlice, Node, ObjectKey, Service, Snapshot

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


class Present:
    """The Services, and the slices of each, as they are now. One for all who follow changes: it changes with each."""

    def __init__(self, services: Mapping[ObjectKey, Service], slices: Iterable[EndpointSlice] = ()) -> None:
        self.services = services
        self._slices: dict[ObjectKey, tuple[EndpointSlice, ...]] = {}
        listed: dict[ObjectKey, list[EndpointSlice]] = {}
        for each in slices:
            listed.setdefault(service_key(each), []).append(each)
        for key, own in listed.items():
            self._put(key, own)

    def slices_of(self, service: ObjectKey) -> tuple[EndpointSlice, ...]:
        """Return the slices of both families that name a Service, in the order of their names."""
        return self._slices.get(service, ())

    def take(self, slices: Difference[EndpointSlice]) -> None:
        """Bring the slices up to date. That of the Services is up to whoever handed them in."""
        touched: dict[ObjectKey, list[EndpointSlice]] = {}
        for key in dict.fromkeys(map(service_key, (*slices.before.values(), *slices.after.values()))):
            touched[key] = [each for each in self.slices_of(key) if each.key not in slices.before]
        for each in slices.after.values():
            touched[service_key(each)].append(each)
        for key, own in touched.items():
            self._put(key, own)

    def _put(self, service: ObjectKey, slices: list[EndpointSlice]) -> None:
        if slices:
            self._slices[service] = tuple(sorted(slices, key=lambda each: each.name))
        else:
            self._slices.pop(service, None)


@dataclass(frozen=True, slots=True)
class Changes:
    """What is not the same in two snapshots."""

    services: Difference[Service] = field(default_factory=Difference)
    slices: Difference[EndpointSlice] = field(default_factory=Difference)
    present: Present = field(default_factory=lambda: Present({}))
    """What there is after the changes."""

    def touched(self) -> set[ObjectKey]:
        """Return the keys of the Services that are not the same, or not all of whose slices are."""
        slices = (*self.slices.before.values(), *self.slices.after.values())
        return self.services.keys().union(map(service_key, slices))

    def service_before(self, key: ObjectKey) -> Service | None:
        """Return a Service as it was."""
        if key in self.services.before or key in self.services.after:
            return self.services.before.get(key)
        return self.present.services.get(key)

    def slices_before(self, service: ObjectKey) -> tuple[EndpointSlice, ...]:
        """Return the slices that named a Service, in the order of their names."""
        kept = [each for each in self.present.slices_of(service) if each.key not in self.slices.after]
        if not self.slices.before:
            return tuple(kept)
        kept += [each for each in self.slices.before.values() if service_key(each) == service]
        return tuple(sorted(kept, key=lambda each: each.name))

    def excerpts(self, node: Node) -> tuple[Snapshot, Snapshot]:
        """Return the touched Services and their slices, as they were and as they are."""
        keys = self.touched()
        before = {key: service for key in keys if (service := self.service_before(key)) is not None}
        after = {key: service for key in keys if (service := self.present.services.get(key)) is not None}
        old = {each.key: each for key in keys for each in self.slices_before(key)}
        new = {each.key: each for key in keys for each in self.present.slices_of(key)}
        return Snapshot(node, before, old), Snapshot(node, after, new)

    def slices_of(self, family: Family) -> set[ObjectKey]:
        """Return the keys of the slices of a family."""
        both = (self.slices.before, self.slices.after)
        return {key for objects in both for key, each in objects.items() if each.family is family}

    def trigger_times(self, family: Family) -> dict[ObjectKey, datetime]:
        """Return when what new and different slices say came true, as their controller has it; of those that say so."""
        moments = {
            key: trigger_time(each.triggered_at) for key, each in self.slices.after.items() if each.family is family
        }
        return {key: moment for key, moment in moments.items() if moment is not None}


def changes_between(before: Snapshot, after: Snapshot) -> Changes:
    """Compare two snapshots. Objects that were not touched are the same ones, so that looking at them is enough."""
    return Changes(
        _difference(before.services, after.services),
        _difference(before.slices, after.slices),
        Present(after.services, after.slices.values()),
    )


def service_key(endpoint_slice: EndpointSlice) -> ObjectKey:
    """Return the key of the Service that a slice names."""
    return endpoint_slice.namespace, endpoint_slice.service_name


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
