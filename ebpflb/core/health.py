"""Decides which Services want a health check port on this node, what it answers, and where it listens.

Load balancers ask at ``spec.healthCheckNodePort`` which nodes have backends of their own, and how many. Knows the
snapshot and the options; must not know sockets, HTTP, nor whether the maps are up to date.

    Snapshot --health_checks--> HealthCheck by Service
    Snapshot, Options --health_addresses--> addresses to listen on
    Tables --count_without_local--> how many service ports have backends, but none here
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ebpflb.core.abi import Family, FrontendFlag, FrontendKind
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


def health_checks(snapshot: Snapshot) -> dict[ObjectKey, HealthCheck]:
    """Return the health checks of all Services that want one."""
    wanted = {key: service for key, service in snapshot.services.items() if service.health_check_node_port}
    slices = _slices_of(wanted, snapshot.slices.values()) if wanted else {}
    return {key: _health_check(service, slices[key], snapshot.node.name) for key, service in wanted.items()}


def _slices_of(services: Iterable[ObjectKey], slices: Iterable[EndpointSlice]) -> dict[ObjectKey, list[EndpointSlice]]:
    found: dict[ObjectKey, list[EndpointSlice]] = {key: [] for key in services}
    for each in slices:
        listed = found.get((each.namespace, each.service_name))
        if listed is not None:
            listed.append(each)
    return found


def _health_check(service: Service, slices: list[EndpointSlice], node_name: str) -> HealthCheck:
    families = sorted({family_of(address) for address in service.cluster_ips})
    counts = {family: len(_ready_here(service, slices, family, node_name)) for family in families}
    return HealthCheck(service.key, service.health_check_node_port, counts)


def _ready_here(service: Service, slices: list[EndpointSlice], family: Family, node_name: str) -> set[bytes]:
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
    for row in tables.frontends.values():
        if row.flags & without == without and not row.local.length:
            found[row.kind is not FrontendKind.CLUSTER_IP].add(row.service_id)
    return WithoutLocal(internal=len(found[False]), external=len(found[True]))
