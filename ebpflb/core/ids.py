"""Decides which id names which service and backend, and when a freed id or range may be used again.

Knows names, keys, ids and epochs; knows nothing of policies, of what ranges contain or of clocks.

    Tables (actual) --from_tables--> Allocation --compile--> Allocation' --release--> Allocation''

What a compilation frees is not free yet: until the plan is applied the maps name it, and for a moment longer a
program may hold a frontend that it looked up before. So it is *retired* under the epoch of that compilation. The
reconcile loop applies the plan, lets a grace period pass (no program runs that long) and calls
``allocation.release(epoch)`` with the epoch of the allocation it applied; later retirements stay.
"""

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from typing import Self

from ebpflb.core.abi import SLOTS_PER_LINE, BackendState
from ebpflb.core.places import BackendId, Places
from ebpflb.core.ranges import RangeMap, Retired, lines_of, ranges_of
from ebpflb.core.tables import NO_SERVICE, Backend, BackendKey, FrontendKey, Tables


@dataclass(frozen=True, slots=True)
class Allocation:
    """Every id and range in use or retired. A value: each compilation takes one and returns the next."""

    services: Mapping[str, int] = field(default_factory=dict)
    """By ``namespace/name:port/PROTOCOL``."""
    backends: Mapping[BackendKey, BackendId] = field(default_factory=dict)
    ranges: RangeMap = field(default_factory=dict)
    """By digest of their contents: equal contents share one range."""
    owners: Mapping[FrontendKey, str] = field(default_factory=dict)
    """Who holds a frontend: a newcomer that claims the same key is refused."""
    max_generation: int = 0
    """Generations only rise: one never names two backends, whatever becomes of their ids."""
    epoch: int = 0
    """Number of the compilation that made this value; 0: restored from maps."""
    retired_services: Mapping[int, int] = field(default_factory=dict)
    """id -> epoch."""
    retired_backends: Mapping[int, int] = field(default_factory=dict)
    """id -> epoch."""
    retired_ranges: Retired = field(default_factory=dict)

    @classmethod
    def from_tables(cls, tables: Tables, max_generation: int) -> Self:
        """Restore the allocation from what the maps hold.

        ``max_generation`` is the store's, deleted backends included. After a crash in the middle of a plan two ids
        may bear one name: the one in use stands, the other is retired under epoch 0 until ``release(0)``.
        """
        named = {frontend.service_id for frontend in tables.frontends.values()}
        services: dict[str, int] = {}
        for service_id in sorted(tables.services, key=lambda number: (number not in named, number)):
            services.setdefault(tables.services[service_id], service_id)
        backends = _places(tables.backends)
        ranges, retired_ranges = ranges_of(tables)
        kept_services = set(services.values())
        kept_backends = set(backends.ids.values())
        generations = (backend.generation for backend in tables.backends.values())
        return cls(
            services=services,
            backends=backends,
            ranges=ranges,
            owners={
                key: tables.services[frontend.service_id]
                for key, frontend in tables.frontends.items()
                if frontend.service_id in tables.services
            },
            max_generation=max(chain((max_generation,), generations)),
            retired_services=dict.fromkeys(_named_services(tables) - kept_services, 0),
            retired_backends=dict.fromkeys(_named_backends(tables) - kept_backends, 0),
            retired_ranges=retired_ranges,
        )

    @property
    def slots_used(self) -> int:
        """How many slots are taken, retired ranges and the padding to whole lines included."""
        taken = chain(self.ranges.values(), self.retired_ranges)
        return sum(lines_of(where.length) for where in taken) * SLOTS_PER_LINE

    def release(self, epoch: int) -> Self:
        """Free what was retired up to and including ``epoch``: nothing in the kernel names it any more."""
        return replace(
            self,
            retired_services={key: since for key, since in self.retired_services.items() if since > epoch},
            retired_backends={key: since for key, since in self.retired_backends.items() if since > epoch},
            retired_ranges={key: row for key, row in self.retired_ranges.items() if row.epoch > epoch},
        )


def _places(rows: Mapping[int, Backend]) -> Places:
    """Return the place of each backend: of two rows of one, that which takes new flows, then the later one."""
    places = Places.of({})
    for backend_id, backend in sorted(
        rows.items(), key=lambda item: (item[1].state is not BackendState.ACTIVE, -item[1].generation)
    ):
        if backend.key not in places:
            places[backend.key] = BackendId(backend_id, backend.generation)
    return places


def _named_services(tables: Tables) -> set[int]:
    """Return every service id that a row names; rows may outlive the name of their service after a crash."""
    naming = (tables.members, tables.local_backends, tables.source_ranges)
    frontends = (frontend.service_id for frontend in tables.frontends.values())
    return {*tables.services, *frontends, *(key.service_id for rows in naming for key in rows)} - {NO_SERVICE}


def _named_backends(tables: Tables) -> set[int]:
    """Return every backend id that a row or a slot names; what names them may outlive backends after a crash."""
    named = {*tables.backends, *tables.local_backends.values()}
    for contents in tables.slots.values():
        named.update(contents.tolist())
    named.discard(0)
    return named


class IdPool:
    """Hands out the lowest free ids in [1, limit) during one compilation. Id 0 means "none" in every map."""

    def __init__(self, taken: Container[int], limit: int) -> None:
        self._fresh: Iterator[int] = (number for number in range(1, limit) if number not in taken)
        self._returned: list[int] = []

    def take(self) -> int | None:
        """Return a free id, or ``None`` when there is none."""
        return self._returned.pop() if self._returned else next(self._fresh, None)

    def take_many(self, count: int) -> list[int]:
        """Return so many free ids, or as many as there are."""
        found = [self._returned.pop() for _ in range(min(count, len(self._returned)))]
        found += islice(self._fresh, count - len(found))
        return found

    def give_back(self, *numbers: int) -> None:
        """Take back ids that this compilation handed out and then did not use."""
        self._returned += numbers


def retire(previous: Mapping[int, int], freed: set[int], epoch: int) -> dict[int, int]:
    """Return the retired ids with the newly freed ones added."""
    return {**previous, **dict.fromkeys(freed, epoch)}
