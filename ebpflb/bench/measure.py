"""What every measure of `ebpflb bench` is: a function that takes an effort and returns results and series.

Knows no measure and no way to print one; ``bench/registry.py`` names them all, ``cli/bench.py`` runs them.

    Effort, Progress --Measure--> Measured(results, series) --> table, JSON, page
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from ebpflb.bench.figures import Result
from ebpflb.errors import EbpflbError

FEWEST_SERVICES: Final = 50
"""In a cluster: with fewer there is no growth to see."""
MOST_SERVICES: Final = 30_000
"""With more, the agent's maps would want other sizes than a node has by default."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How much a run may take."""

    is_quick: bool = False
    """All of P1 to P15 within three minutes on two cores; else as long as good medians take."""
    kubeconfig: str = ""
    """Of a real API server for the control plane; empty: one of the bench's."""
    services: int = 0
    """To be made in that cluster; 0: as many as the figures want, fewer in a quick run."""

    def rounds(self, whole: int, quick: int) -> int:
        """Return how many rounds to run."""
        return quick if self.is_quick else whole


class Point(NamedTuple):
    """One point of a plot, with the distance to its quartiles."""

    x: float
    y: float
    spread: float = 0.0


@dataclass(frozen=True, slots=True)
class Series:
    """Curves or bars of one plot, by contender: latency against the number of Services per mode."""

    id: str
    """A file's name: ``connect_latency``."""
    title: str
    x: str
    """The axis with its unit."""
    y: str
    points: Mapping[str, Sequence[Point]]
    """By contender: ``iptables-nft``, ``ebpflb socket``."""
    is_log_x: bool = False
    is_log_y: bool = False
    labels: Sequence[str] = ()
    """Names of the positions on x (0, 1, ...), where x is no number: a bar each."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What one measure found out."""

    results: Sequence[Result]
    series: Sequence[Series] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    """About the peers of this run: versions of nft and iptables, a mode that this kernel has not."""


Progress = Callable[[str], None]
"""Hears in a few words what is done now (``round 3 of 9, iptables-nft, 10,000 Services``)."""

Measure = Callable[[Effort, Progress], Measured]


class RefusedError(EbpflbError):
    """A sanity check failed: the numbers of this measure mean nothing, and are not shown."""
