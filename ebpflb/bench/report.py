"""Counts what a client saw, and writes it as JSON; opens no socket.

answers, failures, latencies -> Tally -> Report -> one JSON line -> Report in the parent
"""

import errno
import json
import math
from collections import Counter
from dataclasses import asdict, dataclass, field

KEPT_PEERS = 64


@dataclass(frozen=True, slots=True)
class Report:
    """The result of one run of the load tool."""

    requests: int
    """Tried, answered or not."""
    answered: int
    by_backend: dict[str, int]
    failures: dict[str, int]
    """Count by reason: an errno's name, ``timeout``, ``closed``, ``mismatch``."""
    breaks: int
    """How often an established connection ended before the client wanted it to."""
    latency_ms: dict[str, float]
    """p50, p99 and max of answered requests."""
    peers: list[str]
    """Distinct addresses that getpeername() or recvfrom() named, at most 64."""
    clients: list[str]
    """Distinct addresses, without port, that the servers saw this client under."""
    longest_gap_ms: float
    """Longest time between two answers."""

    @property
    def failed(self) -> int:
        """Requests without an answer."""
        return sum(self.failures.values())

    def to_json(self) -> str:
        """Return one line."""
        return json.dumps(asdict(self))


def parse_report(text: str) -> Report:
    """Read the last line of what the load tool printed."""
    return Report(**json.loads(text.strip().splitlines()[-1]))


def failure_reason(error: OSError) -> str:
    """Return a failure's name: the errno's where there is one."""
    if isinstance(error, TimeoutError) and error.errno is None:
        return "timeout"
    if error.errno is None:
        return type(error).__name__
    return errno.errorcode.get(error.errno, str(error.errno))


class ClosedError(OSError):
    """The server ended the stream where an answer was due."""


@dataclass(slots=True)
class Tally:
    """What a run has seen so far."""

    backends: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)
    peers: dict[str, None] = field(default_factory=dict)
    clients: dict[str, None] = field(default_factory=dict)
    breaks: int = 0
    last_answer: float = 0.0
    longest_gap: float = 0.0

    def answer(self, backend: str, client: str, peer: str, started: float, ended: float) -> None:
        """Record an answered request; times are in seconds of one monotonic clock."""
        self.backends[backend] += 1
        self.latencies.append(ended - started)
        if len(self.peers) < KEPT_PEERS:
            self.peers[peer] = None
        self.clients[client.rpartition(":")[0].strip("[]")] = None
        if self.last_answer:
            self.longest_gap = max(self.longest_gap, ended - self.last_answer)
        self.last_answer = ended

    def failure(self, error: OSError) -> None:
        """Record a request without an answer."""
        self.failures["closed" if isinstance(error, ClosedError) else failure_reason(error)] += 1

    def report(self) -> Report:
        """Return the result."""
        ordered = sorted(self.latencies)
        answered = len(ordered)
        return Report(
            requests=answered + sum(self.failures.values()),
            answered=answered,
            by_backend=dict(sorted(self.backends.items())),
            failures=dict(self.failures),
            breaks=self.breaks,
            latency_ms={"p50": _rank(ordered, 0.5), "p99": _rank(ordered, 0.99), "max": _rank(ordered, 1.0)},
            peers=list(self.peers),
            clients=list(self.clients),
            longest_gap_ms=round(self.longest_gap * 1000, 3),
        )


def _rank(ordered: list[float], share: float) -> float:
    """Return the nearest-rank percentile in milliseconds; 0 of nothing."""
    if not ordered:
        return 0.0
    return round(ordered[max(0, math.ceil(share * len(ordered)) - 1)] * 1000, 3)
