"""One run of the real agent, as the measures of its start and of the control plane look at it.

Decides on which command line an agent is measured, and what is read off the process. Knows no figure.

    Node, kubeconfig | manifests --> AgentInstance.start --> AgentRun: when it was ready, attached; its peak memory
"""

import re
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from ebpflb.bench.agents import BPFFS, ip_family
from ebpflb.bench.process import Running
from ebpflb.bench.topology import Node
from ebpflb.datapath.pins import Pins

START_SECONDS = 240.0
_LOOK_SECONDS = 0.1
"""How often memory is looked at during a start: a tenth of what the shortest-lived child lives."""
_READY = re.compile(r"\bevent=ready ")
_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class AgentInstance:
    """What stays between the runs of an agent: its pins, its state, its command line."""

    node: Node
    name: str
    source: tuple[str, ...]
    """``--kubeconfig FILE`` or ``--manifests FOLDER``."""
    state: Path
    node_name: str = ""
    """Of its Node object; empty: the lab's name for the node."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """What its process has beside what it inherits."""
    flags: tuple[str, ...] = ()
    """What it is told beside all that."""

    @property
    def pins(self) -> Pins:
        """Where its maps and programs are pinned."""
        return Pins(BPFFS, self.name)

    def start(self) -> "AgentRun":
        """Start the process."""
        began_ns = time.monotonic_ns()
        variables = [f"{name}={value}" for name, value in self.environment.items()]
        told = ["env", *variables] if variables else []
        command = [*told, sys.executable, "-m", "ebpflb", *self._arguments()]
        return AgentRun(self.node.popen(command), began_ns)

    def prepare(self) -> None:
        """Build and pin the programs and their empty maps, and no more."""
        self.node.run([sys.executable, "-m", "ebpflb", *self._arguments(), "--init-only"], seconds=START_SECONDS)

    def cleanup(self) -> None:
        """Remove every trace of the instance."""
        where = ["--bpffs", str(BPFFS), "--instance", self.name, "--state-dir", str(self.state)]
        self.node.run([sys.executable, "-m", "ebpflb", "cleanup", *where])

    def _arguments(self) -> list[str]:
        node = self.node
        what = ["run", *self.source, "--node-name", self.node_name or node.name, "--ip-family", ip_family(node)]
        devices = ["--uplink-devices", ",".join(node.uplinks), "--pod-devices", "pod*", "--cgroup", str(node.cgroup)]
        return [
            *what,
            *devices,
            *self.flags,
            "--bpffs",
            str(BPFFS),
            "--instance",
            self.name,
            "--state-dir",
            str(self.state),
        ]


class AgentRun:
    """One process."""

    def __init__(self, running: Running, began_ns: int) -> None:
        self.running = running
        self.began_ns = began_ns
        """Before the process was made, by CLOCK_MONOTONIC."""
        self._peak_at_start = 0
        """Of the process and the children that it had at the same time."""

    def seconds_to_ready(self) -> float:
        """Wait until the first snapshot is in the maps; return how long after the start that was."""
        with self._watching_memory():
            self.running.wait_for_line(lambda line: _READY.search(line) is not None, START_SECONDS)
        return (time.monotonic_ns() - self.began_ns) / 1e9

    def seconds_to_attached(self, devices: int) -> float:
        """Wait until all programs are where they belong; return how long after the start that was.

        Those of the cgroup come before those of the first device; then each device has its own, and is told of.
        """
        self.running.wait_for_line(lambda _line: self._served() >= devices, START_SECONDS)
        return (time.monotonic_ns() - self.began_ns) / 1e9

    def peak_bytes(self) -> int:
        """Return the most memory that the process ever had resident, with what its children had had until then.

        Those that ended during the start count as far as they were there at the same time: until they did.
        """
        return max(self._peak_at_start, self._peak_now())

    def own_peak_bytes(self) -> int:
        """Return the most memory that the process itself ever had resident: what grows with the cluster."""
        return _peak_bytes(self.running.pid)

    def stop(self) -> None:
        """End it; everything stays pinned and attached."""
        self.running.stop()

    @contextmanager
    def _watching_memory(self) -> Iterator[None]:
        """Look meanwhile, now and then, what process and children have had."""
        is_over = threading.Event()

        def look() -> None:
            while not is_over.wait(_LOOK_SECONDS):
                self._peak_at_start = max(self._peak_at_start, self._peak_now())

        watcher = threading.Thread(target=look, name="watch an agent's memory", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            is_over.set()
            watcher.join()

    def _peak_now(self) -> int:
        """Return the sum of what the process and its children of this moment ever had resident."""
        pid = self.running.pid
        return sum(_peak_bytes(each) for each in (pid, *_children(pid)))

    def _served(self) -> int:
        return sum("event=device_served " in line for line in self.running.lines())


def _children(pid: int) -> list[int]:
    """Return the children of a process; of one that has ended, none."""
    found: list[int] = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):
                found += map(int, (task / "children").read_text().split())
    return found


def _peak_bytes(pid: int) -> int:
    """Return the most that a process ever had resident; 0 of one that has ended."""
    try:
        match = _PEAK.search(Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0
    return int(match[1]) * 1024 if match else 0
