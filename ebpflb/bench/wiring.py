"""Decides the lab's links, addresses, routes and sysctls, as data; runs nothing.

LabPlan -> switch_batch, node_batch, pod_batch, client_batch -> lines for `ip -batch` -> topology.py

                 switch namespace: bridge br0
    uplink0 |          uplink0 |          uplink0 |          uplink0 |
      node-1 .1          node-2 .2          node-3 .3         client .100
    pod1 pod2 ...      pod1 pod2 ...      pod1 pod2 ...
"""

from dataclasses import dataclass
from enum import StrEnum

from ebpflb.bench.addresses import (
    PLANS,
    bridge_address,
    client_address,
    node_address,
    pod_address,
    pod_network,
    service_network,
    underlay_prefix,
)
from ebpflb.core.abi import Family

UPLINK = "uplink0"
POD_BRIDGE = "cni0"
SWITCH_BRIDGE = "br0"


class PodNetwork(StrEnum):
    """How a node reaches its pods."""

    ROUTED = "routed"
    """A veth and a host route per pod, a link-local gateway: Calico's way."""
    BRIDGED = "bridged"
    """The host sides of the veths are ports of a bridge that is the pods' gateway: the CNI bridge plugin's way."""


@dataclass(frozen=True, slots=True)
class LabPlan:
    """What the lab shall look like."""

    pods_per_node: tuple[int, ...]
    """One entry a node."""
    pod_network: PodNetwork
    mtu: int
    route_services: bool
    """The client reaches ClusterIPs through node-1, as a router with a static route would."""
    family: Family = Family.IPV4

    @property
    def node_numbers(self) -> range:
        """1, 2, ..."""
        return range(1, len(self.pods_per_node) + 1)

    def pod_numbers(self, node: int) -> range:
        """1, 2, ... of one node."""
        return range(1, self.pods_per_node[node - 1] + 1)


def pod_device(pod: int) -> str:
    """Return the host side of a pod's veth."""
    return f"pod{pod}"


def switch_batch(plan: LabPlan, neighbours: dict[str, str]) -> list[str]:
    """Return the lines for the switch's namespace: the bridge, and a cable to each neighbour (name: namespace)."""
    lines = ["link set lo up", f"link add {SWITCH_BRIDGE} mtu {plan.mtu} type bridge", f"link set {SWITCH_BRIDGE} up"]
    for port, namespace in neighbours.items():
        lines += [
            f"link add {port} mtu {plan.mtu} type veth peer name {UPLINK} mtu {plan.mtu} netns {namespace}",
            f"link set {port} master {SWITCH_BRIDGE} up",
        ]
    return lines


def node_batch(plan: LabPlan, node: int, pods: dict[int, str]) -> list[str]:
    """Return the lines for a node's namespace: its uplink, its pods' cables (pod number: namespace), its routes."""
    family = plan.family
    lines = [
        "link set lo up",
        f"addr add {node_address(node, family)}/{underlay_prefix(family)} dev {UPLINK}{_nodad(family)}",
        f"link set {UPLINK} up",
        # A real node has a default route; without one a connect() to a ClusterIP fails before any hook sees it.
        f"route add default via {client_address(family)}",
    ]
    lines += [
        f"route add {pod_network(other, family)} via {node_address(other, family)}"
        for other in plan.node_numbers
        if other != node
    ]
    if plan.pod_network is PodNetwork.BRIDGED:
        prefix = PLANS[family].pod_prefix
        lines += [
            f"link add {POD_BRIDGE} mtu {plan.mtu} type bridge",
            f"addr add {bridge_address(node, family)}/{prefix} dev {POD_BRIDGE}{_nodad(family)}",
            f"link set {POD_BRIDGE} up",
        ]
    for pod, namespace in pods.items():
        lines += _pod_cable(plan, node, pod, namespace)
    return lines


def _pod_cable(plan: LabPlan, node: int, pod: int, namespace: str) -> list[str]:
    device = pod_device(pod)
    lines = [f"link add {device} mtu {plan.mtu} type veth peer name eth0 mtu {plan.mtu} netns {namespace}"]
    if plan.pod_network is PodNetwork.BRIDGED:
        return [*lines, f"link set {device} master {POD_BRIDGE} up"]
    lines += [
        f"link set {device} up",
        f"route add {pod_address(node, pod, plan.family)}/{PLANS[plan.family].host_prefix} dev {device} scope link",
    ]
    if plan.family is Family.IPV6:
        lines.append(f"addr add {PLANS[plan.family].link_local_gateway}/64 dev {device} nodad")
    return lines


def pod_batch(plan: LabPlan, node: int, pod: int) -> list[str]:
    """Return the lines for a pod's namespace."""
    family = plan.family
    addresses = PLANS[family]
    address = pod_address(node, pod, family)
    lines = ["link set lo up", "link set eth0 up"]
    if plan.pod_network is PodNetwork.BRIDGED:
        return [
            *lines,
            f"addr add {address}/{addresses.pod_prefix} dev eth0{_nodad(family)}",
            f"route add default via {bridge_address(node, family)}",
        ]
    gateway = addresses.link_local_gateway
    return [
        *lines,
        f"addr add {address}/{addresses.host_prefix} dev eth0{_nodad(family)}",
        f"route add {gateway} dev eth0 scope link",
        f"route add default via {gateway} dev eth0",
    ]


def client_batch(plan: LabPlan) -> list[str]:
    """Return the lines for the outside client's namespace: the underlay, and no route to pods."""
    family = plan.family
    lines = [
        "link set lo up",
        f"addr add {client_address(family)}/{underlay_prefix(family)} dev {UPLINK}{_nodad(family)}",
        f"link set {UPLINK} up",
    ]
    if plan.route_services:
        lines.append(f"route add {service_network(family)} via {node_address(1, family)}")
    return lines


def node_sysctls(plan: LabPlan, node: int) -> list[tuple[str, str]]:
    """Return a node's settings: it forwards, and answers ARP for its routed pods' gateway without the usual delay."""
    settings = [
        ("net/ipv4/ip_forward", "1"),
        ("net/ipv6/conf/all/forwarding", "1"),
        # The kernel's default, written down: distributions differ, and a namespace inherits the machine's value.
        ("net/ipv4/conf/all/rp_filter", "0"),
    ]
    pods = [pod_device(pod) for pod in plan.pod_numbers(node)]
    settings += [(f"net/ipv4/conf/{device}/rp_filter", "0") for device in (UPLINK, *pods)]
    if plan.pod_network is PodNetwork.ROUTED and plan.family is Family.IPV4:
        settings += [(f"net/ipv4/conf/{device}/proxy_arp", "1") for device in pods]
        settings += [(f"net/ipv4/neigh/{device}/proxy_delay", "0") for device in pods]
    return settings


HOST_SYSCTLS = [("net/ipv4/ip_forward", "0")]
"""Of pods and the client: a namespace inherits the machine's value, and these must not forward."""


def _nodad(family: Family) -> str:
    # Duplicate address detection would keep an IPv6 address unusable for its first second.
    return " nodad" if family is Family.IPV6 else ""
