"""Decides the lab's links, addresses, routes and sysctls, as data; runs nothing.

LabPlan -> switch_batch, node_batch, pod_batch, client_batch -> lines for `ip -batch` -> topology.py

                 switch namespace: bridge br0
    uplink0 |          uplink0 |          uplink0 |          uplink0 |
      node-1 .1          node-2 .2          node-3 .3         client .100
    pod1 pod2 ...      pod1 pod2 ...      pod1 pod2 ...
"""

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
from ebpflb.bench.overlay import overlay_batch
from ebpflb.bench.plan import POD_BRIDGE, SWITCH_BRIDGE, UPLINK, LabPlan, PodNetwork, Underlay, pod_device
from ebpflb.core.abi import Family


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
    lines = ["link set lo up"]
    lines += [_add_address(node_address(node, f), underlay_prefix(f), UPLINK, f) for f in plan.families]
    lines.append(f"link set {UPLINK} up")
    # A real node has a default route; without one a connect() to a ClusterIP fails before any hook sees it.
    lines += [f"route add default via {client_address(family)}" for family in plan.families]
    lines += _routes_to_nodes(plan, node) if plan.underlay is Underlay.ROUTED else overlay_batch(plan, node)
    if plan.pod_network is PodNetwork.BRIDGED:
        lines.append(f"link add {POD_BRIDGE} mtu {plan.pod_mtu} type bridge")
        lines += [_add_address(bridge_address(node, f), PLANS[f].pod_prefix, POD_BRIDGE, f) for f in plan.families]
        lines.append(f"link set {POD_BRIDGE} up")
    for pod, namespace in pods.items():
        lines += _pod_cable(plan, node, pod, namespace)
    return lines


def _routes_to_nodes(plan: LabPlan, node: int) -> list[str]:
    return [
        f"route add {pod_network(other, family)} via {node_address(other, family)}"
        for family in plan.families
        for other in plan.node_numbers
        if other != node
    ]


def _pod_cable(plan: LabPlan, node: int, pod: int, namespace: str) -> list[str]:
    device, mtu = pod_device(pod), plan.pod_mtu
    lines = [f"link add {device} mtu {mtu} type veth peer name eth0 mtu {mtu} netns {namespace}"]
    if plan.pod_network is PodNetwork.BRIDGED:
        return [*lines, f"link set {device} master {POD_BRIDGE} up"]
    lines.append(f"link set {device} up")
    for family in plan.families:
        lines.append(f"route add {pod_address(node, pod, family)}/{PLANS[family].host_prefix} dev {device} scope link")
        if family is Family.IPV6:
            # Proxying neighbours, as it is done with ARP for IPv4, would need an entry for every gateway and device.
            lines.append(_add_address(PLANS[family].link_local_gateway, 64, device, family))
    return lines


def pod_batch(plan: LabPlan, node: int, pod: int) -> list[str]:
    """Return the lines for a pod's namespace."""
    lines = ["link set lo up", "link set eth0 up"]
    for family in plan.families:
        addresses = PLANS[family]
        address = pod_address(node, pod, family)
        if plan.pod_network is PodNetwork.BRIDGED:
            lines.append(_add_address(address, addresses.pod_prefix, "eth0", family))
            lines.append(f"route add default via {bridge_address(node, family)}")
            continue
        lines.append(_add_address(address, addresses.host_prefix, "eth0", family))
        if family is Family.IPV4:
            lines.append(f"route add {addresses.link_local_gateway} dev eth0 scope link")
        lines.append(f"route add default via {addresses.link_local_gateway} dev eth0")
    return lines


def client_batch(plan: LabPlan) -> list[str]:
    """Return the lines for the outside client's namespace: the underlay, and no route to pods."""
    lines = ["link set lo up"]
    lines += [_add_address(client_address(f), underlay_prefix(f), UPLINK, f) for f in plan.families]
    lines.append(f"link set {UPLINK} up")
    if plan.route_services:
        lines += [f"route add {service_network(f)} via {node_address(1, f)}" for f in plan.families]
    return lines


EARLY_SYSCTLS = [
    # Duplicate address detection would keep also link-local addresses unusable for their first second.
    ("net/ipv6/conf/all/accept_dad", "0"),
    ("net/ipv6/conf/default/accept_dad", "0"),
]
"""Of every namespace, before it has devices."""

HOST_SYSCTLS = [("net/ipv4/ip_forward", "0"), ("net/ipv6/conf/all/forwarding", "0")]
"""Of pods and the client: a namespace inherits the machine's value, and these must not forward."""


def node_sysctls(plan: LabPlan, node: int) -> list[tuple[str, str]]:
    """Return a node's settings: it forwards, and answers ARP for its routed pods' gateway without the usual delay."""
    settings = [
        ("net/ipv4/ip_forward", "1"),
        ("net/ipv6/conf/all/forwarding", "1"),
        # The kernel's default, written down: distributions differ, and a namespace inherits the machine's value.
        ("net/ipv4/conf/all/rp_filter", "0"),
    ]
    pods = [pod_device(pod) for pod in plan.pod_numbers(node)]
    settings += [(f"net/ipv4/conf/{device}/rp_filter", "0") for device in (*plan.uplinks, *pods)]
    if plan.pod_network is PodNetwork.ROUTED and Family.IPV4 in plan.families:
        settings += [(f"net/ipv4/conf/{device}/proxy_arp", "1") for device in pods]
        settings += [(f"net/ipv4/neigh/{device}/proxy_delay", "0") for device in pods]
    return settings


def _add_address(address: str, prefix: int, device: str, family: Family) -> str:
    # As with the link-local ones; and where no carrier has been seen yet, no detection would even begin.
    return f"addr add {address}/{prefix} dev {device}" + (" nodad" if family is Family.IPV6 else "")
