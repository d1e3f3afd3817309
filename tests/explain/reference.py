"""What kube-proxy's rules say of a flow, written a second time: slowly, from the rules' text and the raw manifests.

Imports nothing of ebpflb and compiles nothing: every flow is followed through all Services, endpoint by endpoint. The
numbers in the comments are sections of the rules.

    Cluster (manifests, configuration, node), flow, hook --answer--> the fields of an answer that are compared
"""

from ipaddress import ip_network
from typing import Any

from tests.explain.endpoints import Endpoint, cluster_set, endpoints, fallback, local_endpoints, local_set
from tests.explain.objects import (
    Address,
    Cluster,
    Manifest,
    cluster_ips,
    object_addresses,
    sloppy,
    vips,
    visible_services,
)


def answer(cluster: Cluster, flow: Manifest, hook: str = "packet") -> Manifest:
    asked = _Asked(cluster, flow)
    for service in visible_services(cluster):
        for port in service["spec"]["ports"]:
            kind = asked.frontend_of(service, port)
            if kind and kind != "NodePort":
                return _served(asked, service, port, kind, hook)
    # 1.7: NodePorts are looked at after all addresses of Services.
    for service in visible_services(cluster):
        for port in service["spec"]["ports"]:
            if asked.frontend_of(service, port) == "NodePort":
                return _served(asked, service, port, "NodePort", hook)
    return _unclaimed(asked)


