"""What the configuration of a node decides about every Service, as a value.

Knows no flag and no file; what a single Service says against it is ``forwarding.py``'s.

    command line, configuration file --> Options --> compile
"""

from dataclasses import dataclass
from enum import StrEnum


class Forwarding(StrEnum):
    """Which way a reply from a backend on another node goes to a client outside."""

    SNAT = "snat"
    """Back through the node that the client dialled."""
    DSR = "dsr"
    """Directly: the backend's node answers with the Service's address."""
    HYBRID = "hybrid"
    """TCP directly, the rest back: a UDP or SCTP sender is told of no smaller segment size."""


class DetectLocal(StrEnum):
    """By what a packet is known to come from a pod (KubeProxyConfiguration's ``detectLocalMode``)."""

    CLUSTER_CIDR = "ClusterCIDR"
    """Its source lies in ``cluster_cidrs``: also that of pods on other nodes. Without any for a family: no detector."""
    NODE_CIDR = "NodeCIDR"
    """Its source lies in the own Node's podCIDRs."""
    BRIDGE_INTERFACE = "BridgeInterface"
    """It came in by the device ``pod_interface``, or by one that this has taken in."""
    INTERFACE_NAME_PREFIX = "InterfaceNamePrefix"
    """It came in by a device whose name, or whose bridge's name, begins with ``pod_interface``."""


PRIMARY = "primary"
"""The word in ``nodePortAddresses`` that stands for the node's first address of each family."""


@dataclass(frozen=True, slots=True)
class Options:
    """One node's settings. All nodes of a cluster need the same ``forwarding``: each does a half of DSR."""

    forwarding: Forwarding = Forwarding.SNAT
    masquerade_all: bool = False
    """Masquerade all traffic to ClusterIPs, also that of pods."""
    masquerade_local_pods: bool = True
    """Masquerade also what goes to pods of this node. It is redirected past netfilter's FORWARD chain then."""
    detect_local: DetectLocal = DetectLocal.CLUSTER_CIDR
    cluster_cidrs: tuple[str, ...] = ()
    """Prefixes of the cluster's pods, at most one per family."""
    pod_interface: str = ""
    """The bridge, or the prefix of device names, of the modes that ask for it."""
    node_port_addresses: tuple[str, ...] = ()
    """Where NodePorts hold: prefixes, or ``primary`` alone. Empty: ``primary``, as in nftables mode; prefixes of one
    family only: on every address of the other one."""
    localhost_node_ports: bool = True
    """NodePorts hold on loopback addresses, too, for processes of this node, where ``node_port_addresses`` allow it."""
    node_ips: tuple[bytes, ...] = ()
    """Addresses that stand in for the Node object's first one of their family (``bindAddress``)."""


DEFAULTS = Options()
"""What a node does that is told nothing."""
