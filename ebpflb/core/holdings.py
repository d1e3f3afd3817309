"""Decides which ids and ranges a unit of work takes, and takes all of them back when one cannot be had.

Knows names, keys and limits; knows nothing of frontends, policies or of what rows look like.

    Allocation --> Holdings: begin, service_id, backend_id, place, [undo] --> ... --allocation--> Allocation'
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ebpflb.core.ids import Allocation, IdPool, retire
from ebpflb.core.places import Places, note_generations
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
        self._known = Places.of(previous.backends)
        taken_backends = {*self._known.ids.values(), *previous.retired_backends}
        taken_services = set(previous.services.values()) | previous.retired_services.keys()
        self._backend_ids = IdPool(taken_backends, limits.backends)
        self._service_ids = IdPool(taken_services, limits.services)
        self._arena = Arena(previous.ranges, previous.retired_ranges, limits.slots)
        self._generation = previous.max_generation
        self.services: dict[str, int] = {}
        self.active: dict[BackendKey, int] = {}
        """The ids of those that some range names."""
        self.draining: dict[BackendKey, int] = {}
        """The ids of those that only flows still use."""
        self.generations = self._known.generations
        """By backend id, of all that are in use."""
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
            number = self.active.pop(key)
            if key not in self._known:
                self._backend_ids.give_back(number)

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
        active, known = self.active, self._known.ids
        missing = dict.fromkeys([key for key in keys if key not in active])
        if missing:
            fresh = [key for key in missing if key not in known]
            numbers = self._backend_ids.take_many(len(fresh))
            if len(numbers) < len(fresh):
                self._backend_ids.give_back(*numbers)
                raise FullError(TableName.BACKENDS, self._limits.backends)
            self._begin_generations(numbers)
            new = dict(zip(fresh, numbers, strict=True))
            active.update(new if len(new) == len(missing) else {key: new.get(key) or known[key] for key in missing})
            self._backends_of_unit += missing
        return {key: active[key] for key in keys}

    def drain(self, key: BackendKey) -> None:
        """Keep a backend for the flows it has; a new one gets a row while there is room: it has no flows here yet."""
        if key in self.active or key in self.draining:
            return
        number = self._known.ids.get(key) or self._new_backend()
        if number is not None:
            self.draining[key] = number

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
        backends = {**self.active, **self.draining} if self.draining else self.active
        freed_backends = {number for key, number in self._known.ids.items() if key not in backends}
        freed_services = set(previous.services.values()) - set(self.services.values())
        return Allocation(
            services=self.services,
            backends=Places(backends, self.generations),
            ranges=self._arena.ranges,
            owners=owners,
            max_generation=self._generation,
            epoch=epoch,
            retired_services=retire(previous.retired_services, freed_services, epoch),
            retired_backends=retire(previous.retired_backends, freed_backends, epoch),
            retired_ranges=self._arena.retire(epoch),
        )

    def _new_backend(self) -> int | None:
        number = self._backend_ids.take()
        if number is not None:
            self._begin_generations([number])
        return number

    def _begin_generations(self, numbers: Sequence[int]) -> None:
        """Give ids that were free to backends."""
        note_generations(self.generations, numbers, self._generation + 1)
        self._generation += len(numbers)
