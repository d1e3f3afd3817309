"""Decides which frontends a Service has and which endpoints stand behind each of its ports.

Knows addresses, ports, families and who may claim a frontend; knows nothing of readiness, ids or maps.

    Service --expand_service--> Exposure --settle_claims--> Exposures without conflicts, Refusals
    EndpointSlices of a Service --merge_candidates--> Candidates --> topology.select
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import repeat
from typing import Any, NamedTuple

from ebpflb.core.abi import Family, FrontendKind
from ebpflb.core.endpoints import listed
from ebpflb.core.forwarding import is_direct
from ebpflb.core.model import (
    EndpointSlice,
    Node,
    ObjectKey,
    Service,
    ServicePort,
    ServiceType,
    Standing,
    format_endpoint,
)
from ebpflb.core.options import Options
from ebpflb.core.primary import primary_addresses
from ebpflb.core.refusal import Refusal, service_text
from ebpflb.core.source_ranges import EVERYBODY, SourceRanges
from ebpflb.core.tables import BackendKey, FrontendKey
from ebpflb.core.topology import Candidate

UNSPECIFIED = {family: bytes(family.address_bytes) for family in Family}
"""The address of every NodePort's key."""


_BACKEND_KEY: Callable[[Iterable[Any]], BackendKey] = partial(tuple.__new__, BackendKey)
_CANDIDATE: Callable[[Iterable[Any]], Candidate] = partial(tuple.__new__, Candidate)
"""Without a Python call for each: a cluster has 100,000 endpoints."""


class Claim(NamedTuple):
    """One frontend that a service port asks for."""

    key: FrontendKey
    kind: FrontendKind


@dataclass(frozen=True, slots=True)
class Exposure:
    """One service port of one family, with its frontends."""

    name: str
    """``namespace/name:port/PROTOCOL``: the owner of ids, affinity and flows."""
    service: Service
    port: ServicePort
    claims: tuple[Claim, ...]
    is_direct: bool = False
    """The backends' nodes answer clients outside themselves."""
    sources: SourceRanges = EVERYBODY
    """Who may use the load-balancer frontends."""

    @property
    def has_direct(self) -> bool:
        """Whether some frontend is for clients that are answered directly."""
        return self.is_direct and any(kind is not FrontendKind.CLUSTER_IP for _, kind in self.claims)

    @property
    def has_restricted(self) -> bool:
        """Whether some frontend is not for everybody."""
        return self.sources.is_restricted and any(kind is FrontendKind.LOAD_BALANCER for _, kind in self.claims)

    def is_local_policy(self, kind: FrontendKind) -> bool:
        """Return whether the traffic policy that governs frontends of this kind is Local."""
        service = self.service
        if kind is FrontendKind.CLUSTER_IP:
            return service.internal_local
        may_be_local = service.type in {ServiceType.NODE_PORT, ServiceType.LOAD_BALANCER} or service.external_ips
        return service.external_local and bool(may_be_local)


def expand_service(service: Service, family: Family, node: Node, options: Options) -> tuple[Exposure, ...]:
    """Return the service's ports with their frontends of one family.

    A Service without a ClusterIP of the family has none at all, whatever its other addresses say. Ports that
    repeat a name and protocol repeat an identity: the first one stands, as the API server allows only one.
    """
    cluster_ip = next((address for address in service.cluster_ips if len(address) == family.address_bytes), None)
    if cluster_ip is None or service.type is ServiceType.EXTERNAL_NAME:
        return ()
    exposures: dict[str, Exposure] = {}
    sources = _sources(service, family, node, options)
    for port in service.ports:
        label = f":{port.name}" if port.name else ""
        name = f"{service.namespace}/{service.name}{label}/{port.protocol.name}"
        if name not in exposures:
            claims = {claim.key: claim for claim in reversed([*_claims(service, port, family, cluster_ip)])}
            is_dsr = is_direct(service, port.protocol, options)
            exposures[name] = Exposure(name, service, port, tuple(reversed(claims.values())), is_dsr, sources)
    return tuple(exposures.values())


def _sources(service: Service, family: Family, node: Node, options: Options) -> SourceRanges:
    if not service.source_ranges:
        return EVERYBODY
    return SourceRanges.of(service, family, primary_addresses(node, family, options))


