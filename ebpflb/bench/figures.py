"""The figures that ebpflb must reach, and what a measurement of one says. Knows no way to measure.

    Measured values --judge--> Result --> table, JSON, page, exit code

A figure is a ratio taken in one run, against a peer or a floor that ran interleaved with it: absolute times drift from
machine to machine, ratios hold.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType


class Better(StrEnum):
    """In which direction a figure is good."""

    LOWER = "<="
    HIGHER = ">="


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure and its target."""

    id: str
    """``P1`` to ``P15``, with a letter where one has several parts."""
    what: str
    unit: str
    target: float
    better: Better = Better.LOWER

    @property
    def number(self) -> str:
        """``P10`` of ``P10a``: what ``--only`` names."""
        return self.id.rstrip("abcdefgh")

    def is_met_by(self, value: float) -> bool:
        """Return whether a value reaches the target."""
        return value <= self.target if self.better is Better.LOWER else value >= self.target


@dataclass(frozen=True, slots=True)
class Result:
    """What a run found out about a figure, as ``--json`` has it."""

    id: str
    what: str
    value: float | None
    """``None``: it could not be measured here; ``note`` says why."""
    unit: str
    target: float
    met: bool
    floor: float | None = None
    """What nobody can beat, in the unit of ``detail``'s columns."""
    peer: float | None = None
    """What it was compared with, in the same unit."""
    spread: float | None = None
    """Half the distance between the quartiles of the rounds' values, in the figure's unit."""
    command: str = ""
    """Measures this figure again."""
    detail: Mapping[str, float] = field(default_factory=dict)
    """The values behind it, by name with unit (``ours_ns``)."""
    note: str = ""


_LOWER, _HIGHER = Better.LOWER, Better.HIGHER

FIGURES: tuple[Figure, ...] = (
    Figure("P1", "TCP connect() to a ClusterIP of 10,000, of connect() to the pod", "ratio", 1.03),
    Figure("P1b", "the same of 100,000 Services, of the same of 10", "ratio", 1.03),
    Figure("P1c", "connect() among 10 Services, of the fastest netfilter mode", "ratio", 1.0),
    Figure("P2", "UDP connect() with reverse entry, above an empty connect4", "hash look-ups", 8.0),
    Figure("P3", "XDP, established flow, above an empty program", "hash look-ups", 1.55),
    Figure("P4", "XDP, packet that no Service claims, above an empty program", "hash look-ups", 0.85),
    Figure("P5", "XDP, first packet of a flow, above an empty program", "hash look-ups", 24.0),
    Figure("P6", "XDP with flows on a veth, live frames, of MAC swap and XDP_TX", "ratio", 0.85, _HIGHER),
    Figure("P7", "tc, established UDP, packets a second of iptables DNAT's", "ratio", 2.0, _HIGHER),
    Figure("P8", "XDP, packets a second of iptables DNAT's", "ratio", 5.5, _HIGHER),
    Figure("P9", "P3 to P5 among 10,000 Services, of the same among 10, the worst", "ratio", 1.1),
    Figure("P9b", "P3 with 100,000 random flows, above one flow, in cold look-ups", "cold look-ups", 1.0),
    Figure("P9c", "time a packet of P6 to P8 among 10,000 Services, of the same among 10, the worst", "ratio", 1.1),
    Figure("P10", "10,000 Services x 10 endpoints from the API server, of one nft -f", "ratio", 0.1),
    Figure("P10b", "50,000 x 5, time for a Service, of the same at 10,000 x 5", "ratio", 1.2),
    Figure("P11", "one endpoint changes among 10,000 Services, median, of nft -f", "ratio", 0.02),
    Figure("P11b", "the same, 99th percentile", "ratio", 0.06),
    Figure("P12", "resident memory of the agent at 10,000 x 10, peak", "MB", 120.0),
    Figure("P13", "map memory of service state at 10,000 x 10, 100 of them Maglev", "MB", 16.0),
    Figure("P13b", "memory of a flow entry, IPv4", "bytes", 112.0),
    Figure("P14", "1,000 Maglev tables of 1,021 x 10, of a plain Python loop", "ratio", 0.5),
    Figure("P14b", "one Maglev table of 65,537 x 1,000, of a plain Python loop", "ratio", 0.6),
    Figure("P15", "agent start to programs attached, cold, of bcc compiling an empty program", "ratio", 2.0),
    Figure("P15b", "the same with pins adopted", "ratio", 0.5),
)
"""In the order of the report."""

BY_ID: Mapping[str, Figure] = MappingProxyType({figure.id: figure for figure in FIGURES})


def judge(
    figure_id: str,
    value: float,
    *,
    floor: float | None = None,
    peer: float | None = None,
    spread: float | None = None,
    detail: Mapping[str, float] | None = None,
    note: str = "",
) -> Result:
    """Return the result of a measured value. Raises ``KeyError`` for an id that no figure has."""
    figure = BY_ID[figure_id]
    met = figure.is_met_by(value)
    return Result(
        *(figure.id, figure.what, value, figure.unit, figure.target, met, floor, peer, spread),
        command=f"ebpflb bench --only {figure.number}",
        detail=detail or {},
        note=note,
    )


def unmeasured(figure_id: str, note: str) -> Result:
    """Return the result of a figure that could not be measured, which is never met."""
    figure = BY_ID[figure_id]
    return Result(
        *(figure.id, figure.what, None, figure.unit, figure.target, False),
        command=f"ebpflb bench --only {figure.number}",
        note=note,
    )


def select(numbers: str) -> tuple[Figure, ...]:
    """Return the figures that a list such as ``P3,P6`` names; all for an empty one. Raises ``ValueError``."""
    if not numbers.strip():
        return FIGURES
    wanted = [number.strip().upper() for number in numbers.split(",")]
    unknown = [number for number in wanted if number not in {figure.number for figure in FIGURES}]
    if unknown:
        raise ValueError(f"there is no figure {unknown[0]}, only P1 to P15")
    return tuple(figure for figure in FIGURES if figure.number in wanted)
