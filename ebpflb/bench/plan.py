"""What a lab shall look like, as a value: how many nodes and pods, how they are joined, which families they speak.

Knows no command and no address.

Lab's parameters -> LabPlan -> wiring.py, overlay.py, topology.py
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from ebpflb.core.abi import Family
from ebpflb.errors import EbpflbError

UPLINK = "uplink0"
OVERLAY = "vxlan0"
POD_BRIDGE = "cni0"
SWITCH_BRIDGE = "br0"

IPV4_ONLY = (Family.IPV4,)
IPV6_ONLY = (Family.IPV6,)
DUAL_STACK = (Family.IPV4, Family.IPV6)

_VXLAN_BYTES = {Family.IPV4: 50, Family.IPV6: 70}
"""What VXLAN puts before a packet: outer IP header, UDP, VXLAN, inner Ethernet header."""


class PodNetwork(StrEnum):
    """How a node reaches its own pods."""

    ROUTED = "routed"
    """A veth and a host route per pod, a link-local gateway: Calico's way."""
    BRIDGED = "bridged"
    """The host sides of the veths are ports of a bridge that is the pods' gateway: the CNI bridge plugin's way."""


class Underlay(StrEnum):
    """How a node reaches the pods of other nodes."""

    ROUTED = "routed"
    """By routes over the uplink."""
    VXLAN = "vxlan"
    """Through a VXLAN device, in packets between the nodes' addresses of the lab's first family."""


@dataclass(frozen=True, slots=True)
class LabPlan:
    """What the lab shall look like."""

    pods_per_node: tuple[int, ...]
    """One entry a node."""
    pod_network: PodNetwork = PodNetwork.ROUTED
    mtu: int = 1500
    """Of the uplinks."""
    route_services: bool = False
    """The client reaches ClusterIPs through node-1, as a router with a static route would."""
    families: tuple[Family, ...] = IPV4_ONLY
    underlay: Underlay = Underlay.ROUTED

    @property
    def node_numbers(self) -> range:
        """1, 2, ..."""
        return range(1, len(self.pods_per_node) + 1)

    def pod_numbers(self, node: int) -> range:
        """1, 2, ... of one node."""
        return range(1, self.pods_per_node[node - 1] + 1)

    @property
    def uplinks(self) -> tuple[str, ...]:
        """Return a node's devices towards other nodes and the outside."""
        return (UPLINK,) if self.underlay is Underlay.ROUTED else (UPLINK, OVERLAY)

    @property
    def pod_mtu(self) -> int:
        """Return the MTU of pods, which an overlay makes smaller."""
        return self.mtu if self.underlay is Underlay.ROUTED else self.mtu - _VXLAN_BYTES[self.families[0]]


def pod_device(pod: int) -> str:
    """Return the host side of a pod's veth."""
    return f"pod{pod}"


def pods_of_each(nodes: int, pods_per_node: int | Sequence[int]) -> tuple[int, ...]:
    """Return how many pods each node has, given one number for all or one a node."""
    counts = (pods_per_node,) * nodes if isinstance(pods_per_node, int) else tuple(pods_per_node)
    if len(counts) != nodes:
        raise EbpflbError(
            f"lab: pods_per_node has {len(counts)} entries for {nodes} nodes", remedy="give one entry a node"
        )
    return counts
