"""Decides the rows of one Service after another, each whole or not at all.

Knows what a frontend's row says and how much fits; knows nothing of slices, hints or of how frontends were found.

    rows to keep --keep--> |
    Members of a Service --add_service--> rows, or a Refusal; in the end --finish--> Tables, Allocation

The node's own tables are not made here.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, islice

import numpy as np

from ebpflb.core.abi import BackendFlag, BackendState, Family
from ebpflb.core.addresses import address_rows, addresses_of
from ebpflb.core.backend_rows import BackendColumns, BackendRows
from ebpflb.core.expand import Exposure
from ebpflb.core.forwarding import here
from ebpflb.core.holdings import FullError, Holdings, Limits
from ebpflb.core.ids import Allocation
from ebpflb.core.kept import carried_over
from ebpflb.core.placement import Placement
from ebpflb.core.refusal import Refusal, service_text
from ebpflb.core.room import COUNTED, Need, Room
from ebpflb.core.service_rows import Member, frontend_rows, is_named, naming_rows, need_of
from ebpflb.core.tables import EMPTY_RANGE, BackendKey, Frontend, FrontendKey, Range, TableName, Tables
from ebpflb.core.uses import Count, Uses

_TOGETHER = 16384
"""So many rows of backends are made at a time."""


class Draft:
    """Rows in the making. ``keep``, ``add_service`` for each Service, then ``finish``."""

    def __init__(self, family: Family, previous: Allocation, limits: Limits, placement: Placement) -> None:
        self._family = family
        self._placement = placement
        self._known = previous.backends
        self._room = Room(limits)
        self._holdings = Holdings(previous, limits)
        self._frontends: dict[FrontendKey, Frontend] = {}
        self._owners: dict[FrontendKey, str] = {}
        self._leaving: list[BackendKey] = []
        self._local: set[BackendKey] = set()
        self._count = Count(self._holdings.active, placement.is_here)
        self.named: list[Member] = []
        """Those ports of the Services that were added which have rows beside their frontends."""
        self._kept = Tables(family)

    def keep(self, kept: Tables) -> Mapping[FrontendKey, str]:
        """Take over rows that are in the maps, with all that they name, and return the owners of the frontends.

        Ids follow the allocation: after a crash a name or an address may be there under two, and one was chosen.
        A row whose backends are not all there is broken already, and is not kept; neither is one without room.
        To be called once, before any Service.
        """
        self._kept = kept
        for key, frontend in kept.frontends.items():
            self._holdings.begin()
            try:
                self._frontends[key] = self._kept_frontend(frontend)
            except (KeyError, FullError):
                self._holdings.undo()
            else:
                self._owners[key] = kept.services[frontend.service_id]
        addresses = addresses_of((key, row.kind) for key, row in self._frontends.items())
        self._room.take(Need({table: len(kept.rows(table)) for table in COUNTED}, addresses))
        self._leaving += [backend.key for backend in kept.backends.values()]
        self._local.update(backend.key for backend in kept.backends.values() if backend.flags & BackendFlag.LOCAL)
        return dict(self._owners)

    def add_service(self, members: Sequence[Member]) -> Refusal | None:
        """Add all ports of one Service, or none and say why."""
        self._holdings.begin()
        try:
            need = need_of(members, self._placement)
            self._room.check(need)
            rows = [(self._count.add(member), frontend_rows(member, self._holdings)) for member in members]
        except FullError as full:
            self._holdings.undo()
            return _refusal(members[0].exposure, full)
        self._room.take(need)
        for member, (is_usual, frontends) in zip(members, rows, strict=True):
            self._frontends.update(frontends)
            self._owners.update(dict.fromkeys(frontends, member.exposure.name))
            if not is_usual:
                self._note(member)
            if is_named(member.exposure):
                self.named.append(member)
        return None

    @property
    def uses(self) -> Mapping[BackendKey, Uses]:
        """How all Services use the backends, if not as usual. Of no use when rows were kept, or a Service refused."""
        return self._count.unusual()

    @property
    def used(self) -> Mapping[TableName, int]:
        """How many rows are taken of the maps whose rows have no id of their own, those of addresses left out."""
        return self._room.used

    def finish(self) -> tuple[Tables, Allocation]:
        """Return the rows, and the allocation with everything retired that is not used any more."""
        for key in self._leaving:
            self._holdings.drain(key)
        allocation = self._holdings.allocation(self._owners)
        self._frontends |= address_rows(self._frontends, self._placement.addresses)
        tables = replace(
            self._naming_rows(allocation),
            frontends=self._frontends,
            backends=self._backend_rows(),
            services={service_id: name for name, service_id in allocation.services.items()},
            slots=self._holdings.contents,
        )
        return tables, allocation

    def _kept_frontend(self, frontend: Frontend) -> Frontend:
        """Return the row with present ids and ranges. Raises ``KeyError`` if it names what is not there."""
        cluster, local = frontend.cluster, frontend.local
        is_prefix = bool(cluster.length) and local.offset == cluster.offset
        cluster = self._kept_range(cluster)
        local = Range(cluster.offset, local.length) if is_prefix else self._kept_range(local)
        service_id = self._holdings.service_id(self._kept.services[frontend.service_id])
        return frontend._replace(service_id=service_id, cluster=cluster, local=local)

    def _kept_range(self, where: Range) -> Range:
        if not where.length:
            return EMPTY_RANGE
        ids = self._kept.slots[where]
        numbers, positions = np.unique(ids, return_inverse=True)
        present = [self._holdings.backend_id(self._kept.backends[number].key) for number in numbers.tolist()]
        return self._holdings.place(np.array(present, dtype=np.uint32)[positions])

    def _note(self, member: Member) -> None:
        """Take down what is derived from a service port that was accepted.

        Endpoints that no range names and that flows may still use are leaving: those that terminate, and all that
        have a row from before. Left out by hints or a policy, or failing its readiness probe, a pod goes on with the
        TCP connections it has: without a row their sockets would be closed.
        """
        exposure, candidates, selection = member
        for key, is_local, _endpoint in candidates:
            if is_local:
                self._local.add(key)
            if key in self._known and key not in self._holdings.active:
                self._leaving.append(key)
        self._leaving += [candidate.key for candidate in selection.draining]
        if exposure.has_direct:
            # Other nodes choose by their own hints and policies: what they send here needs a row.
            self._leaving += [candidate.key for candidate in here(candidates, self._placement.is_here)]

    def _naming_rows(self, allocation: Allocation) -> Tables:
        """Return the rows that name service ports, and backends of theirs."""
        kept = carried_over(self._kept, allocation)
        own = naming_rows(self.named, allocation.services, allocation.backends, self._placement)
        return Tables(
            self._family,
            members={**kept.members, **own.members},
            local_backends={**kept.local_backends, **own.local_backends},
            source_ranges={**kept.source_ranges, **own.source_ranges},
        )

    def _backend_rows(self) -> BackendRows:
        active, draining = self._holdings.active, self._holdings.draining
        parts = chain(
            self._backend_columns(active, BackendState.ACTIVE), self._backend_columns(draining, BackendState.DRAINING)
        )
        return BackendRows.of_parts(parts, max(chain(active.values(), draining.values()), default=-1) + 1)

    def _backend_columns(self, backends: Mapping[BackendKey, int], state: BackendState) -> Iterator[BackendColumns]:
        """Yield the rows of backends, some at a time."""
        local, is_here = self._local, self._placement.is_here
        known = np.frombuffer(self._holdings.generations, np.uint64)
        left = iter(backends)
        while keys := [*islice(left, _TOGETHER)]:
            numbers = np.fromiter(map(backends.__getitem__, keys), np.int64, len(keys))
            flags = np.fromiter((key in local or is_here(key[0]) for key in keys), np.uint8, len(keys))
            states = np.full(len(keys), state, np.uint8)
            yield BackendColumns(numbers, keys, states, flags * BackendFlag.LOCAL, known[numbers])


_FIELDS = {
    TableName.FRONTENDS: "spec.ports",
    TableName.SERVICES: "spec.ports",
    TableName.BACKENDS: "endpoints",
    TableName.MEMBERS: "endpoints",
    TableName.LOCAL_BACKENDS: "endpoints",
    TableName.SOURCE_RANGES: "spec.loadBalancerSourceRanges",
    "slots": "endpoints",
}


def _refusal(exposure: Exposure, full: FullError) -> Refusal:
    return Refusal(
        service_text(exposure.service),
        _FIELDS[full.table],
        f"the map {full.table} has room for {full.limit} entries, and the Service needs more than are free",
        f"make the map larger with `ebpflb run --map-size {full.table}=ENTRIES`, or remove Services that are not used",
    )
