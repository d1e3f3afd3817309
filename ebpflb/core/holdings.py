"""Decides which ids and ranges a unit of work takes, and takes all of them back when one cannot be had.

Knows names, keys and limits; knows nothing of frontends, policies or of what rows look like.

    Allocation --> Holdings: begin, service_id, backend_id, place, [undo] --> ... --allocation--> Allocation'
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from ebpflb.core.ids import Allocation, BackendId, IdPool, retire
from ebpflb.core.ranges import Arena
from ebpflb.core.tables import EMPTY_RANGE, BackendKey, FrontendKey, Range, Slots, TableName


@dataclass(frozen=True, slots=True)
class Limits:
    """What the maps hold: ``max_entries``, and for slots their number. Id 0 of backends and services is not used."""

    frontends: int
    backends: int
    services: int
    slots: int
    members: int
    local_backends: int
    source_ranges: int


class FullError(Exception):
    """A map has no room for what a Service needs. Never leaves ``draft.py``."""

    def __init__(self, table: str, limit: int) -> None:
        super().__init__(table)
        self.table = table
        self.limit = limit


class Holdings:
    """The ids and ranges in use by the compilation under way."""

    def __init__(self, previous: Allocation, limits: Limits) -> None:
        self._previous = previous
        self._limits = limits
        taken_backends = {place.backend_id for place in previous.backends.values()} | previous.retired_backends.keys()
        taken_services = set(previous.services.values()) | previous.retired_services.keys()
        self._backend_ids = IdPool(taken_backends, limits.backends)
        self._service_ids = IdPool(taken_services, limits.services)
        self._arena = Arena(previous.ranges, previous.retired_ranges, limits.slots)
        self._generation = previous.max_generation
        self.services: dict[str, int] = {}
        self.active: dict[BackendKey, BackendId] = {}
        """Those that some range names."""
        self.draining: dict[BackendKey, BackendId] = {}
        """Those that only flows still use."""
        self._services_of_unit: list[str] = []
        self._backends_of_unit: list[BackendKey] = []

    @property
    def contents(self) -> Mapping[Range, Slots]:
        """What each range in use contains."""
        return self._arena.contents

    def begin(self) -> None:
        """Start a unit of work that ``undo`` would take back."""
        self._arena.begin()
        self._services_of_unit.clear()
        self._backends_of_unit.clear()

    def undo(self) -> None:
        """Take back what the unit took."""
        self._arena.undo()
        for name in self._services_of_unit:
            service_id = self.services.pop(name)
            if name not in self._previous.services:
                self._service_ids.give_back(service_id)
        for key in self._backends_of_unit:
            place = self.active.pop(key)
            if key not in self._previous.backends:
                self._backend_ids.give_back(place.backend_id)

    def service_id(self, name: str) -> int:
        """Return the id of a service port. Raises ``FullError``."""
        known = self.services.get(name)
        if known is not None:
            return known
        service_id = self._previous.services.get(name) or self._service_ids.take()
        if service_id is None:
            raise FullError(TableName.SERVICES, self._limits.services)
        self.services[name] = service_id
        self._services_of_unit.append(name)
        return service_id

    def backend_id(self, key: BackendKey) -> int:
        """Return the id of a backend that takes new flows. Raises ``FullError``."""
        return self.backend_ids((key,))[key]

    def backend_ids(self, keys: Sequence[BackendKey]) -> dict[BackendKey, int]:
        """Return the ids of backends that take new flows. Raises ``FullError``."""
        active, known = self.active, self._previous.backends
        missing = dict.fromkeys([key for key in keys if key not in active])
        if missing:
            fresh = [key for key in missing if key not in known]
            numbers = self._backend_ids.take_many(len(fresh))
            if len(numbers) < len(fresh):
                self._backend_ids.give_back(*numbers)
                raise FullError(TableName.BACKENDS, self._limits.backends)
            ages = range(self._generation + 1, self._generation + len(fresh) + 1)
            new = dict(zip(fresh, map(_BACKEND_ID, zip(numbers, ages, strict=True)), strict=True))
            self._generation += len(fresh)
            active.update((key, new.get(key) or known[key]) for key in missing)
            self._backends_of_unit += missing
        return {key: active[key][0] for key in keys}

    def drain(self, key: BackendKey) -> None:
        """Keep a backend for the flows it has; a new one gets a row while there is room: it has no flows here yet."""
        if key in self.active or key in self.draining:
            return
        place = self._previous.backends.get(key) or self._new_backend()
        if place is not None:
            self.draining[key] = place

    def place(self, contents: Slots) -> Range:
        """Return the range with these contents. Raises ``FullError``."""
        where = self._arena.place(contents) if len(contents) else EMPTY_RANGE
        if where is None:
            raise FullError("slots", self._limits.slots)
        return where

    def allocation(self, owners: Mapping[FrontendKey, str]) -> Allocation:
        """Return the allocation with everything retired that is not used any more."""
        previous = self._previous
        epoch = previous.epoch + 1
        backends = {**self.active, **self.draining}
        used_backends = {place.backend_id for place in backends.values()}
        freed_backends = {place.backend_id for place in previous.backends.values()} - used_backends
        freed_services = set(previous.services.values()) - set(self.services.values())
        return Allocation(
            services=self.services,
            backends=backends,
            ranges=self._arena.ranges,
            owners=owners,
            max_generation=self._generation,
            epoch=epoch,
            retired_services=retire(previous.retired_services, freed_services, epoch),
            retired_backends=retire(previous.retired_backends, freed_backends, epoch),
            retired_ranges=self._arena.retire(epoch),
        )

    def _new_backend(self) -> BackendId | None:
        backend_id = self._backend_ids.take()
        if backend_id is None:
            return None
        self._generation += 1
        return BackendId(backend_id, self._generation)


_BACKEND_ID: Callable[[Iterable[int]], BackendId] = partial(tuple.__new__, BackendId)
"""Without a Python call for each: a cluster has 100,000 backends."""
