"""Whose address a backend sees: kube-proxy's table of masquerade (docs/semantics.md), as one function of a call.

Call --seen_as--> the caller's own address, or that of the node that forwarded, on the device towards the backend
"""

from dataclasses import dataclass

from ebpflb.bench.addresses import bridge_address, node_address
from ebpflb.bench.plan import PodNetwork
from ebpflb.bench.topology import Place, Pod
from tests.netns.traffic.world import World

IN_CLUSTER = ("ClusterIP", "external IP", "balancer IP", "NodePort of node-1")
"""What any caller may dial, and node-1 serves."""
AT_THE_SOCKET = ("covered", "host", "hostNetwork")
"""Callers on node-1 whose sockets are covered: where the hooks there serve them, no address is ever hidden."""
PODS = ("covered", "uncovered")


@dataclass(frozen=True, slots=True)
class Call:
    """Who calls what; every pod of the cluster counts as a pod."""

    caller: str
    destination: str
    backend: Pod


def seen_as(world: World, call: Call) -> str:
    """Return the client address that the backend must see, where the external policy is Cluster."""
    if hides_client(call):
        return forwarding_address(world, serving_node(call), call.backend)
    if call.caller in {"host", "hostNetwork"} and is_served_at_socket(call):
        return forwarding_address(world, 1, call.backend)  # the node's own choice, made by its routes
    return world.address(world.place(call.caller))


def hides_client(call: Call) -> bool:
    """Whether the client's address is hidden: ClusterIPs hide it of who is no pod, the others of everybody."""
    if is_served_at_socket(call):
        return False
    return call.destination != "ClusterIP" or call.caller not in PODS


def is_served_at_socket(call: Call) -> bool:
    """Whether connect() or sendmsg() finds the backend: of NodePorts only those of the caller's own node."""
    return call.caller in AT_THE_SOCKET and serving_node(call) == 1


def serving_node(call: Call) -> int:
    """Return the number of the node that looks for the backend."""
    _, _, name = call.destination.partition("NodePort of node-")
    return int(name) if name else 1


def forwarding_address(world: World, node: int, backend: Place) -> str:
    """Return the address of a node on the device towards a backend."""
    is_here = isinstance(backend, Pod) and backend.node == node
    if is_here and world.lab.plan.pod_network is PodNetwork.BRIDGED:
        return bridge_address(node, world.family)
    return node_address(node, world.family)
