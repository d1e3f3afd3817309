"""A world for the rules of single packets: one agent, on node-1, with whatever flags a module wants.

node-2 is a node like any other but has no agent: what its pods send to a Service comes to node-1, as from a router.

world_on(bridged, served=[1]) -> world_of_rules() -> World, whose ``configure`` changes flags
"""

from collections.abc import Iterator
from contextlib import contextmanager

from ebpflb.bench.addresses import node_address, service_network
from ebpflb.bench.control import start_server
from ebpflb.bench.plan import DUAL_STACK, PodNetwork
from tests.netns.services import BALANCER_NETWORKS, EXTERNAL_NETWORKS
from tests.netns.traffic.world import World, world_on

MOVED_UDP_PORT = 5355
"""Served by the backends too, under another name: who answers there says ``moved``."""
AT_ONCE = 0.9
"""Seconds: less than TCP takes to try again."""
SILENCE = 0.3
"""Whoever is to hear nothing waits for so long: answers take milliseconds here. Not for whoever is to be answered."""


@contextmanager
def world_of_rules() -> Iterator[World]:
    """Build it; nothing remains after."""
    with world_on(PodNetwork.BRIDGED, name="rules", pods_per_node=(3, 2), served=[1]) as world:
        for family in DUAL_STACK:
            for network in (service_network(family), EXTERNAL_NETWORKS[family], BALANCER_NETWORKS[family]):
                world.lab.node(2).run(["ip", "route", "add", network, "via", node_address(1, family)])
        for pod in (world.local, *world.remote):
            start_server(pod, tcp=[], udp=[MOVED_UDP_PORT], name=moved(pod.name))
        yield world


def moved(name: str) -> str:
    """Return the name under which a backend answers at its other port."""
    return f"{name} moved"
