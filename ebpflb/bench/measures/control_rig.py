"""The node whose agent P10 to P12 measure, and one run of that agent over a cluster, real or the bench's own.

Decides when a change has landed and what is read off the agent. Knows no figure.

    Source (an API server, its Services) --Rig.run--> OurTimes: start, changes, memory
"""

import random
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from ebpflb.bench.agent_run import AgentInstance, AgentRun
from ebpflb.bench.apiserver_objects import Scale
from ebpflb.bench.landing import Landing
from ebpflb.bench.measure import Progress, RefusedError
from ebpflb.bench.measures.control_results import OurTimes
from ebpflb.bench.plan import DUAL_STACK
from ebpflb.bench.topology import Lab

_PAUSE_SECONDS: Final = 0.02
"""Between two changes: each shall come alone."""
_FEWEST_CHANGES: Final = 10
_SEED: Final = 5


class Source(Protocol):
    """An API server with Services whose endpoints can be changed."""

    @property
    def scale(self) -> Scale:
        """How many Services, of how many endpoints."""

    def service(self, number: int) -> tuple[str, int]:
        """Return the ClusterIP and the port of a Service."""

    def addresses(self, number: int) -> tuple[str, ...]:
        """Return the addresses of a Service's endpoints as they are after all that was ordered."""

    def order_change(self, service: int) -> int:
        """Have the first endpoint of a Service exchanged, now; return the number of the order."""

    def written_ns(self, order: int) -> int:
        """Return when a change began, by CLOCK_MONOTONIC."""


@dataclass(frozen=True, slots=True)
class Changing:
    """How many changes are made one by one."""

    most: int = 0
    seconds: float = 60.0
    """No further change begins after so long, if ten have been made."""


@dataclass(frozen=True, slots=True)
class Rig:
    """One node whose agent is run again and again: its programs stay, its maps are emptied in between."""

    lab: Lab
    folder: Path
    node_name: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    flags: tuple[str, ...] = ()

    def instance(self, *source: str) -> AgentInstance:
        """Return the node's agent, told of a source; without one, it has an empty folder of manifests."""
        told = source or ("--manifests", str(self.folder / "empty"))
        node, state = self.lab.node(1), self.folder / "state"
        return AgentInstance(node, self.lab.id, told, state, self.node_name, self.environment, self.flags)

    def run(self, source: Source, kubeconfig: Path, progress: Progress, changing: Changing) -> tuple[OurTimes, str]:
        """Run the agent once, have its cluster changed; return its times, and the line in which it said it was ready.

        Raises ``RefusedError`` when it was not.
        """
        scale = source.scale
        progress(f"ebpflb, {scale.services:,} Services x {scale.endpoints}")
        agent = self.instance("--kubeconfig", str(kubeconfig)).start()
        try:
            whole_s = agent.seconds_to_ready()
            with Landing(self.instance().pins) as landing:
                _check(landing, source)
                changes_s = tuple(_changes(source, landing, changing))
            return OurTimes(scale, whole_s, changes_s, agent.peak_bytes()), _ready_line(agent)
        finally:
            agent.stop()

    def empty(self) -> None:
        """Take everything out of the maps, by an agent without a cluster."""
        agent = self.instance().start()
        try:
            agent.seconds_to_ready()
        finally:
            agent.stop()


@contextmanager
def opened_rig(flags: tuple[str, ...] = ()) -> Iterator[Rig]:
    """Yield a node with an uplink and a pod, its agent told ``flags``; every trace of that is removed."""
    with (
        tempfile.TemporaryDirectory(prefix="ebpflb-bench-") as folder,
        Lab("control", nodes=1, pods_per_node=1, families=DUAL_STACK) as lab,
    ):
        (Path(folder) / "empty").mkdir()
        rig = Rig(lab, Path(folder), flags=flags)
        try:
            yield rig
        finally:
            rig.instance().cleanup()


def _ready_line(agent: AgentRun) -> str:
    return next(line for line in agent.running.lines() if "event=ready " in line)


def _check(landing: Landing, source: Source) -> None:
    """Refuse an agent that says it is ready and is not: the last Service must be served, by all its endpoints."""
    last = source.scale.services - 1
    if not landing.has_addresses(source.service(last), source.addresses(last)):
        raise RefusedError("the agent said that it was ready before the last Service was in the maps")


def _changes(source: Source, landing: Landing, changing: Changing) -> Iterator[float]:
    """Change one endpoint of some Services, one after the other; yield the seconds from event to map of each."""
    rng, services = random.Random(_SEED), source.scale.services  # noqa: S311 - the same in each run
    end = time.monotonic() + changing.seconds
    for made in range(changing.most):
        if made >= _FEWEST_CHANGES and time.monotonic() > end:
            return
        number = rng.randrange(services)
        order = source.order_change(number)
        landed_ns = landing.await_addresses(source.service(number), source.addresses(number))
        yield (landed_ns - source.written_ns(order)) / 1e9
        time.sleep(_PAUSE_SECONDS)
