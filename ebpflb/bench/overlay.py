"""Decides how nodes reach each other's pods over VXLAN, as data; runs nothing.

LabPlan -> overlay_batch (for `ip -batch`), forwarding_batch (for `bridge -batch`) -> topology.py

Everything is static, as flannel and Cilium write it: a route a node, a neighbour a node, a forwarding entry a node.
The device has no address of its own (as Cilium's): the kernel, and the agents, take the node's.
"""

from collections.abc import Iterator

from ebpflb.bench.addresses import node_address, pod_network, tunnel_end
from ebpflb.bench.plan import OVERLAY, UPLINK, LabPlan

_NETWORK_ID = 1
_PORT = 4789


def overlay_batch(plan: LabPlan, node: int) -> list[str]:
    """Return the lines for `ip`: the device, and over it the way to every other node's pods."""
    carrier = node_address(node, plan.families[0])
    tunnel = f"type vxlan id {_NETWORK_ID} dstport {_PORT} local {carrier} dev {UPLINK} nolearning"
    lines = [
        f"link add {OVERLAY} address {_mac(node)} mtu {plan.pod_mtu} {tunnel}",
        f"link set {OVERLAY} up",
    ]
    for other in _others(plan, node):
        for family in plan.families:
            end = tunnel_end(other, family)
            lines += [
                f"neigh add {end} lladdr {_mac(other)} dev {OVERLAY} nud permanent",
                f"route add {pod_network(other, family)} via {end} dev {OVERLAY} onlink",
            ]
    return lines


def forwarding_batch(plan: LabPlan, node: int) -> list[str]:
    """Return the lines for `bridge`: at which node's address each overlay device is found."""
    return [
        f"fdb append {_mac(other)} dev {OVERLAY} dst {node_address(other, plan.families[0])} self permanent"
        for other in _others(plan, node)
    ]


def _others(plan: LabPlan, node: int) -> Iterator[int]:
    return (other for other in plan.node_numbers if other != node)


def _mac(node: int) -> str:
    return f"02:00:00:00:0a:{node:02x}"
