"""Builds and removes the lab: namespaces as nodes, pods and an outside client. Knows nothing of Services or BPF.

    LabPlan -> (wiring.py) lines -> (namespaces.py, cgroups.py) kernel -> Lab, Node, Pod, Place

The cgroup tree tells the socket hooks apart from the packet hooks: processes of covered pods live below their node's
cgroup, where the agent attaches; those of the others live beside it.

    <cgroup v2 mount>/<lab>/node-1/pod-1        covered
    <cgroup v2 mount>/<lab>/outside/node-1-pod-2, <lab>/outside/client
"""

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from ebpflb.bench import cgroups
from ebpflb.bench.addresses import client_address, family_of, node_address, pod_address
from ebpflb.bench.namespaces import entered, list_namespaces, run_bridge, run_ip, write_sysctls
from ebpflb.bench.overlay import forwarding_batch
from ebpflb.bench.plan import IPV4_ONLY, LabPlan, PodNetwork, Underlay, pod_device, pods_of_each
from ebpflb.bench.process import Running
from ebpflb.bench.signals import SignalsAsExceptions, shielded
from ebpflb.bench.wiring import (
    EARLY_SYSCTLS,
    HOST_SYSCTLS,
    client_batch,
    node_batch,
    node_sysctls,
    pod_batch,
    switch_batch,
)
from ebpflb.core.abi import Family
from ebpflb.errors import EbpflbError, PrerequisiteError

