"""The names that the traffic tests have for what a caller dials.

Spec, "NodePort of node-2", "tcp" -> "192.168.100.2:30001"
"""

from tests.netns.services import FRONT_TCP_PORT, FRONT_UDP_PORT, Spec
from tests.netns.traffic.world import SECOND_NODE_ADDRESS

NODES = {"node-1": "192.168.100.1", "node-2": "192.168.100.2", "node-3": "192.168.100.3"}


def target(spec: Spec, destination: str, kind: str) -> str:
    """Return address:port of one of a Service's frontends."""
    addresses = {"ClusterIP": spec.cluster_ip, "external IP": spec.external_ip, "balancer IP": spec.balancer_ip}
    if destination in addresses:
        return f"{addresses[destination]}:{FRONT_TCP_PORT if kind == 'tcp' else FRONT_UDP_PORT}"
    node = {
        "NodePort of loopback": "127.0.0.1",
        "NodePort of no address": "0.0.0.0",  # to connect() that is one's own loopback
        "NodePort of node-1's other address": SECOND_NODE_ADDRESS,
        **{f"NodePort of {name}": address for name, address in NODES.items()},
    }[destination]
    return f"{node}:{spec.node_port(kind)}"
