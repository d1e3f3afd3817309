"""What a flood did to its victims, as a value: the verdict on it, and the table that a person reads. Runs nothing.

Waves, Reports of clients, counters, map fill -> FloodReport -> complaints(), lines(), document()
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from ebpflb.bench.report import Report

NEW_CLIENTS: Final = 0.99
"""This share of new clients must be answered."""


@dataclass(frozen=True, slots=True)
class Clients:
    """What clients of one kind saw."""

    kind: str
    """``established``, or ``new`` with when they came."""
    protocol: str
    way: str
    """The frontend, and where its backend is."""
    report: Report

    @property
    def kept(self) -> bool:
        """Say whether these connections were there before the flood."""
        return self.kind == "established"


@dataclass(frozen=True, slots=True)
class Wave:
    """One flood of one protocol."""

    protocol: str
    wanted: int
    """Frames that were to reach node-1, each from another sender: else it was no flood."""
    sent: int
    arrived: int
    seconds: float


@dataclass(frozen=True, slots=True)
class FloodReport:
    """Everything that was seen."""

    waves: Sequence[Wave]
    clients: Sequence[Clients]
    counters: Mapping[str, int]
    """Of node-1, by how much each grew."""
    fill: Mapping[str, tuple[int, int, int]]
    """Of node-1, by map: entries before and after, size."""
    agents_alive: bool

    def complaints(self) -> list[str]:
        """Return what is wrong; nothing means that the flood was withstood."""
        return [*self._about_waves(), *self._about_clients(), *([] if self.agents_alive else ["an agent ended"])]

    def _about_waves(self) -> Iterator[str]:
        for wave in self.waves:
            if wave.arrived < wave.wanted:
                yield f"{wave.protocol}: {wave.arrived} of {wave.wanted} frames reached node-1: this was no flood"

    def _about_clients(self) -> Iterator[str]:
        for each in self.clients:
            name = f"{each.kind}, {each.protocol}, {each.way}"
            report = each.report
            if not report.requests:
                yield f"{name}: nothing was asked"
            elif each.kept and (report.failed or report.breaks):
                broken = f", {report.breaks} connections broken" if report.breaks else ""
                failures = f" {report.failures}" if report.failures else ""
                yield f"{name}: {report.failed} of {report.requests} messages lost{failures}{broken}"
            elif not each.kept and report.answered < NEW_CLIENTS * report.requests:
                share = 100 * report.answered / report.requests
                yield f"{name}: {share:.1f} % of {report.requests} were answered {report.failures}"

    def document(self) -> dict[str, Any]:
        """Return everything, for JSON."""
        return {**asdict(self), "complaints": self.complaints()}

    def lines(self) -> Iterator[str]:
        """Return the table and the verdict."""
        for wave in self.waves:
            rate = wave.arrived / max(wave.seconds, 0.001)
            yield (
                f"flood of {wave.protocol}: {wave.arrived} frames, each from another sender, reached node-1 in"
                f" {wave.seconds:.1f} s ({rate:.0f} a second); {wave.sent} were sent"
            )
        yield ""
        yield from _aligned([("clients", "protocol", "by", "asked", "answered", "broken", "p99 ms"), *self._rows()])
        yield ""
        fill = [(name, *map(str, numbers)) for name, numbers in self.fill.items()]
        yield from _aligned([("map of node-1", "before", "after", "size"), *fill])
        yield ""
        grown = [(name, f"+{count}") for name, count in self.counters.items() if count]
        yield from _aligned([("counter of node-1", "grew by"), *grown])
        yield ""
        complaints = self.complaints()
        yield from (f"failed: {complaint}" for complaint in complaints)
        yield f"flood: {'FAILED' if complaints else 'withstood'}"

    def _rows(self) -> Iterator[tuple[str, ...]]:
        for each in self.clients:
            report = each.report
            numbers = (report.requests, report.answered, report.breaks, report.latency_ms["p99"])
            yield (each.kind, each.protocol, each.way, *map(str, numbers))


def _aligned(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