def _claims(service: Service, port: ServicePort, family: Family, cluster_ip: bytes) -> Iterator[Claim]:
    """Yield what the port asks for; of two claims to one key the first counts."""
    yield Claim(FrontendKey(cluster_ip, port.port, port.protocol), FrontendKind.CLUSTER_IP)
    for addresses, kind in (
        (service.load_balancer_ips, FrontendKind.LOAD_BALANCER),
        (service.external_ips, FrontendKind.EXTERNAL_IP),
    ):
        for address in addresses:
            if len(address) == family.address_bytes:
                yield Claim(FrontendKey(address, port.port, port.protocol), kind)
    if port.node_port:
        yield Claim(FrontendKey(UNSPECIFIED[family], port.node_port, port.protocol), FrontendKind.NODE_PORT)


def settle_claims(
    exposures: Iterable[Exposure], owners: Mapping[FrontendKey, str], taken: Mapping[FrontendKey, str]
) -> tuple[list[Exposure], list[Refusal]]:
    """Give each frontend key to one service port; refuse the others' claim to that key, and nothing else of them.

    Whoever owns the key already keeps it, so that a newcomer cannot take over its traffic; among newcomers
    the first name in order does. ``taken`` are not to be had at all. Exposures left without a frontend are dropped.
    """
    exposures = sorted(exposures, key=lambda exposure: exposure.name)
    winners = dict(taken)
    contested = False
    for exposure in exposures:
        for key, _ in exposure.claims:
            holder = winners.setdefault(key, exposure.name)
            if holder != exposure.name:
                contested = True
                if owners.get(key) == exposure.name:
                    winners[key] = exposure.name
    if not contested:
        return exposures, []
    settled: list[Exposure] = []
    refused: list[Refusal] = []
    for exposure in exposures:
        kept = tuple(claim for claim in exposure.claims if winners[claim.key] == exposure.name)
        refused += [
            _claimed_twice(exposure, claim, winners[claim.key])
            for claim in exposure.claims
            if winners[claim.key] != exposure.name
        ]
        if kept:
            settled.append(replace(exposure, claims=kept))
    return settled, refused


_CLAIM_FIELDS = {
    FrontendKind.CLUSTER_IP: "spec.clusterIPs",
    FrontendKind.NODE_PORT: "spec.ports.nodePort",
    FrontendKind.LOAD_BALANCER: "status.loadBalancer.ingress",
    FrontendKind.EXTERNAL_IP: "spec.externalIPs",
}


def _claimed_twice(loser: Exposure, claim: Claim, winner: str) -> Refusal:
    where = format_endpoint(claim.key.address, claim.key.port)
    return Refusal(
        service_text(loser.service),
        _CLAIM_FIELDS[claim.kind],
        f"{where}/{claim.key.protocol.name} belongs to {winner}",
        "give one of the two another address or port",
    )


def slices_by_service(slices: Iterable[EndpointSlice], family: Family) -> dict[ObjectKey, list[EndpointSlice]]:
    """Index the slices of one family by the Service they name, in the order of their names."""
    index: dict[ObjectKey, list[EndpointSlice]] = {}
    for endpoint_slice in slices:
        if endpoint_slice.family is family:
            index.setdefault((endpoint_slice.namespace, endpoint_slice.service_name), []).append(endpoint_slice)
    for named in index.values():
        named.sort(key=lambda endpoint_slice: endpoint_slice.name)
    return index


def merge_candidates(
    port: ServicePort, slices: Sequence[EndpointSlice], family: Family, node_name: str
) -> tuple[Candidate, ...]:
    """Return the endpoints behind a service port: local ones first, then by address and port.

    Slices are matched by port name and protocol; each slice has its own port number. An address and port that
    several slices list, as they do while endpoints move between slices, is one candidate; a local one wins.
    """
    here: dict[BackendKey, Standing] = {}
    elsewhere: dict[BackendKey, Standing] = {}
    for endpoint_slice in slices:
        for offered in endpoint_slice.ports:
            if offered.name == port.name and offered.protocol is port.protocol:
                addresses, standings = listed(endpoint_slice.endpoints, family.address_bytes)
                keys = map(_BACKEND_KEY, zip(addresses, repeat(offered.port), repeat(port.protocol)))
                rows = [*zip(keys, standings, strict=True)]
                rows.reverse()  # of two with one key the first counts
                ours = [row for row in rows if row[1].node_name == node_name] if node_name else []
                if ours:
                    here = dict(ours) | here
                    rows = [row for row in rows if row[1].node_name != node_name]
                elsewhere = dict(rows) | elsewhere
    if here:
        elsewhere = {key: endpoint for key, endpoint in elsewhere.items() if key not in here}
        local = [Candidate(key, is_local=True, endpoint=here[key]) for key in sorted(here)]
    in_order = sorted(elsewhere)
    remote = map(_CANDIDATE, zip(in_order, repeat(False), map(elsewhere.__getitem__, in_order)))
    return (*local, *remote) if here else tuple(remote)
