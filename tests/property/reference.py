"""What Services mean, written again: slowly, frontend by frontend, from the rules and not from ``ebpflb.core``.

No ids, ranges or tables: for each frontend key, its kind, its clients and the backends that each policy may choose.
"""

from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from ebpflb.core.abi import Family, FrontendKind
from ebpflb.core.model import Endpoint, Service, ServicePort, Snapshot
from ebpflb.core.options import Forwarding, Options
from ebpflb.core.tables import BackendKey, FrontendKey

Network = IPv4Network | IPv6Network


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
    is_direct: bool = False
    """A backend's node answers the client itself."""
    clients: frozenset[Network] | None = None
    """``None``: everybody."""


def meaning(snapshot: Snapshot, family: Family, options: Options) -> dict[FrontendKey, Meaning]:
    """Return every frontend of an empty node that takes on this snapshot, addresses as such left out."""
    found: dict[FrontendKey, Meaning] = {}
    owned: dict[str, tuple[Service, ServicePort]] = {}
    for _, service in sorted(snapshot.services.items()):
        for port in service.ports:
            owned.setdefault(owner_of(service, port), (service, port))
    for _, (service, port) in sorted(owned.items(), key=lambda item: item[0]):
        if service.type == "ExternalName":
            continue
        for key, kind in keys_of(service, port, family):
            if key not in found:
                found[key] = replace(
                    meaning_of(snapshot, service, port, kind, family),
                    is_direct=kind != FrontendKind.CLUSTER_IP and answers_directly(service, port, options),
                    clients=clients_of(snapshot, service, family, options)
                    if kind == FrontendKind.LOAD_BALANCER
                    else None,
                )
    return found


def answers_directly(service: Service, port: ServicePort, options: Options) -> bool:
    if service.forwarding in ("snat", "dsr"):
        return service.forwarding == "dsr"
    if options.forwarding == Forwarding.HYBRID:
        return port.protocol.name == "TCP"
    return options.forwarding == Forwarding.DSR


def clients_of(snapshot: Snapshot, service: Service, family: Family, options: Options) -> frozenset[Network] | None:
    """The list, and the load-balancer addresses if this node is in it. Only a list without a word is open."""
    good: set[Network] = set()
    says_something = False
    for text in service.source_ranges:
        try:
            network = ip_network(text.strip(), strict=False)
        except ValueError:
            looks = {4: "." in text, 6: ":" in text}
            says_something |= looks[family] or not (looks[4] or looks[6])
        else:
            if network.version == family:
                good.add(network)
    if not good:
        return frozenset() if says_something else None
    if any(own in network for own in first_addresses(snapshot, family, options) for network in good):
        good |= {ip_network(address) for address in service.load_balancer_ips if ip_network(address).version == family}
    return frozenset(good)


def first_addresses(snapshot: Snapshot, family: Family, options: Options) -> set[IPv4Address | IPv6Address]:
    """What the node was told that it is; else the first that its Node object has."""
    told = {ip_address(address) for address in options.node_ips if ip_address(address).version == family}
    own = [ip_address(address) for address in snapshot.node.addresses if ip_address(address).version == family]
    return told or set(own[:1])


def answering(found: dict[FrontendKey, Meaning], snapshot: Snapshot) -> dict[bytes, bool]:
    """Every address that Services have of their own, and whether a ping to it is answered for them."""
    answers: dict[bytes, bool] = {}
    for key, each in found.items():
        if any(key.address):
            is_ours = key.address in snapshot.host.addresses
            answers[key.address] = answers.get(key.address, False) or (each.has_any and not is_ours)
    return answers


def unwrapping(
    snapshot: Snapshot, found: dict[FrontendKey, Meaning], family: Family
) -> dict[str, dict[bytes, BackendKey]]:
    """For each service port with a direct frontend, the backend that stands for a pod of this node."""
    direct = {each.owner for each in found.values() if each.is_direct}
    chosen: dict[str, dict[bytes, BackendKey]] = {}
    owned: dict[str, tuple[Service, ServicePort]] = {}
    for _, service in sorted(snapshot.services.items()):
        for port in service.ports:
            owned.setdefault(owner_of(service, port), (service, port))
    for owner in direct:
        rivals: dict[bytes, list[tuple[bool, int, BackendKey]]] = {}
        for key, pod in pods_of(snapshot, *owned[owner], family).items():
            is_here = snapshot.node.name not in ("", None) and pod.node_name == snapshot.node.name
            is_here |= any(ip_address(key.address) in ip_network(cidr) for cidr in snapshot.node.pod_cidrs)
            if (pod.ready or pod.serving) and (is_here or key.address in snapshot.host.addresses):
                rivals.setdefault(key.address, []).append((not pod.ready, key.port, key))
        chosen[owner] = {address: min(candidates)[-1] for address, candidates in rivals.items()}
    return {owner: rows for owner, rows in chosen.items() if rows}


def owner_of(service: Service, port: ServicePort) -> str:
    full = f"{service.namespace}/{service.name}"
    return f"{full}:{port.name}/{port.protocol.name}" if port.name else f"{full}/{port.protocol.name}"


def keys_of(service: Service, port: ServicePort, family: Family) -> list[tuple[FrontendKey, FrontendKind]]:
    def mine(many: tuple[bytes, ...]) -> list[bytes]:
        return [address for address in many if len(address) == {4: 4, 6: 16}[int(family)]]

    if not mine(service.cluster_ips):
        return []
    keys = [(FrontendKey(mine(service.cluster_ips)[0], port.port, port.protocol), FrontendKind.CLUSTER_IP)]
    for addresses, kind in (
        (service.load_balancer_ips, FrontendKind.LOAD_BALANCER),
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
