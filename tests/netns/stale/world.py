"""A node with an agent and its clients, and another one whose pods go, one after the other.

with stale_world(folder) as world: world.write(victim); readers...; world.write(), world.delete()

The Service has TCP and UDP on one port, as DNS does, and an address of each family.
"""

import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from ebpflb.bench.control import start_server
from ebpflb.bench.namespaces import run_ip
from ebpflb.bench.plan import DUAL_STACK
from ebpflb.bench.process import Running
from ebpflb.bench.topology import Lab, Node, Place, Pod
from ebpflb.cli.pinned import read_tables
from ebpflb.core.abi import BackendState, Family
from ebpflb.core.model import format_address
from tests.kube.objects import make_service, make_slice
from tests.kube.store import Object
from tests.netns.life_helpers import NAMESPACE, LifeAgent, write_objects

CLUSTER_IPS = {Family.IPV4: "10.96.0.53", Family.IPV6: "fd00:10:96::53"}
SERVICE = "dns"
PORT = 53
TARGET_PORT = 5353
KINDS = ("tcp", "udp")
VICTIMS = 6

Conditions = Mapping[str, bool]
READY: Conditions = {"ready": True, "serving": True, "terminating": False}
TERMINATING: Conditions = {"ready": False, "serving": True, "terminating": True}
UNREADY: Conditions = {"ready": False, "serving": False, "terminating": False}
"""Of a pod that fails its readiness probe."""

_SOCKETS_ONLY = """
from dataclasses import replace
import ebpflb.agent.run as agent
import ebpflb.agent.sweeping as sweeping
from ebpflb.datapath.build import build_programs
from ebpflb.datapath.programs import PROGRAMS, SOCKET_PROGRAMS

def build_sockets(spec, *, later):  # it has nothing to leave for later
    build = build_programs(spec, SOCKET_PROGRAMS)
    return replace(build, pins={each.stem: spec.progs / each.stem for each in PROGRAMS} | dict(build.pins))

agent.build_programs = build_sockets
sweeping.PERIOD_S = 3600.0
from ebpflb.cli import main
main()
"""
"""An agent that compiles no packet programs, which takes longest: it has no devices for them. What it sweeps, it was
told of: it would look by itself in an hour only."""


@dataclass
class StaleWorld:
    """One lab, one agent on node 1, and the pods of node 2."""

    lab: Lab
    agent: LifeAgent
    manifests: Path
    _next: int = 0

    @property
    def node(self) -> Node:
        """Where the clients and the agent are."""
        return self.lab.node(1)

    def victim(self) -> Pod:
        """Return a pod of the other node that no test has had."""
        self._next += 1
        return self.lab.pod(2, self._next)

    def write(self, *backends: Pod, terminating: Sequence[Pod] = (), unready: Sequence[Pod] = ()) -> float:
        """Give the Service these backends; return when."""
        conditions = dict.fromkeys(backends, READY) | dict.fromkeys(terminating, TERMINATING)
        conditions |= dict.fromkeys(unready, UNREADY)
        write_objects(self.manifests, dns=[service(), *slices(conditions)])
        return time.monotonic()

    def delete(self) -> None:
        """Delete the Service."""
        (self.manifests / "dns.yaml").unlink()

    def leads_to(self, *pods: Pod) -> bool:
        """Say whether new sockets of every kind get these backends and no others: frontends are written last."""
        wanted = {family: {pod.address_of(family) for pod in pods} for family in Family}
        return all(self._behind(family) == [wanted[family]] * len(KINDS) for family in Family)

    def draining(self) -> list[int]:
        """Return how many backends take no new sockets, in each family."""
        backends = [read_tables(self.agent.pins, family).backends.values() for family in Family]
        return [sum(each.state is BackendState.DRAINING for each in found) for found in backends]

    def _behind(self, family: Family) -> list[set[str]]:
        """Return where the Service's frontends lead."""
        tables = read_tables(self.agent.pins, family)
        dialled = ip_address(CLUSTER_IPS[family]).packed
        ranges = [each.cluster for key, each in tables.frontends.items() if (key.address, key.port) == (dialled, PORT)]
        # While the agent writes, a slot may be seen before its backend is.
        found = [[tables.backends.get(number) for number in tables.slots.get(span, ())] for span in ranges]
        return [{format_address(each.key.address) for each in backends if each} for backends in found]

    def reader(self, place: Place, kind: str, host: str, netns: Path | None = None) -> "Reader":
        """Start a process that has asked a backend and waits for more."""
        where = [] if netns is None else [str(netns)]
        return Reader(place.popen_module("tests.netns.stale.reader", [kind, host, str(PORT), *where]))


class Reader:
    """A process in a blocking recv()."""

    def __init__(self, running: Running) -> None:
        self._running = running

    def backend(self) -> str:
        """Return who answered."""
        return self._running.wait_for_line(lambda line: line.startswith("asked ")).split()[1]

    def ending(self, seconds: float) -> tuple[str, float]:
        """Wait until its recv() ends; return the error, and when it came."""
        _, error, when = self._running.wait_for_line(lambda line: line.startswith("ended "), seconds).split()
        return error, float(when)


def service() -> Object:
    """Return the Service; its ports are one number, of two protocols."""
    ports = [{"name": kind, "port": PORT, "targetPort": TARGET_PORT, "protocol": kind.upper()} for kind in KINDS]
    addresses = list(CLUSTER_IPS.values())
    families = {"clusterIPs": addresses, "ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": "RequireDualStack"}
    return make_service(SERVICE, NAMESPACE, clusterIP=addresses[0], ports=ports, **families)


def slices(conditions: Mapping[Pod, Conditions]) -> list[Object]:
    """Return an EndpointSlice of each family."""
    ports = [{"name": kind, "port": TARGET_PORT, "protocol": kind.upper()} for kind in KINDS]
    found = []
    for family in Family:
        endpoints = [
            {"addresses": [pod.address_of(family)], "nodeName": f"node-{pod.node}", "conditions": dict(each)}
            for pod, each in conditions.items()
        ]
        fields: dict[str, Any] = {"addressType": f"IPv{family.value}", "ports": ports, "endpoints": endpoints}
        found.append(make_slice(f"{SERVICE}-{family.value}", NAMESPACE, service=SERVICE, **fields))
    return found


def vanish(pod: Pod) -> None:
    """Take a pod's device away: it says nothing more, not even that it ends."""
    run_ip(["link del eth0"], pod.netns)


@contextmanager
def stale_world(manifests: Path) -> Iterator[StaleWorld]:
    """Stand up the lab and a ready agent without any Service."""
    with Lab("stale", nodes=2, pods_per_node=[1, VICTIMS], families=DUAL_STACK) as lab:
        for pod in lab.node(2).pods:
            start_server(pod, tcp=[TARGET_PORT], udp=[TARGET_PORT])
        with tempfile.TemporaryDirectory(prefix="ebpflb-state-") as state:
            node = lab.node(1)
            agent = LifeAgent(node, node.netns, Path(state), ("--manifests", str(manifests)))
            try:
                start(agent)
                yield StaleWorld(lab, agent, manifests)
            finally:
                try:
                    agent.cleanup()
                finally:
                    agent.pins.remove()  # also if its own cleanup fails


def start(agent: LifeAgent, *flags: str) -> None:
    """Start the agent, without devices, and wait until it is ready."""
    node = agent.node
    where = ["--node-name", node.name, "--cgroup", str(node.cgroup)]
    command = [sys.executable, "-c", _SOCKETS_ONLY, "run", *agent.source, *where, *agent.scope(), *flags]
    agent.running = node.popen(command)
    agent.wait_ready()
