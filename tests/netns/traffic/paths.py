"""The names that the traffic tests have for what a caller dials.

Spec, "NodePort of node-2", "tcp", IPv4 -> "192.168.100.2:30001"
"""

from ebpflb.bench.addresses import join_port, node_address
from ebpflb.core.abi import Family
from tests.netns.services import FRONT_TCP_PORT, FRONT_UDP_PORT, Spec

LOOPBACK = {Family.IPV4: "127.0.0.1", Family.IPV6: "::1"}
NO_ADDRESS = {Family.IPV4: "0.0.0.0", Family.IPV6: "::"}
"""To connect() that is one's own loopback."""
SECOND_NODE_ADDRESS = {Family.IPV4: "172.30.0.1", Family.IPV6: "fd00:172:30::1"}
"""Of node-1, on a device that is no uplink."""


def target(spec: Spec, destination: str, kind: str, family: Family) -> str:
    """Return address:port of one of a Service's frontends."""
    addresses = {
        "ClusterIP": spec.cluster_ip(family),
        "external IP": spec.external_ip(family),
        "balancer IP": spec.balancer_ip(family),
    }
    if destination in addresses:
        return join_port(addresses[destination], FRONT_TCP_PORT if kind == "tcp" else FRONT_UDP_PORT)
    node = {
        "NodePort of loopback": LOOPBACK[family],
        "NodePort of no address": NO_ADDRESS[family],
        "NodePort of node-1's other address": SECOND_NODE_ADDRESS[family],
        **{f"NodePort of node-{number}": node_address(number, family) for number in (1, 2, 3)},
    }[destination]
    return join_port(node, spec.node_port(kind))