COMMAND_SECONDS = 120.0
LAB_PREFIX = "ebpflb-"
"""Of every lab's namespaces, cgroups and instances: what a lab left is told by name from what is another's."""
_lab_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Place:
    """Where processes run: a namespace with an address of each family of the lab, and a cgroup."""

    name: str
    addresses: tuple[str, ...]
    """One a family, in the lab's order."""
    netns: str
    cgroup: Path
    started: list[Running] = field(compare=False, repr=False)
    """What ``popen`` started at any place of the lab: the lab's own list."""

    @property
    def families(self) -> tuple[Family, ...]:
        """The lab's families."""
        return tuple(family_of(address) for address in self.addresses)

    @property
    def address(self) -> str:
        """The address of the lab's first family."""
        return self.addresses[0]

    def address_of(self, family: Family) -> str:
        """Return the address of a family."""
        found = [address for address in self.addresses if family_of(address) is family]
        if not found:
            raise EbpflbError(
                f"lab: {self.name} has no {family.name} address", remedy="give the lab this one of `families`, too"
            )
        return found[0]

    def run(
        self, command: Sequence[str], *, seconds: float = COMMAND_SECONDS, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a command here to its end and return what it printed; with ``check``, a failure is an error."""
        argv = entered(self.netns, self.cgroup, command)
        done = subprocess.run(argv, capture_output=True, text=True, timeout=seconds, check=False)
        if check and done.returncode != 0:
            said = (done.stderr or done.stdout).strip()
            raise EbpflbError(f"lab: `{' '.join(command)}` on {self.name} exited with {done.returncode}: {said}")
        return done

    def popen(self, command: Sequence[str]) -> Running:
        """Start a command here and leave it running."""
        running = Running(f"{Path(command[0]).name} on {self.name}", entered(self.netns, self.cgroup, command))
        self.started.append(running)
        return running

    def run_module(self, module: str, arguments: Iterable[str], *, seconds: float = COMMAND_SECONDS) -> str:
        """Run ``python -m module`` here with this interpreter and return its stdout."""
        return self.run([sys.executable, "-m", module, *arguments], seconds=seconds).stdout

    def popen_module(self, module: str, arguments: Iterable[str]) -> Running:
        """Start ``python -m module`` here."""
        return self.popen([sys.executable, "-m", module, *arguments])


@dataclass(frozen=True, slots=True)
class Pod(Place):
    """A pod: its address is its own, its device is the host side of its veth, in its node's namespace."""

    node: int
    number: int
    device: str
    covered: bool
    """Whether its processes live below the node's cgroup, so that the socket hooks see them."""


@dataclass(frozen=True, slots=True)
class Node(Place):
    """A node: host processes run in its own cgroup, pods in the children."""

    number: int
    uplinks: tuple[str, ...]
    """Devices towards other nodes and the outside; the first is the cable."""
    pods: tuple[Pod, ...]

    @property
    def uplink(self) -> str:
        """The device of the cable."""
        return self.uplinks[0]

    def pod(self, number: int) -> Pod:
        """Return a pod by its number, from 1."""
        return self.pods[number - 1]


class Lab:
    """Context manager: the lab stands inside the block, and nothing of it remains after, however the block ends."""

    def __init__(
        self,
        name_prefix: str = "lab",
        *,
        nodes: int = 3,
        pods_per_node: int | Sequence[int] = 2,
        pod_network: PodNetwork | str = PodNetwork.ROUTED,
        mtu: int = 1500,
        route_services: bool = False,
        uncovered: Iterable[tuple[int, int]] = (),
        families: Iterable[Family] = IPV4_ONLY,
        underlay: Underlay | str = Underlay.ROUTED,
    ) -> None:
        """``uncovered``: (node, pod) numbers of pods whose processes stay outside the node's cgroup.

        ``families``: every place has an address of each, and ``address`` is that of the first.
        """
        counts = pods_of_each(nodes, pods_per_node)
        self.plan = LabPlan(counts, PodNetwork(pod_network), mtu, route_services, tuple(families), Underlay(underlay))
        self.id = f"{LAB_PREFIX}{name_prefix}-{os.getpid()}-{next(_lab_numbers)}"
        self.cgroup = cgroups.find_mount() / self.id
        self._uncovered = frozenset(uncovered)
        self._signals = SignalsAsExceptions(signal.SIGTERM)
        self._undo = ExitStack()
        self._started: list[Running] = []
        self.nodes = tuple(self._node(number) for number in self.plan.node_numbers)
        outside = self.cgroup / "outside" / "client"
        self.client = Place("client", self._each_family(client_address), self._netns("client"), outside, self._started)

    def node(self, number: int) -> Node:
        """Return a node by its number, from 1."""
        return self.nodes[number - 1]

    def pod(self, node: int, pod: int) -> Pod:
        """Return a pod by its node's number and its own, both from 1."""
        return self.node(node).pod(pod)

    @property
    def pods(self) -> tuple[Pod, ...]:
        """Every pod, node by node."""
        return tuple(pod for node in self.nodes for pod in node.pods)

    def __enter__(self) -> Self:
        """Build everything, or nothing."""
        if os.geteuid() != 0:
            raise PrerequisiteError("the lab needs root: it makes network namespaces", remedy="run it with sudo")
        with ExitStack() as undo:
            undo.enter_context(self._signals)
            undo.callback(self._remove)
            self._build()
            self._undo = undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Remove everything."""
        self._undo.close()

    def _netns(self, name: str) -> str:
        return f"{self.id}-{name}"

    def _each_family(self, address_of: Callable[[Family], str]) -> tuple[str, ...]:
        return tuple(address_of(family) for family in self.plan.families)

    def _node(self, number: int) -> Node:
        name = f"node-{number}"
        cgroup = self.cgroup / name
        addresses = self._each_family(partial(node_address, number))
        pods = tuple(self._pod(number, pod) for pod in self.plan.pod_numbers(number))
        return Node(name, addresses, self._netns(name), cgroup, self._started, number, self.plan.uplinks, pods)

    def _pod(self, node: int, number: int) -> Pod:
        name = f"node-{node}-pod-{number}"
        covered = (node, number) not in self._uncovered
        cgroup = self.cgroup / f"node-{node}" / f"pod-{number}" if covered else self.cgroup / "outside" / name
        netns = self._netns(name)
        addresses = self._each_family(partial(pod_address, node, number))
        device = pod_device(number)
        return Pod(name, addresses, netns, cgroup, self._started, node, number, device, covered)

    def _build(self) -> None:
        places: list[Place] = [*self.nodes, *self.pods, self.client]
        for place in places:
            place.cgroup.mkdir(parents=True)
        switch = self._netns("switch")
        run_ip([f"netns add {name}" for name in (switch, *(place.netns for place in places))])
        for namespace in (switch, *(place.netns for place in places)):
            write_sysctls(namespace, EARLY_SYSCTLS)
        write_sysctls(switch, HOST_SYSCTLS)
        neighbours = {place.name: place.netns for place in (*self.nodes, self.client)}
        run_ip(switch_batch(self.plan, neighbours), switch)
        for place in (*self.pods, self.client):
            write_sysctls(place.netns, HOST_SYSCTLS)
        run_ip(client_batch(self.plan), self.client.netns)
        for node in self.nodes:
            run_ip(node_batch(self.plan, node.number, {pod.number: pod.netns for pod in node.pods}), node.netns)
            if self.plan.underlay is Underlay.VXLAN:
                run_bridge(forwarding_batch(self.plan, node.number), node.netns)
            write_sysctls(node.netns, node_sysctls(self.plan, node.number))
            for pod in node.pods:
                run_ip(pod_batch(self.plan, pod.node, pod.number), pod.netns)

    def _remove(self) -> None:
        # By name, not by memory: whatever a half-way failure or a signal left is found too.
        with shielded(signal.SIGINT, signal.SIGTERM):
            cgroups.remove_tree(self.cgroup)
            for running in self._started:
                running.wait(COMMAND_SECONDS)
            run_ip([f"netns del {name}" for name in list_namespaces(f"{self.id}-")])
