"""Starts, kills, restarts and cleans up one agent per node of a lab; knows the command line, not what is behind it.

Lab, manifest folder -> Agents -> `ebpflb run` on each node -> ready -> kill, start, dump -> `ebpflb cleanup`
"""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from ebpflb.bench.process import Running
from ebpflb.bench.signals import shielded
from ebpflb.bench.topology import Lab, Node
from ebpflb.errors import EbpflbError

BPFFS = Path("/sys/fs/bpf")
READY = re.compile(r"(?<!not )\bready\b")
POD_DEVICES = "pod*"
"""The lab's: the host sides of all pods' veths."""
READY_SECONDS = 200.0
"""Three agents compile the programs of both families at once, on two cores that may be busy with other things."""


def ip_family(node: Node) -> str:
    """Return the agent's word for the families that a node has."""
    return f"ipv{node.families[0].value}" if len(node.families) == 1 else "dual"


class Agent:
    """The agent of one node: a process that comes and goes, and an instance that stays."""

    def __init__(
        self,
        lab: Lab,
        node: Node,
        manifests: Path,
        state: Path,
        flags: Sequence[str] = (),
        *,
        pod_devices: str = POD_DEVICES,
    ) -> None:
        """``pod_devices``: patterns; empty: the packet hooks leave pods alone, as by default."""
        self.node = node
        self.instance = f"{lab.id}-{node.name}"
        self._manifests = manifests
        self._state = state
        self._flags = tuple(flags)
        self._pod_devices = pod_devices
        self._running: Running | None = None

    @property
    def running(self) -> Running:
        """The process; an agent that was never started has none."""
        if self._running is None:
            raise EbpflbError(f"lab: the agent of {self.node.name} was not started", remedy="call start() first")
        return self._running

    @property
    def flags(self) -> tuple[str, ...]:
        """What it is told beyond what the lab decides."""
        return self._flags

    def start(self) -> None:
        """Start the process; ``wait_ready`` says when it has programmed the node."""
        arguments = ["run", "--manifests", str(self._manifests), "--node-name", self.node.name]
        arguments += ["--uplink-devices", ",".join(self.node.uplinks)]
        arguments += ["--pod-devices", self._pod_devices] if self._pod_devices else []
        arguments += ["--cgroup", str(self.node.cgroup), "--ip-family", ip_family(self.node)]
        arguments += [*self._scope(), *self._state_flags(), *self._flags]
        self._running = self.node.popen_module("ebpflb", arguments)

    def wait_ready(self, seconds: float = READY_SECONDS) -> None:
        """Wait for the line in which the agent says that its first snapshot is in the maps."""
        self.running.wait_for_line(lambda line: READY.search(line) is not None, seconds)

    def kill(self) -> None:
        """SIGKILL, by pid."""
        self.running.kill()

    def stop(self) -> int:
        """SIGTERM, and wait; return the exit code."""
        return self.running.stop()

    def restart(self, *flags: str) -> None:
        """Stop it, and start it with other flags; traffic goes on meanwhile."""
        self.stop()
        self._flags = flags
        self.start()
        self.wait_ready()

    def command(self, verb: str, *arguments: str) -> str:
        """Run ``ebpflb VERB`` for this instance on its node and return what it printed."""
        return self.node.run([sys.executable, "-m", "ebpflb", verb, *self._scope(), *arguments]).stdout

    def cleanup(self) -> None:
        """End the process and remove every trace of the instance."""
        if self._running is not None:
            self._running.stop()
            self.command("cleanup", *self._state_flags())

    def _scope(self) -> list[str]:
        return ["--bpffs", str(BPFFS), "--instance", self.instance]

    def _state_flags(self) -> list[str]:
        return ["--state-dir", str(self._state)]


class Agents:
    """Context manager: one ready agent per node over one manifest folder; cleaned up after the block.

    Locks and status files go to ``state``, which is its owner's to remove, as the manifests are.
    """

    def __init__(
        self,
        lab: Lab,
        manifests: Path,
        state: Path,
        flags: Sequence[str] = (),
        *,
        nodes: Sequence[Node] = (),
        pod_devices: str = POD_DEVICES,
    ) -> None:
        """``nodes``: those that have an agent; empty: all. ``pod_devices``: as for one agent."""
        self._agents = [
            Agent(lab, node, manifests, state, flags, pod_devices=pod_devices) for node in nodes or lab.nodes
        ]

    def __iter__(self) -> Iterator[Agent]:
        """Return the agents, node by node."""
        return iter(self._agents)

    def __getitem__(self, node: int) -> Agent:
        """Return the agent of a node by its number, from 1."""
        return next(agent for agent in self._agents if agent.node.number == node)

    def __enter__(self) -> Self:
        """Start all at once, wait for each."""
        try:
            for agent in self._agents:
                agent.start()
            for agent in self._agents:
                agent.wait_ready()
        except BaseException as error:
            self.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Clean up every instance, all at once; a failure of one does not spare the others."""
        try:
            with shielded(signal.SIGINT, signal.SIGTERM), ThreadPoolExecutor() as pool, ExitStack() as each:
                for cleaning in [pool.submit(agent.cleanup) for agent in self._agents]:
                    each.callback(cleaning.result)
        except (EbpflbError, OSError, subprocess.SubprocessError):
            # What went wrong first is what the user must read, not that tidying up after it failed too.
            if error is None:
                raise

    def last_words(self) -> dict[str, str]:
        """Return each agent's last lines, by node name, for an error message."""
        return {agent.node.name: agent.running.tail() for agent in self._agents}
