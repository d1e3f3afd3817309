"""A world of both families, with a client behind a router whose way out is narrow: for what depends on sizes.

Lab, router, Services, Agents -> Wide -> addresses by name, counters of a node, sockets inside its namespaces

    far ==1400== router ---- switch: node-1 (pod-1 covered, pod-2 uncovered, pod-3 local backend), client
                                     node-2 (pod-1 remote backend)
"""

import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ebpflb.bench.addresses import node_address, pod_network
from ebpflb.bench.agents import BPFFS, Agents
from ebpflb.bench.control import start_server
from ebpflb.bench.namespaces import write_sysctls
from ebpflb.bench.plan import DUAL_STACK, Underlay
from ebpflb.bench.topology import Lab, Node, Place
from ebpflb.core.abi import Counter, Family
from ebpflb.datapath.pins import Pins
from ebpflb.datapath.store import open_map
from tests.kube.store import Object
from tests.netns.life_helpers import write_objects
from tests.netns.traffic.offers import TCP_TARGET, UDP_PORT, UDP_TARGET, Offer
from tests.netns.traffic.router import add_router
from tests.netns.traffic.sizes import MTU
from tests.netns.traffic.world import DETECTOR

ECHO = "tests.netns.traffic.echo"
CLOSED_PORT = 5999
"""Nobody listens there."""
UNLIMITED_ERRORS = [("net/ipv4/icmp_ratelimit", "0"), ("net/ipv6/icmp/ratelimit", "0")]
"""To one destination a stack sends six of ICMP in a row, then one a second: tests ask for more."""


@dataclass
class Wide:
    """Everything that such a test acts on."""

    lab: Lab
    agents: Agents
    offers: dict[str, Offer]
    """By name: where the backend is (``local``, ``remote``, ``self``), with ``dsr-`` before those answered directly."""
    router: Place
    far: Place

    def place(self, name: str) -> Place:
        """Return where a caller of this name sits."""
        node = self.lab.node(1)
        return {
            "outside": self.lab.client,
            "far": self.far,
            "covered": node.pod(1),
            "uncovered": node.pod(2),
            "host": node,
        }[name]

    def dialled(self, offer: str, kind: str, family: Family, port: int = UDP_PORT) -> tuple[str, int]:
        """Return address and port of a frontend; a NodePort is node-1's."""
        found = self.offers[offer]
        if kind == "NodePort":
            return node_address(1, family), found.node_port(port)
        return found.address(kind, family), port

    def counters(self, node: int, family: Family) -> dict[Counter, int]:
        """Return a node's counters of a family, summed over CPUs."""
        with open_map(Pins(BPFFS, self.agents[node].instance), family, "counters") as opened:
            keys, values = opened.read()
        return {Counter(key): int(value.sum()) for key, value in zip(keys.tolist(), values, strict=True)}

    def forget_paths(self, *places: Place) -> None:
        """Let places, or all, forget the path MTUs that they have learned."""
        for place in places or (*self.lab.nodes, *self.lab.pods, self.lab.client, self.far, self.router):
            for version in ("-4", "-6"):
                place.run(["ip", version, "route", "flush", "cache"])


@contextmanager
def wide_world(name: str, underlay: Underlay, flags: Sequence[str] = ()) -> Iterator[Wide]:
    """Build it all; nothing remains after."""
    with ExitStack() as stack:
        lab = stack.enter_context(
            Lab(
                name,
                nodes=2,
                pods_per_node=(3, 1),
                mtu=MTU,
                route_services=True,
                uncovered=[(1, 2)],
                families=DUAL_STACK,
                underlay=underlay,
            )
        )
        router, far = add_router(lab)
        for place in (*lab.nodes, *lab.pods, lab.client):
            write_sysctls(place.netns, UNLIMITED_ERRORS)
        for pod in lab.pods:
            start_server(pod, tcp=[TCP_TARGET])
        for place in (*lab.pods, lab.node(1)):
            _start_echo(place)
        for family in DUAL_STACK:
            # For what is sent past all Services.
            lab.client.run(["ip", "route", "add", pod_network(1, family), "via", node_address(1, family)])
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ebpflb-wide-")))
        manifests = folder / "manifests"
        manifests.mkdir()
        offers = _offers(lab)
        write_objects(manifests, nodes=[_node(node) for node in lab.nodes])
        for offer in offers.values():
            write_objects(manifests, **{offer.name: list(offer.objects())})
        agents = stack.enter_context(Agents(lab, manifests, folder / "state", (*DETECTOR, *flags)))
        yield Wide(lab, agents, offers, router, far)


def _offers(lab: Lab) -> dict[str, Offer]:
    local, remote, own = lab.pod(1, 3), lab.pod(2, 1), lab.pod(1, 2)
    offers = [
        Offer("local", 1, local),
        Offer("remote", 2, remote),
        Offer("self", 3, own),
        Offer("dsr-local", 4, local, "dsr"),
        Offer("dsr-remote", 5, remote, "dsr"),
        Offer("nobody", 6),
        Offer("closed-local", 7, local, udp_target=CLOSED_PORT),
        Offer("closed-remote", 8, remote, udp_target=CLOSED_PORT),
        Offer("closed-dsr", 9, remote, "dsr", udp_target=CLOSED_PORT),
        Offer("snat-remote", 10, remote, "snat"),
    ]
    return {offer.name: offer for offer in offers}


def _node(node: Node) -> Object:
    addresses = [{"type": "InternalIP", "address": address} for address in node.addresses]
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": node.name},
        "status": {"addresses": addresses},
    }


def _start_echo(place: Place) -> None:
    echo = place.popen([sys.executable, "-m", ECHO, str(UDP_TARGET)])
    echo.wait_for_line(lambda line: line == "ready")
