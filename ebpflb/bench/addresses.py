"""Decides which address each part of the lab has; knows nothing of namespaces or devices.

    node and pod number, family -> addresses.py -> text for `ip`, manifests and clients

Numbers start at 1, as node names do. IPv4 follows the usual kubeadm choices, IPv6 mirrors it digit by digit.
"""

from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from ebpflb.core.abi import Family

CLIENT_NUMBER = 100
"""The outside client's host number in the underlay."""

FIRST_POD_NUMBER = 11


@dataclass(frozen=True, slots=True)
class AddressPlan:
    """The networks of one family."""

    underlay: str
    pods: str
    """Network that holds every node's pod network."""
    pod_network_step: int
    """Distance between the pod networks of two neighbouring nodes."""
    pod_prefix: int
    host_prefix: int
    services: str
    link_local_gateway: str
    """What a routed pod has as its gateway, as Calico's do. Of IPv4 no device carries it, the node answers for it."""
    tunnel_ends: str
    """Network of the next hops behind the overlay device; no device carries them, their neighbours are static."""


PLANS = {
    Family.IPV4: AddressPlan(
        underlay="192.168.100.0/24",
        pods="10.244.0.0/16",
        pod_network_step=1 << 8,
        pod_prefix=24,
        host_prefix=32,
        services="10.96.0.0/12",
        link_local_gateway="169.254.1.1",
        tunnel_ends="169.254.2.0/24",
    ),
    Family.IPV6: AddressPlan(
        underlay="fd00:192:168:100::/64",
        pods="fd00:10:244::/48",
        pod_network_step=1 << 64,
        pod_prefix=64,
        host_prefix=128,
        services="fd00:10:96::/112",
        link_local_gateway="fe80::169:254:1:1",
        tunnel_ends="fe80:0:0:0:169:254:2:0/112",
    ),
}


def family_of(address: str) -> Family:
    """Return the family of an address."""
    return Family(ip_address(address).version)


def join_port(address: str, port: int) -> str:
    """Return ``address:port``, with brackets around IPv6."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _host(network: str, number: int) -> str:
    return str(ip_network(network)[number])


def node_address(node: int, family: Family = Family.IPV4) -> str:
    """Return the underlay address of a node."""
    return _host(PLANS[family].underlay, node)


def client_address(family: Family = Family.IPV4) -> str:
    """Return the underlay address of the outside client."""
    return _host(PLANS[family].underlay, CLIENT_NUMBER)


def underlay_prefix(family: Family = Family.IPV4) -> int:
    """Return the prefix length of the underlay."""
    return ip_network(PLANS[family].underlay).prefixlen


def pod_network(node: int, family: Family = Family.IPV4) -> str:
    """Return the network that holds a node's pods."""
    plan = PLANS[family]
    start = ip_address(int(ip_network(plan.pods).network_address) + node * plan.pod_network_step)
    return f"{start}/{plan.pod_prefix}"


def bridge_address(node: int, family: Family = Family.IPV4) -> str:
    """Return the address of a node's pod bridge, which is its pods' gateway."""
    return _host(pod_network(node, family), 1)


def pod_address(node: int, pod: int, family: Family = Family.IPV4) -> str:
    """Return the address of the pod-th pod of a node."""
    return _host(pod_network(node, family), FIRST_POD_NUMBER + pod - 1)


def tunnel_end(node: int, family: Family = Family.IPV4) -> str:
    """Return the next hop by which other nodes reach a node's pods over the overlay."""
    return _host(PLANS[family].tunnel_ends, node)


def service_network(family: Family = Family.IPV4) -> str:
    """Return the network that ClusterIPs come from."""
    return PLANS[family].services