class _Asked:
    """One flow, and what follows from it alone."""

    def __init__(self, cluster: Cluster, flow: Manifest) -> None:
        self.cluster = cluster
        self.source = sloppy(flow["from"])
        self.destination = sloppy(flow["to"])
        self.port = flow["port"]
        self.protocol = flow["proto"]
        self.device = flow.get("device", "")
        self.family = f"IPv{self.destination.version}"
        self.detector = cluster.config.get("detectLocalMode") or "ClusterCIDR"

    def of_family(self, texts: list[str]) -> list[Address]:
        addresses = [sloppy(text) for text in texts]
        return [address for address in addresses if f"IPv{address.version}" == self.family]

    def ranges_of_family(self, texts: list[str]) -> list[Any]:
        networks = [ip_network(text.strip(), strict=False) for text in texts]
        return [network for network in networks if f"IPv{network.version}" == self.family]

    def cluster_ip(self, service: Manifest) -> Address | None:
        return next(iter(self.of_family(cluster_ips(service))), None)

    def frontend_of(self, service: Manifest, port: Manifest) -> str:
        """Return as what a service port claims the flow (1.2); empty if it does not."""
        if self.cluster_ip(service) is None or port.get("protocol", "TCP") != self.protocol:
            return ""
        if port["port"] == self.port:
            for addresses, kind in (
                (cluster_ips(service), "ClusterIP"),
                (vips(service), "VIP"),
                (service["spec"].get("externalIPs", []), "externalIP"),
            ):
                if self.destination in self.of_family(addresses):
                    return kind
        if port.get("nodePort", 0) == self.port and self.has_node_ports():
            return "NodePort"
        return ""

    # -- the node -----------------------------------------------------------------------------------------------
    def node_addresses(self) -> list[Address]:
        return self.of_family([*object_addresses(self.cluster), *self.cluster.node_addresses])

    def is_own_source(self) -> bool:
        return self.source in self.node_addresses() or self.source.is_loopback

    def has_node_ports(self) -> bool:
        """1.7: the destination is an address of the node, and nodePortAddresses allow it."""
        allowed = self.cluster.config.get("nodePortAddresses", [])
        if self.destination.is_loopback:
            return self.is_own_source() and self._loopback_has_node_ports(allowed)
        if self.destination not in self.node_addresses():
            return False
        if allowed in ([], ["primary"]):  # unset: as in nftables mode
            return self.destination == self.primary()
        ranges = self.ranges_of_family(allowed)
        return not ranges or any(self.destination in network for network in ranges)

    def _loopback_has_node_ports(self, allowed: list[str]) -> bool:
        """The one addition to nftables mode: on loopback, unless localhostNodePorts or nodePortAddresses say no."""
        if not self.cluster.config.get("iptables", {}).get("localhostNodePorts", True) or allowed == ["primary"]:
            return False
        ranges = self.ranges_of_family(allowed)
        return not ranges or any(self.destination in network for network in ranges)

    def primary(self) -> Address | None:
        """1.16: the Node's first address of the family."""
        return next(iter(self.of_family(object_addresses(self.cluster))), None)

    # -- who sends (1.15) -----------------------------------------------------------------------------------------

    def has_detector(self) -> bool:
        if self.detector in ("BridgeInterface", "InterfaceNamePrefix"):
            return True
        return bool(self._pod_ranges())

    def is_pod(self) -> bool:
        if self.detector in ("BridgeInterface", "InterfaceNamePrefix"):
            return self._came_in_by_pod_device()
        return any(self.source in network for network in self._pod_ranges())

    def _pod_ranges(self) -> list[Any]:
        if self.detector == "NodeCIDR":
            texts = self.cluster.own_node()["spec"].get("podCIDRs", [])
        else:
            texts = [text for text in self.cluster.config.get("clusterCIDR", "").split(",") if text]
        return self.ranges_of_family(texts)

    def _came_in_by_pod_device(self) -> bool:
        told = self.cluster.config["detectLocal"]
        if self.device:
            if self.detector == "BridgeInterface":
                return bool(self.device == told["bridgeInterface"])
            return str(self.device).startswith(told["interfaceNamePrefix"])
        # docs/explain.md: a flow that names no device comes from a pod if a pod of this node has its source.
        return not self.is_own_source() and self._has_pod_address()

    def _has_pod_address(self) -> bool:
        on_node = self.ranges_of_family(self.cluster.own_node()["spec"].get("podCIDRs", []))
        listed = local_endpoints(self.cluster, self.family)
        return self.source in listed or any(self.source in network for network in on_node)

    def is_from_outside(self) -> bool:
        """Neither the node nor a pod of it sends: none that has such an address, none that a device tells."""
        by_device = self.detector in ("BridgeInterface", "InterfaceNamePrefix") and self._came_in_by_pod_device()
        return not (by_device or self.is_own_source() or self._has_pod_address())

    def is_answered_directly(self) -> bool:
        """The backend's node answers itself: then the client's address stays in the packet (ebpflb.forwarding)."""
        mode = self.cluster.config["ebpflb"]["forwarding"]
        return (mode == "dsr" or (mode == "hybrid" and self.protocol == "TCP")) and self.is_from_outside()

    def is_own_call(self) -> bool:
        """A socket of the node dials an address that the node has: its packet would come from that address."""
        return self.protocol in ("TCP", "UDP") and self.is_own_source() and self.destination in self.node_addresses()


# -- the decision table (1.5, 1.6, 1.8) ----------------------------------------------------------------------------


def _verdict(verdict: str, service: Manifest | None = None, port_name: str = "") -> Manifest:
    name = f"{service['metadata']['namespace']}/{service['metadata']['name']}" if service else ""
    return {"verdict": verdict, "backends": [], "masquerade": False, "service": name, "port_name": port_name}


def _served(asked: _Asked, service: Manifest, port: Manifest, kind: str, hook: str) -> Manifest:
    name = port.get("name", "")
    ranges = asked.ranges_of_family(service["spec"].get("loadBalancerSourceRanges", [])) if kind == "VIP" else []
    is_own_call = hook == "socket" and asked.is_own_call()
    if ranges and not _is_admitted(asked, service, ranges, asked.destination if is_own_call else asked.source):
        return _verdict("reject" if is_own_call else "drop", service, name)
    at_socket = hook == "socket" and asked.protocol in ("TCP", "UDP") and (not ranges or is_own_call)
    candidates = endpoints(asked.cluster, asked.family, service, port)
    if not any(each.ready for each in candidates) and not fallback(candidates):
        return _verdict("reject", service, name)
    chosen, masquerade = _row(asked, service, kind, candidates, at_socket=at_socket)
    if not chosen:
        return _verdict("reject" if at_socket else "drop", service, name)
    is_hairpin = all(each.address == asked.source for each in chosen)
    found = _verdict("forward", service, name)
    found["backends"] = sorted(str(each) for each in chosen)
    is_kept = at_socket or (kind != "ClusterIP" and asked.is_answered_directly())
    found["masquerade"] = not is_kept and (masquerade or is_hairpin)
    return found


