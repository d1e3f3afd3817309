"""The rig for socket and stack measures: every mode on a lab of its own, so that all stand at once and take turns.

Decides who runs where, and that a run counts only if its checks hold. Knows no figure and no mode's inside.

    Rig --stand(kind)--> Stand --load(services)--> run(command, count) --checks--> Timing

A stand has a client pod on node-1, and two backend pods there or on node-2. Client, nodes and backends run on one CPU:
a packet is carried where it is sent, and nobody is woken elsewhere.
"""

import os
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from ebpflb.bench.generator.driver import HOLD, TALK, Loader, Served, Timing, start_load, start_server
from ebpflb.bench.generator.tools import Tools, compile_tools
from ebpflb.bench.modes import Kind, Mode
from ebpflb.bench.modes_ours import Socket
from ebpflb.bench.rig_checks import check_arrivals
from ebpflb.bench.rig_reset import forget
from ebpflb.bench.rig_services import make_services
from ebpflb.bench.rulesets import PeerService
from ebpflb.bench.topology import Lab, Place, Pod
from ebpflb.core.abi import Protocol

FIRST_PORT: Final = 7000
DIALLED: Final = 10
"""Services that a client uses, however many there are."""
_WARM_UP: Final = 200
_ARRIVAL_SECONDS: Final = 10.0
_COUNTED: Final = {"connect": HOLD, "request": TALK}
"""Commands that make a connection an operation, and the port at which they arrive."""


class Stand:
    """One mode, its lab, its load generator and its backends. A context manager."""

    def __init__(
        self,
        kind: Kind,
        tools: Tools,
        cpu: int,
        *,
        is_remote: bool = False,
        port: int = HOLD,
        protocol: Protocol = Protocol.TCP,
    ) -> None:
        """``is_remote``: the backends are on node-2. ``port``: of the backends, as the driver counts."""
        self.kind = kind
        self._protocol = protocol
        self._tools, self._cpu, self._port = tools, cpu, FIRST_PORT + port
        self._undo = ExitStack()
        self._lab = Lab("bench", nodes=2, pods_per_node=(1, 2) if is_remote else (3, 0))
        self._backends: tuple[Pod, ...] = self._lab.pods[1:]
        self._services_now: list[PeerService] = []
        self.served: list[Served] = []
        """What each backend saw of the last run."""

    def __enter__(self) -> Self:
        """Make everything; no Service is served yet."""
        with ExitStack() as undo:
            undo.enter_context(self._lab)
            folder = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="ebpflb-bench-")))
            self._servers = [start_server(pod, self._tools, self._cpu, FIRST_PORT) for pod in self._backends]
            self._mode: Mode = undo.enter_context(self.kind.open(self._lab, folder))
            self.client = start_load(self._lab.pod(1, 1), self._tools, self._cpu)
            self._bare, _cgroup = self.client_outside("bare")
            self._undo = undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Remove everything."""
        self._undo.close()

    def client_outside(self, name: str) -> tuple[Loader, Path]:
        """Start a load generator in the client's pod, in a cgroup that no agent serves; it dials the backends."""
        pod = self._lab.pod(1, 1)
        cgroup = self._lab.cgroup / "outside" / name
        cgroup.mkdir(parents=True)
        loader = start_load(Place(name, pod.addresses, pod.netns, cgroup, pod.started), self._tools, self._cpu)
        loader.dial([f"{each.address}:{self._port}" for each in self._backends])
        return loader, cgroup

    def load(self, count: int, *, is_fast: bool = False) -> None:
        """Serve so many Services, and dial some of them from now on; ``is_fast``: past the agent."""
        services = self._services(count)
        if is_fast and isinstance(self._mode, Socket):
            self._mode.fill(count)
        else:
            self._mode.load(services)
        self._services_now = services
        self.dial(DIALLED)

    def dial(self, most: int) -> None:
        """From now on, dial so many of the Services, taken from all over."""
        self.client.dial(self.kind.targets(self._services_now, most))
        self.reset()

    def reset(self) -> None:
        """Forget connections and neighbours, then warm up: caches, neighbours, the servers' queues."""
        forget(place.netns for place in (*self._lab.nodes, *self._lab.pods))
        command = "request" if self._port == FIRST_PORT + TALK else "connect"
        if self._protocol is Protocol.UDP:
            command = "udp"
        loaders = (self.client, self._bare)
        for loader in loaders:
            loader.run(command, _WARM_UP)
        self._drain(len(loaders) * _WARM_UP if command in _COUNTED else 0)

    def run(self, command: str, count: int, *, is_bare: bool = False) -> Timing:
        """Run a command of the load generator. Raises ``RefusedError`` if it did not reach all backends alike.

        ``is_bare``: from the same pod but outside of the node's cgroup, to the backends themselves: what connect()
        costs on this very path without socket hooks.
        """
        timing = (self._bare if is_bare else self.client).run(command, count)
        self.served = self._drain(count if command in _COUNTED else 0)
        if command in _COUNTED:
            arrived = [each.held + each.connections for each in self.served]
            check_arrivals(f"{self.kind.name}{' (bare)' if is_bare else ''}", count, arrived)
        return timing

    def _drain(self, made: int) -> list[Served]:
        """Take what has arrived; of connections that were made, the last may still be under way."""
        served = [server.drain() for server in self._servers]
        deadline = time.monotonic() + _ARRIVAL_SECONDS
        while sum(each.held + each.connections for each in served) < made and time.monotonic() < deadline:
            more = [server.drain() for server in self._servers]
            served = [Served(*map(sum, zip(*both, strict=True))) for both in zip(served, more, strict=True)]
        return served

    def _services(self, count: int) -> list[PeerService]:
        endpoints = [(pod.address, self._port) for pod in self._backends]
        return make_services(count, endpoints, self._protocol.name.lower())


class Rig:
    """Makes stands, and removes all of them at its end. A context manager."""

    def __init__(self) -> None:
        self.cpu = max(os.sched_getaffinity(0))
        """The one on which everything runs: the first one has the machine's interrupts."""
        self._undo = ExitStack()

    def __enter__(self) -> Self:
        """Compile the load generator. Raises ``PrerequisiteError`` where that cannot be done."""
        folder = Path(self._undo.enter_context(tempfile.TemporaryDirectory(prefix="ebpflb-bench-")))
        try:
            self._tools = compile_tools(folder)
        except BaseException:
            self._undo.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Remove every stand."""
        self._undo.close()

    def stand(
        self, kind: Kind, *, is_remote: bool = False, port: int = HOLD, protocol: Protocol = Protocol.TCP
    ) -> Stand:
        """Make a stand, which stays until the rig's end."""
        stand = Stand(kind, self._tools, self.cpu, is_remote=is_remote, port=port, protocol=protocol)
        return self._undo.enter_context(stand)

    def stands(self, kinds: Sequence[Kind], *, is_remote: bool = False, port: int = HOLD) -> dict[str, Stand]:
        """Make a stand of each kind, by name."""
        return {kind.name: self.stand(kind, is_remote=is_remote, port=port) for kind in kinds}


__all__ = ["HOLD", "TALK", "Rig", "Stand"]
