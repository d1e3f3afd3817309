"""What Services mean, written again: slowly, frontend by frontend, from the rules and not from ``ebpflb.core``.

No ids, ranges or tables: for each frontend key, its kind and the backends that each policy may choose.
"""

from dataclasses import dataclass

from ebpflb.core.abi import Family, FrontendKind
from ebpflb.core.model import Endpoint, Service, ServicePort, Snapshot
from ebpflb.core.tables import BackendKey, FrontendKey


@dataclass(frozen=True)
class Meaning:
    """What a client of one frontend must find. ``None``: this policy path does not exist."""

    owner: str
    kind: FrontendKind
    cluster: frozenset[BackendKey] | None
    local: frozenset[BackendKey] | None
    has_any: bool
    staying: frozenset[BackendKey]
    """Where UDP of this service port may stay: the usable, and what serves though it is used no more."""


def meaning(snapshot: Snapshot, family: Family) -> dict[FrontendKey, Meaning]:
    """Return every frontend of an empty node that takes on this snapshot."""
    found: dict[FrontendKey, Meaning] = {}
    owned: dict[str, tuple[Service, ServicePort]] = {}
    for _, service in sorted(snapshot.services.items()):
        for port in service.ports:
            owned.setdefault(owner_of(service, port), (service, port))
    for _, (service, port) in sorted(owned.items(), key=lambda item: item[0]):
        if service.type == "ExternalName" or port.protocol.name == "SCTP":
            continue
        for key, kind in keys_of(service, port, family):
            if key not in found:
                found[key] = meaning_of(snapshot, service, port, kind, family)
    return found


def owner_of(service: Service, port: ServicePort) -> str:
    full = f"{service.namespace}/{service.name}"
    return f"{full}:{port.name}/{port.protocol.name}" if port.name else f"{full}/{port.protocol.name}"


def keys_of(service: Service, port: ServicePort, family: Family) -> list[tuple[FrontendKey, FrontendKind]]:
    def mine(many: tuple[bytes, ...]) -> list[bytes]:
        return [address for address in many if len(address) == {4: 4, 6: 16}[int(family)]]

    if not mine(service.cluster_ips):
        return []
    keys = [(FrontendKey(mine(service.cluster_ips)[0], port.port, port.protocol), FrontendKind.CLUSTER_IP)]
    restricted = any(("." if family == Family.IPV4 else ":") in text for text in service.source_ranges)
    for addresses, kind in (
        (() if restricted else service.load_balancer_ips, FrontendKind.LOAD_BALANCER),
        (service.external_ips, FrontendKind.EXTERNAL_IP),
    ):
        keys += [(FrontendKey(address, port.port, port.protocol), kind) for address in mine(addresses)]
    if port.node_port != 0:
        anywhere = b"\0" * {4: 4, 6: 16}[int(family)]
        keys.append((FrontendKey(anywhere, port.node_port, port.protocol), FrontendKind.NODE_PORT))
    return keys


def meaning_of(snapshot: Snapshot, service: Service, port: ServicePort, kind: FrontendKind, family: Family) -> Meaning:
    pods = pods_of(snapshot, service, port, family)
    here = snapshot.node.name
    ready = {key for key, pod in pods.items() if pod.ready}
    fallback = {key for key, pod in pods.items() if not pod.ready and pod.serving and pod.terminating}
    local_ready = {key for key in ready if here != "" and pods[key].node_name == here}
    local_fallback = {key for key in fallback if here != "" and pods[key].node_name == here}
    near = ready
    if all(pods[key].for_zones for key in ready):
        in_zone = {key for key in ready if snapshot.node.zone != "" and snapshot.node.zone in pods[key].for_zones}
        near = in_zone or near
    if all(pods[key].for_nodes for key in ready):
        on_node = {key for key in ready if here != "" and here in pods[key].for_nodes}
        near = on_node or near
    cluster = frozenset(near or fallback)
    local = frozenset(local_ready or local_fallback)
    has_any = bool(ready or fallback)
    owner = owner_of(service, port)
    staying = frozenset(key for key, pod in pods.items() if pod.ready or pod.serving)
    if kind == FrontendKind.CLUSTER_IP:
        if service.internal_local:
            return Meaning(owner, kind, None, local, has_any, staying)
        return Meaning(owner, kind, cluster, None, has_any, staying)
    counts = service.type in ("NodePort", "LoadBalancer") or len(service.external_ips) > 0
    return Meaning(owner, kind, cluster, local if service.external_local and counts else None, has_any, staying)


def pods_of(snapshot: Snapshot, service: Service, port: ServicePort, family: Family) -> dict[BackendKey, Endpoint]:
    pods: dict[BackendKey, Endpoint] = {}
    here = snapshot.node.name
    for _, each in sorted(snapshot.slices.items()):
        if (each.namespace, each.service_name) != (service.namespace, service.name) or each.family != family:
            continue
        for offered in each.ports:
            for pod in each.endpoints:
                if (offered.name, offered.protocol) != (port.name, port.protocol):
                    continue
                if len(pod.address) != (4 if family == Family.IPV4 else 16):
                    continue
                key = BackendKey(pod.address, offered.port, offered.protocol)
                if key not in pods or (here and pod.node_name == here != pods[key].node_name):
                    pods[key] = pod
    return pods
