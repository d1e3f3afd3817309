"""Starts the lab's servers and load tools at a place and reads their results; the tools are servers.py and load.py.

Place, arguments -> start_server, measure, start_load, transfer -> Report, BulkReport
"""

import json
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from ebpflb.bench.addresses import family_of
from ebpflb.bench.load import BulkReport
from ebpflb.bench.process import STOP_SECONDS, Running
from ebpflb.bench.report import Report, parse_report
from ebpflb.bench.topology import Place
from ebpflb.core.abi import Family

SERVERS = "ebpflb.bench.servers"
LOAD = "ebpflb.bench.load"
ANSWER_SECONDS = 30.0
"""For an answer that must come, also while others have the processors."""
EVERY_ADDRESS = {Family.IPV4: "0.0.0.0", Family.IPV6: "::"}  # noqa: S104 - as servers in pods do


def start_server(place: Place, tcp: Sequence[int] = (8080,), udp: Sequence[int] = (), *, name: str = "") -> Running:
    """Start a backend at a place and wait until it listens; it answers with the place's name unless given another.

    It listens on every address of every family that the place has.
    """
    hosts = [word for address in place.addresses for word in ("--host", EVERY_ADDRESS[family_of(address)])]
    ports = [word for port in tcp for word in ("--tcp", str(port))]
    ports += [word for port in udp for word in ("--udp", str(port))]
    server = place.popen_module(SERVERS, ["--name", name or place.name, *hosts, *ports])
    server.wait_for_line(lambda line: line == "ready")
    return server


def measure(place: Place, mode: str, *arguments: str, timeout: float = ANSWER_SECONDS, seconds: float = 60.0) -> Report:
    """Run the load tool to its end; ``arguments`` must say ``--count`` or ``--seconds``.

    Where silence is expected, give a short ``timeout``, here or among the ``arguments``.
    """
    return parse_report(place.run_module(LOAD, [mode, "--timeout", str(timeout), *arguments], seconds=seconds))


def transfer(place: Place, target: str, megabytes: int = 100, *, seconds: float = 120.0) -> BulkReport:
    """Transfer up and down and return what became of it."""
    arguments = ["bulk", target, "--megabytes", str(megabytes), "--timeout", str(ANSWER_SECONDS)]
    return BulkReport(**json.loads(place.run_module(LOAD, arguments, seconds=seconds)))


class Load:
    """The load tool running at a place until it is stopped; in a ``with`` block the first request has been made."""

    def __init__(self, place: Place, *arguments: str) -> None:
        self._running = place.popen_module(LOAD, arguments)

    def __enter__(self) -> Self:
        """Wait until load flows."""
        self._running.wait_for_line(lambda line: line == "ready")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End it, if ``stop`` did not."""
        self._running.stop()

    def stop(self) -> Report:
        """Stop it and return what it saw."""
        self._running.tell("stop")
        self._running.wait(STOP_SECONDS)
        return parse_report("\n".join(self._running.lines()))

    def flow(self, seconds: float) -> None:
        """Let it run for a while; an end before that is an error."""
        self._running.expect_alive(seconds)
