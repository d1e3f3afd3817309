"""Decides which rows of the maps stay although no source has delivered what they were made from.

An agent that starts adopts the maps of its predecessor. A Service that its source has, but cannot read, is not gone:
only what is known to be gone may be removed. Knows rows, and what could not be read; knows nothing of files and API
servers, nor of what becomes of the rows that stay.

    adopted Tables, Snapshot, Unread --rows_to_keep--> Tables --> compile --carried_over--> rows under their new ids

Once a Service has been compiled, or is known to be gone, its adopted rows are not asked for again: the caller hands in
what this returned the last time. A Service whose EndpointSlices were read in part is compiled from that part.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ebpflb.core.abi import BackendState
from ebpflb.core.ids import Allocation
from ebpflb.core.model import ObjectKey, Snapshot
from ebpflb.core.tables import ELSEWHERE, LocalBackendKey, MemberKey, Tables


@dataclass(frozen=True, slots=True)
class Unread:
    """What a source has and could not read, not even once."""

    services: frozenset[ObjectKey] = frozenset()
    slice_namespaces: frozenset[str] = frozenset()
    """Where EndpointSlices were refused; the Services that they belong to are not known."""
    has_unknown: bool = False
    """Something was not even read far enough to know what it is: it may be any Service or EndpointSlice."""

    def __bool__(self) -> bool:
        """Return whether anything is missing."""
        return bool(self.services or self.slice_namespaces or self.has_unknown)


def service_of(name: str) -> ObjectKey:
    """Return the key of the Service that a service port's name (``Tables.services``) belongs to."""
    namespace, _, rest = name.partition("/")
    return namespace, rest.partition("/")[0].partition(":")[0]


def services_of(tables: Tables) -> set[ObjectKey]:
    """Return the keys of all Services that have rows."""
    return {service_of(name) for name in tables.services.values()}


def rows_to_keep(adopted: Tables, snapshot: Snapshot, unread: Unread) -> Tables:
    """Return the adopted rows of Services that were not read, with everything that they name."""
    keys = _unresolved(services_of(adopted), snapshot, unread) if unread else frozenset[ObjectKey]()
    if not keys:
        return Tables(adopted.family)
    services = {number: name for number, name in adopted.services.items() if service_of(name) in keys}
    frontends = {key: row for key, row in adopted.frontends.items() if row.service_id in services}
    members = {key: row for key, row in adopted.members.items() if key.service_id in services}
    offsets = {where.offset for row in frontends.values() for where in (row.cluster, row.local)}
    slots = {where: ids for where, ids in adopted.slots.items() if where.offset in offsets}
    local_backends = {key: row for key, row in adopted.local_backends.items() if key.service_id in services}
    named = {key.backend_id for key in members}.union(
        local_backends.values(), *(np.unique(ids).tolist() for ids in slots.values())
    )
    return Tables(
        family=adopted.family,
        frontends=frontends,
        # Which Service a draining backend of TCP belongs to is not in the maps: it may be one of these.
        backends={
            number: row
            for number, row in adopted.backends.items()
            if number in named or row.state is BackendState.DRAINING
        },
        services=services,
        members=members,
        local_backends=local_backends,
        source_ranges={key: row for key, row in adopted.source_ranges.items() if key.service_id in services},
        slots=slots,
    )


def carried_over(kept: Tables, allocation: Allocation) -> Tables:
    """Return the rows that name kept service ports, and backends of theirs, under the ids that those have now.

    After a crash a name or an address may have been there under two ids; and what had no room is gone.
    """
    services = {
        number: allocation.services[name] for number, name in kept.services.items() if name in allocation.services
    }
    backends = {ELSEWHERE: ELSEWHERE} | {
        number: allocation.backends[row.key].backend_id
        for number, row in kept.backends.items()
        if row.key in allocation.backends
    }
    return Tables(
        kept.family,
        members={
            MemberKey(services[key.service_id], backends[key.backend_id]): sets
            for key, sets in kept.members.items()
            if key.service_id in services and key.backend_id in backends
        },
        local_backends={
            LocalBackendKey(services[key.service_id], key.address): backends[number]
            for key, number in kept.local_backends.items()
            if key.service_id in services and number in backends
        },
        source_ranges={
            key._replace(service_id=services[key.service_id]): row
            for key, row in kept.source_ranges.items()
            if key.service_id in services
        },
    )


def _unresolved(adopted: Iterable[ObjectKey], snapshot: Snapshot, unread: Unread) -> frozenset[ObjectKey]:
    """Return the Services that were not read, and those of whose EndpointSlices none was read."""
    sliced = {(each.namespace, each.service_name) for each in snapshot.slices.values()}
    return frozenset(
        key
        for key in adopted
        if (
            key not in sliced and (unread.has_unknown or key[0] in unread.slice_namespaces)
            if key in snapshot.services
            else unread.has_unknown or key in unread.services
        )
    )
