"""Requests and bulk data by mode: what a client sees once it has, or has not, a connection. Curves only, no figures.

    Rig --stands, one a mode, backends on another node--> interleaved rounds --> request_rate, request_latency,
                                                                                 request_cpu, bulk

Everything runs on one CPU: a rate is what one core does for client, both nodes and backend together.
"""

from collections.abc import Callable, Mapping
from functools import partial
from statistics import median
from typing import Final, NamedTuple

from ebpflb.bench.generator.driver import Timing
from ebpflb.bench.measure import Effort, Measured, Point, Progress, Series
from ebpflb.bench.modes import present_kinds
from ebpflb.bench.rig import TALK, Rig, Stand
from ebpflb.bench.rounds import half_spread, interleaved

_SERVICES: Final = 1_000
_QUICK_SERVICES: Final = 100
_REQUESTS: Final = 1_000
_PINGPONGS: Final = 3_000
_MEGABYTES: Final = 100
_ON_A_CONNECTION: Final = "on a connection"
_WITH_CONNECT: Final = "connect, request, close"


class Sample(NamedTuple):
    """One round of one mode."""

    timing: Timing
    server_cpu_ns: int

    @property
    def rate(self) -> float:
        """Operations a second."""
        return self.timing.operations * 1e9 / self.timing.elapsed

    @property
    def cpu_us(self) -> float:
        """Microseconds of CPU an operation, of client and backends."""
        return (self.timing.cpu + self.server_cpu_ns) / self.timing.operations / 1000


Samples = Mapping[str, list[Sample]]
"""By mode."""


def measure(effort: Effort, progress: Progress) -> Measured:
    """Measure requests and bulk data."""
    kinds, absent = present_kinds()
    count = effort.rounds(whole=15, quick=5)
    services = _QUICK_SERVICES if effort.is_quick else _SERVICES
    with Rig() as rig:
        progress("namespaces and the agent")
        stands = rig.stands(kinds, is_remote=True, port=TALK)
        for name, stand in stands.items():
            progress(f"{name}, {services:,} Services")
            stand.load(services)
        whole = _rounds(stands, "request", _REQUESTS, count, progress)
        kept = _rounds(stands, "pingpong", _PINGPONGS, count, progress)
        bulk = _rounds(stands, "bulk", _MEGABYTES, count, progress)
    return Measured([], all_series(whole, kept, bulk), absent)


def _rounds(stands: Mapping[str, Stand], command: str, operations: int, count: int, progress: Progress) -> Samples:
    samples: dict[str, list[Sample]] = {name: [] for name in stands}
    contenders = {name: partial(_run, stand, command, operations, samples[name]) for name, stand in stands.items()}
    interleaved(contenders, count, on_round=lambda number: progress(f"{command}, round {number} of {count}"))
    return {name: found[-count:] for name, found in samples.items()}


def _run(stand: Stand, command: str, operations: int, samples: list[Sample]) -> float:
    timing = stand.run(command, operations)
    samples.append(Sample(timing, sum(each.cpu for each in stand.served)))
    return float(timing.median)


def all_series(whole: Samples, kept: Samples, bulk: Samples) -> list[Series]:
    """Return the plots: bars by mode."""
    modes = list(whole)
    percentiles: dict[str, Callable[[Sample], float]] = {
        "p50": lambda sample: sample.timing.median / 1000,
        "p99": lambda sample: sample.timing.p99 / 1000,
        "p99.9": lambda sample: sample.timing.p999 / 1000,
    }
    return [
        _bars(
            *("request_rate", "Requests a second, one core for all", "requests a second", modes),
            {_WITH_CONNECT: (whole, lambda sample: sample.rate), _ON_A_CONNECTION: (kept, lambda sample: sample.rate)},
        ),
        _bars(
            *("request_latency", "Request and response on a connection", "microseconds", modes),
            {name: (kept, value) for name, value in percentiles.items()},
        ),
        _bars(
            *("request_cpu", "CPU of client and backend, the kernel's share included", "microseconds a request", modes),
            {
                _WITH_CONNECT: (whole, lambda sample: sample.cpu_us),
                _ON_A_CONNECTION: (kept, lambda sample: sample.cpu_us),
            },
        ),
        _bars(
            *("bulk", "Bulk data with GSO, one core for all", "gigabits a second", modes),
            {"one connection": (bulk, lambda sample: sample.rate * 8 / 1000)},
        ),
    ]


def _bars(
    series_id: str,
    title: str,
    unit: str,
    modes: list[str],
    contenders: Mapping[str, tuple[Samples, Callable[[Sample], float]]],
) -> Series:
    points = {}
    for name, (samples, value) in contenders.items():
        values = [[value(sample) for sample in samples[mode]] for mode in modes]
        points[name] = [Point(place, median(each), half_spread(each)) for place, each in enumerate(values)]
    return Series(series_id, title, "mode", unit, points, labels=modes)
