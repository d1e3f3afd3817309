"""Tells the load generator what to do, and reads what it found. Knows no mode and no Service.

Place --start_load--> Loader: dial, then run("connect", 2000) --> Timing
Place --start_server--> Server: drain() --> Served
"""

import itertools
from collections.abc import Sequence
from typing import Final, NamedTuple

from ebpflb.bench.generator.tools import Tools
from ebpflb.bench.process import Running
from ebpflb.bench.topology import Place

HOLD: Final = 0
"""Port, counted from a server's first one: connections wait in the queue, and nobody is woken."""
TALK: Final = 1
"""Requests are answered, bulk data counted."""
_SECONDS: Final = 60.0


class Timing(NamedTuple):
    """What a command of the load generator took; times in nanoseconds, of single operations but for the first two."""

    operations: int
    elapsed: int
    cpu: int
    """Of the generator's own process, the kernel's share included."""
    least: int
    median: int
    p99: int
    p999: int


class Served(NamedTuple):
    """What a server saw since it was last asked."""

    held: int
    """Connections at the port HOLD."""
    connections: int
    """At the port TALK."""
    cpu: int
    """Nanoseconds."""


class Loader:
    """A running load generator."""

    def __init__(self, running: Running) -> None:
        self._running = running
        self._numbers = itertools.count(1)

    def dial(self, targets: Sequence[str]) -> None:
        """From now on, dial these (``ADDRESS:PORT``) in turn."""
        self._running.tell(f"targets {' '.join(targets)}")

    def run(self, command: str, count: int) -> Timing:
        """Do something so often. Raises ``EbpflbError`` with its words if one attempt fails."""
        self._running.tell(f"{command} {count}")
        return Timing(*_answer(self._running, f"done {next(self._numbers)} "))


class Server:
    """A running server."""

    def __init__(self, running: Running) -> None:
        self._running = running
        self._numbers = itertools.count(1)

    def drain(self) -> Served:
        """Take the connections that wait; return what there was since the last time."""
        self._running.tell("drain")
        return Served(*_answer(self._running, f"served {next(self._numbers)} "))


def start_load(place: Place, tools: Tools, cpu: int) -> Loader:
    """Start the load generator at a place, on one CPU."""
    return Loader(_ready(place.popen([str(tools.load), str(cpu)])))


def start_server(place: Place, tools: Tools, cpu: int, first_port: int) -> Server:
    """Start a server at a place, on one CPU, and wait until it listens."""
    return Server(_ready(place.popen([str(tools.serve), str(cpu), str(first_port)])))


def _ready(running: Running) -> Running:
    running.wait_for_line(lambda line: line == "ready")
    return running


def _answer(running: Running, beginning: str) -> list[int]:
    line = running.wait_for_line(lambda line: line.startswith(beginning), _SECONDS)
    return [int(word) for word in line.removeprefix(beginning).split()]
