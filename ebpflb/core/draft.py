"""Decides the ids, ranges and rows of one Service after another, each whole or not at all.

Knows limits, what earlier Services took and how to take back a Service that does not fit; knows nothing of
slices, hints or of how frontends were found.

    Members of a Service --add_service--> rows, or a Refusal; in the end --finish--> Tables, Allocation
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ebpflb.core.abi import Algorithm, BackendFlag, BackendState, Family, FrontendFlag, MemberSet
from ebpflb.core.choice import Needs, algorithm_of, contents_for, needs_of, union_of
from ebpflb.core.expand import Exposure, Refusal, service_text
from ebpflb.core.ids import Allocation, BackendId, IdPool, retire
from ebpflb.core.members import has_members, member_rows
from ebpflb.core.ranges import Arena
from ebpflb.core.tables import (
    EMPTY_RANGE,
    Backend,
    BackendKey,
    Frontend,
    FrontendKey,
    MemberKey,
    Range,
    Slots,
    TableName,
    Tables,
)
from ebpflb.core.topology import Candidate, Selection


@dataclass(frozen=True, slots=True)
class Limits:
    """What the maps hold: ``max_entries``, and for slots their number. Id 0 of backends and services is not used."""

    frontends: int
    backends: int
    services: int
    slots: int


class Member(NamedTuple):
    """One service port with the endpoints behind it."""

    exposure: Exposure
    candidates: Sequence[Candidate]
    selection: Selection


class _FullError(Exception):
    """A map has no room for what a Service needs. Never leaves this module."""

    def __init__(self, table: str, limit: int) -> None:
        super().__init__(table)
        self.table = table
        self.limit = limit


class Draft:
    """Rows in the making. ``add_service`` for each Service, ``add_draining``, then ``finish``."""

    def __init__(self, family: Family, previous: Allocation, limits: Limits) -> None:
        self._family = family
        self._previous = previous
        self._limits = limits
        taken_backends = {place.backend_id for place in previous.backends.values()} | previous.retired_backends.keys()
        taken_services = set(previous.services.values()) | previous.retired_services.keys()
        self._backend_ids = IdPool(taken_backends, limits.backends)
        self._service_ids = IdPool(taken_services, limits.services)
        self._arena = Arena(previous.ranges, previous.retired_ranges, limits.slots)
        self._generation = previous.max_generation
        self._frontends: dict[FrontendKey, Frontend] = {}
        self._owners: dict[FrontendKey, str] = {}
        self._services: dict[str, int] = {}
        self._active: dict[BackendKey, BackendId] = {}
        self._draining: dict[BackendKey, BackendId] = {}
        self._leaving: list[BackendKey] = []
        self._local: set[BackendKey] = set()
        self._with_members: list[Member] = []
        self._services_of_unit: list[str] = []
        self._backends_of_unit: list[BackendKey] = []

    def add_service(self, members: Sequence[Member]) -> Refusal | None:
        """Add all ports of one Service, or none and say why."""
        self._arena.begin()
        self._services_of_unit.clear()
        self._backends_of_unit.clear()
        try:
            self._check_room(members)
            rows = [self._rows(member) for member in members]
        except _FullError as full:
            self._undo()
            return _refusal(members[0].exposure, full)
        for member, frontends in zip(members, rows, strict=True):
            self._frontends.update(frontends)
            self._owners.update(dict.fromkeys(frontends, member.exposure.name))
            self._note(member)
        return None

    def add_draining(self) -> None:
        """Keep the backends that only flows still use; to be called once, after the last Service.

        New ones get a row while there is room: this node has no flows to them yet.
        """
        for key in self._leaving:
            if key in self._active or key in self._draining:
                continue
            place = self._previous.backends.get(key) or self._new_backend()
            if place is not None:
                self._draining[key] = place

    def finish(self, node_addrs: Mapping[bytes, int], devices: Mapping[int, bytes]) -> tuple[Tables, Allocation]:
        """Return the rows, and the allocation with everything retired that is not used any more."""
        previous = self._previous
        epoch = previous.epoch + 1
        backends = {**self._active, **self._draining}
        used_backends = {place.backend_id for place in backends.values()}
        freed_backends = {place.backend_id for place in previous.backends.values()} - used_backends
        freed_services = set(previous.services.values()) - set(self._services.values())
        tables = Tables(
            family=self._family,
            frontends=self._frontends,
            backends=self._backend_rows(),
            services={service_id: name for name, service_id in self._services.items()},
            members=self._member_rows(backends),
            node_addrs=node_addrs,
            devices=devices,
            slots=self._arena.contents,
        )
        allocation = Allocation(
            services=self._services,
            backends=backends,
            ranges=self._arena.ranges,
            owners=self._owners,
            max_generation=self._generation,
            epoch=epoch,
            retired_services=retire(previous.retired_services, freed_services, epoch),
            retired_backends=retire(previous.retired_backends, freed_backends, epoch),
            retired_ranges=self._arena.retire(epoch),
        )
        return tables, allocation

    def _check_room(self, members: Sequence[Member]) -> None:
        if len(self._frontends) + sum(len(member.exposure.claims) for member in members) > self._limits.frontends:
            raise _FullError(TableName.FRONTENDS, self._limits.frontends)

    def _rows(self, member: Member) -> dict[FrontendKey, Frontend]:
        """Return the frontends of one service port; ids and ranges are taken on the way."""
        exposure, _, selection = member
        service_id = self._service_id(exposure.name)
        needs = {kind: needs_of(exposure, kind) for _, kind in exposure.claims}
        algorithms = {kind: algorithm_of(exposure, kind) for kind in needs}
        ranges = {
            algorithm: self._ranges(
                algorithm, selection, union_of(needs[kind] for kind in needs if algorithms[kind] is algorithm)
            )
            for algorithm in algorithms.values()
        }
        has_any = FrontendFlag.HAS_BACKENDS if selection.has_any else FrontendFlag(0)
        rows = {}
        for key, kind in exposure.claims:
            cluster, local = ranges[algorithms[kind]]
            rows[key] = Frontend(
                service_id=service_id,
                kind=kind,
                algorithm=algorithms[kind],
                flags=has_any | FrontendFlag.LOCAL_POLICY if needs[kind].local else has_any,
                affinity_timeout_s=exposure.service.affinity_timeout_s,
                cluster=cluster if needs[kind].cluster else EMPTY_RANGE,
                local=local if needs[kind].local else EMPTY_RANGE,
            )
        return rows

    def _ranges(self, algorithm: Algorithm, selection: Selection, needs: Needs) -> tuple[Range, Range]:
        """Return the ranges of the cluster and the local set; a local prefix lies within the cluster's."""
        named = (selection.cluster if needs.cluster else ()) + (selection.local if needs.local else ())
        ids = {candidate.key: self._backend_id(candidate.key) for candidate in named}
        contents = contents_for(algorithm, selection, needs, ids)
        cluster = self._place(contents.cluster)
        if contents.local_prefix:
            return cluster, Range(cluster.offset, contents.local_prefix)
        return cluster, self._place(contents.local)

    def _place(self, contents: Slots) -> Range:
        where = self._arena.place(contents) if len(contents) else EMPTY_RANGE
        if where is None:
            raise _FullError("slots", self._limits.slots)
        return where

    def _service_id(self, name: str) -> int:
        service_id = self._previous.services.get(name) or self._service_ids.take()
        if service_id is None:
            raise _FullError(TableName.SERVICES, self._limits.services)
        self._services[name] = service_id
        self._services_of_unit.append(name)
        return service_id

    def _backend_id(self, key: BackendKey) -> int:
        place = self._active.get(key)
        if place is None:
            place = self._previous.backends.get(key) or self._new_backend()
            if place is None:
                raise _FullError(TableName.BACKENDS, self._limits.backends)
            self._active[key] = place
            self._backends_of_unit.append(key)
        return place.backend_id

    def _new_backend(self) -> BackendId | None:
        backend_id = self._backend_ids.take()
        if backend_id is None:
            return None
        self._generation += 1
        return BackendId(backend_id, self._generation)

    def _undo(self) -> None:
        self._arena.undo()
        for name in self._services_of_unit:
            service_id = self._services.pop(name)
            if name not in self._previous.services:
                self._service_ids.give_back(service_id)
        for key in self._backends_of_unit:
            place = self._active.pop(key)
            if key not in self._previous.backends:
                self._backend_ids.give_back(place.backend_id)

    def _note(self, member: Member) -> None:
        """Take down what is derived from a service port that was accepted.

        Endpoints that no range names and that flows may still use are leaving: those that terminate, and those
        that serve, are left out by hints or a policy now, and have a row from before.
        """
        exposure, candidates, selection = member
        known = self._previous.backends
        for key, is_local, endpoint in candidates:
            if is_local:
                self._local.add(key)
            if key in known and (endpoint.ready or endpoint.serving) and key not in self._active:
                self._leaving.append(key)
        self._leaving += [candidate.key for candidate in selection.draining]
        if has_members(exposure):
            self._with_members.append(member)

    def _member_rows(self, backends: Mapping[BackendKey, BackendId]) -> dict[MemberKey, MemberSet]:
        rows: dict[MemberKey, MemberSet] = {}
        for exposure, candidates, selection in self._with_members:
            rows |= member_rows(self._services[exposure.name], exposure, candidates, selection, backends)
        return rows

    def _backend_rows(self) -> dict[int, Backend]:
        remote = BackendFlag(0)
        return {
            place.backend_id: Backend(key, state, BackendFlag.LOCAL if key in self._local else remote, place.generation)
            for places, state in ((self._active, BackendState.ACTIVE), (self._draining, BackendState.DRAINING))
            for key, place in places.items()
        }


_FIELDS = {
    TableName.FRONTENDS: "spec.ports",
    TableName.SERVICES: "spec.ports",
    TableName.BACKENDS: "endpoints",
    "slots": "endpoints",
}


def _refusal(exposure: Exposure, full: _FullError) -> Refusal:
    return Refusal(
        service_text(exposure.service),
        _FIELDS[full.table],
        f"the map {full.table} has room for {full.limit} entries, and the Service needs more than are free",
        f"make the map {full.table} larger, or remove Services that are not used",
    )