def _is_admitted(asked: _Asked, service: Manifest, ranges: list[Any], source: Address) -> bool:
    if any(source in network for network in ranges):
        return True
    primary = asked.primary()
    has_own = primary is not None and any(primary in network for network in ranges)
    return has_own and source in asked.of_family(vips(service))


def _row(
    asked: _Asked, service: Manifest, kind: str, candidates: list[Endpoint], *, at_socket: bool
) -> tuple[list[Endpoint], bool]:
    """Return the endpoints and whether the source is replaced, by the table of 1.5, row by row."""
    spec = service["spec"]
    if kind == "ClusterIP":
        config = asked.cluster.config
        mode = config.get("mode") or "iptables nftables"  # without a mode, either section counts
        hides_pods = any(config.get(each, {}).get("masqueradeAll", False) for each in mode.split())
        masquerade = hides_pods or (asked.has_detector() and not asked.is_pod())
        is_local = spec.get("internalTrafficPolicy", "Cluster") == "Local"
        return (local_set(candidates) if is_local else cluster_set(asked.cluster, candidates)), masquerade
    may_be_local = spec.get("type", "ClusterIP") in ("NodePort", "LoadBalancer") or spec.get("externalIPs")
    if spec.get("externalTrafficPolicy", "Cluster") != "Local" or not may_be_local:
        return cluster_set(asked.cluster, candidates), True
    if at_socket or asked.is_pod():
        return cluster_set(asked.cluster, candidates), False
    if asked.is_own_source():
        return cluster_set(asked.cluster, candidates), True
    return local_set(candidates), False


def _unclaimed(asked: _Asked) -> Manifest:
    for service in visible_services(asked.cluster):
        if _has_health_check(asked, service):
            return _verdict("accept", service)
    for service in visible_services(asked.cluster):
        if asked.cluster_ip(service) == asked.destination:
            return _verdict("reject", service)
    for service in visible_services(asked.cluster):
        outside = [*vips(service), *service["spec"].get("externalIPs", [])]
        if asked.cluster_ip(service) is not None and asked.destination in asked.of_family(outside):
            return _verdict("pass")  # 1.8: left alone
    if asked.destination in asked.node_addresses():
        return _verdict("pass")  # what the node has itself goes nowhere
    cidrs = [cidr for each in asked.cluster.of_kind("ServiceCIDR") for cidr in each["spec"]["cidrs"]]
    if any(asked.destination in network for network in asked.ranges_of_family(cidrs)):
        return _verdict("drop")
    return _verdict("pass")


def _has_health_check(asked: _Asked, service: Manifest) -> bool:
    """1.12: its server listens where NodePorts hold. One that listens on no address in particular has them all,
    loopback included, whichever family the Service is of; others have those of the Service's families.
    """
    spec = service["spec"]
    is_meant = spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"
    is_asked = asked.protocol == "TCP" and asked.port == spec.get("healthCheckNodePort", 0)
    if not (is_meant and is_asked):
        return False
    allowed = asked.cluster.config.get("nodePortAddresses", [])
    ranges = [] if allowed in ([], ["primary"]) else asked.ranges_of_family(allowed)
    if allowed not in ([], ["primary"]) and (not ranges or any(each.prefixlen == 0 for each in ranges)):
        return asked.destination in asked.node_addresses() or (asked.destination.is_loopback and asked.is_own_source())
    is_here = not asked.destination.is_loopback and asked.has_node_ports()
    return is_here and asked.cluster_ip(service) is not None
