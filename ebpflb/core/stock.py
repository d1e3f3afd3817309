"""Holds ids and ranges from one change to the next: what ``Holdings`` and ``Allocation`` are for a whole compilation.

Decides what is handed out, retired and free again, at the cost of what changes. Knows names, keys and limits; knows
nothing of Services nor of who names a backend (``uses.py``).

    Allocation --Stock--> begin, service_id, backend_id, place, [undo] --> retire_..., renamed, --> Allocation'
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ebpflb.core.holdings import FullError, Limits
from ebpflb.core.ids import Allocation
from ebpflb.core.places import BackendId, Places
from ebpflb.core.pools import FreeIds, Gaps
from ebpflb.core.ranges import RetiredRange, digest_of
from ebpflb.core.tables import EMPTY_RANGE, BackendKey, Frontend, FrontendKey, Range, Slots, TableName


class Stock:
    """A ``Holder``. Its mappings are those of the present: they change with it."""

    def __init__(self, allocation: Allocation, limits: Limits, frontends: Iterable[Frontend]) -> None:
        """Take over an allocation, and the frontends that name its ranges.

        The places of its backends, of which there are very many, are not copied: whoever had it gives it up.
        """
        self._limits = limits
        self.services = dict(allocation.services)
        places = allocation.backends
        self.backends = places if isinstance(places, Places) else Places.of(places)
        self.owners: dict[FrontendKey, str] = dict(allocation.owners)
        self._ranges = dict(allocation.ranges)
        self._generation, self._epoch = allocation.max_generation, allocation.epoch
        self._retired_services = _by_epoch(allocation.retired_services)
        self._retired_backends = _by_epoch(allocation.retired_backends)
        self._retired_ranges = dict(sorted(allocation.retired_ranges.items(), key=lambda item: item[1].epoch))
        self._revivable = {row.digest: where for where, row in self._retired_ranges.items() if row.digest}
        self._service_ids = FreeIds([*self.services.values(), *self._retired_services], limits.services)
        self._backend_ids = FreeIds([*self.backends.ids.values(), *self._retired_backends], limits.backends)
        self._gaps = Gaps((*self._ranges.values(), *self._retired_ranges), limits.slots)
        self._digests = {where.offset: digest for digest, where in self._ranges.items()}
        self._names = dict.fromkeys(self._digests, 0)
        """By its first position: how many frontends name a range."""
        for row in frontends:
            for offset in _offsets(row):
                self._names[offset] += 1
        self._new_services: list[str] = []
        self._new_backends: list[BackendKey] = []
        self._new_ranges: dict[bytes, Slots] = {}
        self._revived: dict[bytes, RetiredRange] = {}

    def allocation(self) -> Allocation:
        """Return what is held and retired now. It shares the mappings of this stock."""
        return Allocation(
            services=self.services,
            backends=self.backends,
            ranges=self._ranges,
            owners=self.owners,
            max_generation=self._generation,
            epoch=self._epoch,
            retired_services=self._retired_services,
            retired_backends=self._retired_backends,
            retired_ranges=self._retired_ranges,
        )

    @property
    def slots_used(self) -> int:
        """How many slots are taken, retired ones and the padding to whole lines included."""
        return self._gaps.taken_slots

    # -- Holder ------------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Start a change that ``undo`` would take back as long as nothing has been retired."""
        self._epoch += 1
        self._new_services.clear()
        self._new_backends.clear()
        self._new_ranges.clear()
        self._revived.clear()

    def undo(self) -> None:
        """Take back what was handed out since ``begin``; only generations are not used again."""
        self._epoch -= 1
        for name in self._new_services:
            self._service_ids.give_back(self.services.pop(name))
        for key in self._new_backends:
            self._backend_ids.give_back(self.backends.pop(key).backend_id)
        for digest in self._new_ranges:
            where = self._ranges.pop(digest)
            del self._digests[where.offset], self._names[where.offset]
            row = self._revived.get(digest)
            if row is None:
                self._gaps.give_back(where)
            else:
                self._retired_ranges[where] = row
                self._revivable[digest] = where

    def service_id(self, name: str) -> int:
        """Return the id of a service port. Raises ``FullError``."""
        found = self.services.get(name)
        if found is None:
            found = self._service_ids.take()
            if found is None:
                raise FullError(TableName.SERVICES, self._limits.services)
            self.services[name] = found
            self._new_services.append(name)
        return found

    def backend_id(self, key: BackendKey) -> int:
        """Return the id of a backend. Raises ``FullError``."""
        number = self.backends.ids.get(key)
        if number is None:
            number = self._backend_ids.take()
            if number is None:
                raise FullError(TableName.BACKENDS, self._limits.backends)
            self._generation += 1
            self.backends[key] = BackendId(number, self._generation)
            self._new_backends.append(key)
        return number

    def backend_ids(self, keys: Sequence[BackendKey]) -> dict[BackendKey, int]:
        """Return the ids of backends. Raises ``FullError``."""
        return {key: self.backend_id(key) for key in keys}

    def place(self, contents: Slots) -> Range:
        """Return the range with these contents. Raises ``FullError``."""
        if not len(contents):
            return EMPTY_RANGE
        digest = digest_of(contents)
        where = self._ranges.get(digest)
        if where is None:
            where = self._revive(digest) or self._gaps.take(len(contents))
            if where is None:
                raise FullError("slots", self._limits.slots)
            self._ranges[digest] = where
            self._digests[where.offset], self._names[where.offset] = digest, 0
            self._new_ranges[digest] = contents
        return where

    # -- what a change leaves behind ---------------------------------------------------------------------------------

    @property
    def new_services(self) -> Mapping[int, str]:
        """The rows of ``services`` that came since ``begin``."""
        return {self.services[name]: name for name in self._new_services}

    @property
    def new_backends(self) -> list[BackendKey]:
        """The backends that got a row since ``begin``."""
        return self._new_backends

    @property
    def new_ranges(self) -> dict[Range, Slots]:
        """The ranges that came into use since ``begin``."""
        return {self._ranges[digest]: contents for digest, contents in self._new_ranges.items()}

    def retire_service(self, name: str) -> int:
        """Stop to use a service port's id, and return it."""
        service_id = self.services.pop(name)
        self._retired_services[service_id] = self._epoch
        return service_id

    def retire_backend(self, key: BackendKey) -> int:
        """Stop to use a backend's id, and return it."""
        backend_id = self.backends.pop(key).backend_id
        self._retired_backends[backend_id] = self._epoch
        return backend_id

    def renamed(self, before: Iterable[Frontend], after: Iterable[Frontend]) -> tuple[Range, ...]:
        """Hear which frontends there are instead of which; return the ranges that nobody names any more, retired."""
        touched = dict.fromkeys(offset for row in before for offset in _offsets(row))
        for row in after:
            for offset in _offsets(row):
                self._names[offset] += 1
        for row in before:
            for offset in _offsets(row):
                self._names[offset] -= 1
        return tuple(self._retire_range(offset) for offset in touched if not self._names[offset])

    def release(self, epoch: int) -> None:
        """Free what was retired up to and including ``epoch``: nothing in the kernel names it any more."""
        for service_id in _until(self._retired_services, epoch):
            self._service_ids.give_back(service_id)
        for backend_id in _until(self._retired_backends, epoch):
            self._backend_ids.give_back(backend_id)
        ranges = []
        for where, row in self._retired_ranges.items():
            if row.epoch > epoch:
                break
            ranges.append(where)
        for where in ranges:
            self._revivable.pop(self._retired_ranges.pop(where).digest, None)
            self._gaps.give_back(where)

    def _revive(self, digest: bytes) -> Range | None:
        where = self._revivable.pop(digest, None)
        if where is not None:
            self._revived[digest] = self._retired_ranges.pop(where)
        return where

    def _retire_range(self, offset: int) -> Range:
        del self._names[offset]
        digest = self._digests.pop(offset)
        where = self._ranges.pop(digest)
        self._retired_ranges[where] = RetiredRange(self._epoch, digest)
        self._revivable[digest] = where
        return where


def _offsets(row: Frontend) -> set[int]:
    """Return the first positions of the ranges that a frontend names; a local prefix begins where its range does."""
    return {span.offset for span in (row.cluster, row.local) if span.length}


def _by_epoch(retired: Mapping[int, int]) -> dict[int, int]:
    return dict(sorted(retired.items(), key=lambda item: item[1]))


def _until(retired: dict[int, int], epoch: int) -> list[Any]:
    """Remove what was retired up to an epoch from among what is in the order of epochs."""
    over = []
    for number, since in retired.items():
        if since > epoch:
            break
        over.append(number)
    for number in over:
        del retired[number]
    return over
