"""Decides the rows of one Service, given who hands out ids and ranges: the same whether all are compiled, or it alone.

Knows exposures, candidates and selections; knows nothing of other Services, of what is free or of limits.

    Service, its slices --members_of--> Members --need_of, frontend_rows, naming_rows--> Need, rows
    ids and ranges <--Holder--> Holdings (all Services anew) | Stock (those that changed)
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from ebpflb.core.abi import Algorithm, Family, MemberSet
from ebpflb.core.addresses import addresses_of
from ebpflb.core.choice import Needs, algorithm_of, contents_for, flags_of, needs_of, union_of
from ebpflb.core.expand import Exposure, merge_candidates
from ebpflb.core.forwarding import here, local_backend_rows
from ebpflb.core.members import has_members, member_rows, most_members
from ebpflb.core.model import EndpointSlice, Node
from ebpflb.core.placement import Placement
from ebpflb.core.places import BackendId
from ebpflb.core.room import COUNTED, Need
from ebpflb.core.source_ranges import source_range_rows
from ebpflb.core.tables import (
    EMPTY_RANGE,
    BackendKey,
    Frontend,
    FrontendKey,
    LocalBackendKey,
    MemberKey,
    Range,
    Slots,
    SourceRangeKey,
    TableName,
)
from ebpflb.core.topology import Candidate, Selection, select


class Member(NamedTuple):
    """One service port with the endpoints behind it."""

    exposure: Exposure
    candidates: Sequence[Candidate]
    selection: Selection


class Naming(NamedTuple):
    """The rows that name a service port, and backends of it."""

    members: Mapping[MemberKey, MemberSet]
    local_backends: Mapping[LocalBackendKey, int]
    source_ranges: Mapping[SourceRangeKey, int]


NOT_NAMED = Naming({}, {}, {})
"""What most Services have: no affinity, no UDP, no DSR, no source ranges."""


class Holder(Protocol):
    """Who hands out ids and ranges. What is held already is handed out again; raises ``FullError``."""

    def service_id(self, name: str) -> int:
        """Return the id of a service port."""

    def backend_ids(self, keys: Sequence[BackendKey]) -> Mapping[BackendKey, int]:
        """Return the ids of backends that take new flows."""

    def place(self, contents: Slots) -> Range:
        """Return the range with these contents."""


def member_of(exposure: Exposure, slices: Sequence[EndpointSlice], family: Family, node: Node) -> Member:
    """Return a service port with the endpoints that its Service's slices of a family list."""
    candidates = merge_candidates(exposure.port, slices, family, node.name)
    return Member(exposure, candidates, select(candidates, node.name, node.zone))


def need_of(members: Iterable[Member], placement: Placement) -> Need:
    """Return how many rows a Service needs at most, before it is known which backends have rows."""
    rows = dict.fromkeys(COUNTED, 0)
    addresses: frozenset[bytes] = frozenset()
    for exposure, candidates, _ in members:
        rows[TableName.FRONTENDS] += len(exposure.claims)
        rows[TableName.MEMBERS] += most_members(exposure, candidates)
        addresses |= addresses_of(exposure.claims)
        if exposure.has_direct:
            rows[TableName.LOCAL_BACKENDS] += len({each.key.address for each in here(candidates, placement.is_here)})
        if exposure.has_restricted:
            rows[TableName.SOURCE_RANGES] += len(exposure.sources.prefixes)
    return Need(rows, addresses)


def frontend_rows(member: Member, holder: Holder) -> dict[FrontendKey, Frontend]:
    """Return the frontends of one service port; ids and ranges are taken on the way. Raises ``FullError``."""
    exposure, _, selection = member
    service_id = holder.service_id(exposure.name)
    needs = {kind: needs_of(exposure, kind) for _, kind in exposure.claims}
    flags = {kind: flags_of(exposure, kind, has_any=selection.has_any) for kind in needs}
    algorithms = {kind: algorithm_of(exposure, kind) for kind in needs}
    ranges = {
        algorithm: _ranges(
            algorithm, selection, union_of(needs[kind] for kind in needs if algorithms[kind] is algorithm), holder
        )
        for algorithm in algorithms.values()
    }
    rows = {}
    for key, kind in exposure.claims:
        cluster, local = ranges[algorithms[kind]]
        rows[key] = Frontend(
            service_id=service_id,
            kind=kind,
            algorithm=algorithms[kind],
            flags=flags[kind],
            affinity_timeout_s=exposure.service.affinity_timeout_s,
            cluster=cluster if needs[kind].cluster else EMPTY_RANGE,
            local=local if needs[kind].local else EMPTY_RANGE,
        )
    return rows


def naming_rows(
    members: Iterable[Member],
    services: Mapping[str, int],
    backends: Mapping[BackendKey, BackendId],
    placement: Placement,
) -> Naming:
    """Return the rows that name the ports of a Service. ``backends``: all that have rows, whoever else names them."""
    named: dict[MemberKey, MemberSet] = {}
    local_backends: dict[LocalBackendKey, int] = {}
    source_ranges: dict[SourceRangeKey, int] = {}
    for exposure, candidates, selection in members:
        service_id = services[exposure.name]
        if has_members(exposure):
            named |= member_rows(service_id, exposure, candidates, selection, backends)
        if exposure.has_direct:
            local_backends |= local_backend_rows(service_id, here(candidates, placement.is_here), backends)
        if exposure.has_restricted:
            source_ranges |= source_range_rows(service_id, exposure.sources.prefixes)
    return Naming(named, local_backends, source_ranges)


def is_named(exposure: Exposure) -> bool:
    """Return whether a service port may have rows beside its frontends."""
    return has_members(exposure) or exposure.has_direct or exposure.has_restricted


def names_backends(member: Member) -> bool:
    """Return whether rows beside the frontends name backends of the service port, whoever else has these."""
    return has_members(member.exposure) or member.exposure.has_direct


def _ranges(algorithm: Algorithm, selection: Selection, needs: Needs, holder: Holder) -> tuple[Range, Range]:
    """Return the ranges of the cluster and the local set; a local prefix lies within the cluster's."""
    named = (selection.cluster if needs.cluster else ()) + (selection.local if needs.local else ())
    ids = holder.backend_ids([candidate.key for candidate in named])
    contents = contents_for(algorithm, selection, needs, ids)
    cluster = holder.place(contents.cluster)
    if contents.local_prefix:
        return cluster, Range(cluster.offset, contents.local_prefix)
    return cluster, holder.place(contents.local)
