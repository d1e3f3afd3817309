"""Decides which Services want a health check port on this node, what it answers, and where it listens.

Load balancers ask at ``spec.healthCheckNodePort`` which nodes have backends of their own, and how many. Knows the
snapshot and the options; must not know sockets, HTTP, nor whether the maps are up to date.

    Changes, one after the other --HealthChecks.take--> HealthCheck by Service; whose is another one
    Snapshot, Options --health_addresses--> addresses to listen on
    Tables --count_without_local--> how many service ports have backends, but none here
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ebpflb.core.abi import Family, FrontendFlag, FrontendKind
from ebpflb.core.changes import Changes, Present
from ebpflb.core.expand import merge_candidates
from ebpflb.core.model import EndpointSlice, ObjectKey, Service, Snapshot, family_of
from ebpflb.core.node_rows import node_port_prefixes
from ebpflb.core.options import Options
from ebpflb.core.tables import Tables


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """What one Service's health check port answers."""

    service: ObjectKey
    port: int
    local_backends: Mapping[Family, int] = field(default_factory=dict)
    """By the Service's families: how many addresses have a ready endpoint on this node, on whichever port."""

    def count(self, family: Family) -> int:
        """Return the count for a load balancer that asks over one family; of a Service without it, the other one's."""
        return self.local_backends.get(family, max(self.local_backends.values(), default=0))


class HealthChecks:
    """The health checks of all Services that want one, followed from one change to the next.

    There may be thousands, of which one batch changes a few: only those are counted again.
    """

    def __init__(self, node_name: str) -> None:
        self.current: Mapping[ObjectKey, HealthCheck] = {}
        """Replaced, never changed: who holds it may read on."""
        self._node_name = node_name

    def take(self, changes: Changes) -> set[ObjectKey]:
        """Take what changed; return the Services whose check is new, different or gone."""
        checks = ((key, self._check(key, changes.present)) for key in changes.touched())
        changed = {key: check for key, check in checks if check != self.current.get(key)}
        if changed:
            merged = {**self.current, **changed}
            self.current = {key: check for key, check in merged.items() if check is not None}
        return {*changed}

    def _check(self, key: ObjectKey, present: Present) -> HealthCheck | None:
        service = present.services.get(key)
        if service is None or not service.health_check_node_port:
            return None
        return _health_check(service, present.slices_of(key), self._node_name)


def _health_check(service: Service, slices: Sequence[EndpointSlice], node_name: str) -> HealthCheck:
    families = sorted({family_of(address) for address in service.cluster_ips})
    counts = {family: len(_ready_here(service, slices, family, node_name)) for family in families}
    return HealthCheck(service.key, service.health_check_node_port, counts)


def _ready_here(service: Service, slices: Sequence[EndpointSlice], family: Family, node_name: str) -> set[bytes]:
    """Return the addresses with a ready endpoint here. One that terminates counts no more, though it may still serve:
    the load balancer shall turn away before it is gone.
    """
    ours = [each for each in slices if each.family is family]
    return {
        candidate.key.address
        for port in service.ports
        for candidate in merge_candidates(port, ours, family, node_name)
        if candidate.is_local and candidate.endpoint.ready
    }


def health_addresses(snapshot: Snapshot, family: Family, options: Options) -> tuple[bytes, ...]:
    """Return where health check ports of a family listen: where NodePorts hold; the unspecified address: everywhere."""
    prefixes = node_port_prefixes(snapshot.node, family, options)
    if any(prefix.length == 0 for prefix in prefixes):
        return (bytes(family.address_bytes),)
    addresses = (each for each in snapshot.host.addresses if family_of(each) is family)
    return tuple(sorted(each for each in addresses if any(prefix.contains(each) for prefix in prefixes)))


@dataclass(frozen=True, slots=True)
class WithoutLocal:
    """How many service ports have backends, but none on this node, although a policy of theirs is Local."""

    internal: int = 0
    external: int = 0


def count_without_local(tables: Tables) -> WithoutLocal:
    """Count them in what the maps hold."""
    found: dict[bool, set[int]] = {False: set(), True: set()}
    without = FrontendFlag.LOCAL_POLICY | FrontendFlag.HAS_BACKENDS
    for row in list(tables.frontends.values()):  # at once: the loop goes on changing them
        if row.flags & without == without and not row.local.length:
            found[row.kind is not FrontendKind.CLUSTER_IP].add(row.service_id)
    return WithoutLocal(internal=len(found[False]), external=len(found[True]))
