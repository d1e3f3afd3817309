"""From nanoseconds a packet to P3, P4, P5, P9 and P9b. Pure.

Decides what is compared with what. Knows no program, only the names of contenders.

Rounds of every way and of what it is compared with --results_of, series_of--> Results, a plot
"""

from collections.abc import Sequence
from statistics import fmean, median
from typing import Final

from ebpflb.bench.cycles import FLOWS
from ebpflb.bench.figures import Result, judge
from ebpflb.bench.measure import Point, RefusedError, Series
from ebpflb.bench.rounds import Rounds, half_spread

FEW: Final = 10
MANY: Final = 10_000
EMPTY, HASH, COLD = "empty", "hash", "cold"
EMPTY_NEW, EMPTY_RANDOM = "empty, new ports", "empty, random flows"
ESTABLISHED, UNCLAIMED, FIRST, RANDOM, BEYOND = "established", "unclaimed", "first", "random", "beyond"
_FLOORS: Final = {
    HASH: EMPTY,
    ESTABLISHED: EMPTY,
    UNCLAIMED: EMPTY,
    BEYOND: EMPTY,
    FIRST: EMPTY_NEW,
    RANDOM: EMPTY_RANDOM,
    COLD: EMPTY_RANDOM,
}
"""What the same packets cost before an empty program."""
_FIGURES: Final = {"P3": ESTABLISHED, "P4": UNCLAIMED, "P5": FIRST}


def among(name: str, services: int) -> str:
    """Return the name of a way among so many Services."""
    return name if services == FEW else f"{name} among {services:,}"


def results_of(rounds: Rounds) -> list[Result]:
    """Return the figures of some rounds. Raises ``RefusedError`` when a look-up cost nothing."""
    results = [
        judge(
            figure,
            _ratio(rounds, name, HASH),
            floor=steady(rounds.values[_floor(name)]),
            peer=_cost(rounds, HASH),
            spread=_spread(rounds, name, HASH),
            detail=_detail(rounds, name, HASH),
        )
        for figure, name in _FIGURES.items()
    ]
    return [*results, _growth(rounds), _scatter(rounds)]


def _growth(rounds: Rounds) -> Result:
    ratios = {name: _ratio(rounds, among(name, MANY), name) for name in _FIGURES.values()}
    worst = max(ratios, key=lambda name: ratios[name])
    return judge(
        "P9",
        ratios[worst],
        spread=_spread(rounds, among(worst, MANY), worst),
        detail={f"{name.replace(' ', '_')}_ratio": ratio for name, ratio in ratios.items()},
        note=f"the worst: {worst}",
    )


def _scatter(rounds: Rounds) -> Result:
    one, cold = _cost(rounds, ESTABLISHED), _cost(rounds, COLD)
    return judge(
        "P9b",
        _ratio(rounds, RANDOM, COLD) - one / cold,
        peer=cold,
        spread=_spread(rounds, RANDOM, COLD),
        detail={**_detail(rounds, RANDOM, COLD), "one_flow_ns": one},
    )


def _ratio(rounds: Rounds, name: str, of: str) -> float:
    unit = _cost(rounds, of)
    if unit <= 0:
        raise RefusedError(f"programs: {of} cost nothing: the machine is too busy to measure on")
    return _cost(rounds, name) / unit


def _spread(rounds: Rounds, name: str, of: str) -> float:
    """Return how far the rounds' own ratios are apart, without those in which the unit drowned in noise."""
    pairs = zip(_costs(rounds, name), _costs(rounds, of), strict=True)
    return half_spread([ours / unit for ours, unit in pairs if unit > 0])


def _detail(rounds: Rounds, name: str, of: str) -> dict[str, float]:
    ours = _costs(rounds, name)
    return {
        "ours_ns": _cost(rounds, name),
        "ours_median_ns": median(ours),
        "ours_least_ns": min(rounds.values[name]) - min(rounds.values[_floor(name)]),
        "look_up_ns": _cost(rounds, of),
        "empty_ns": steady(rounds.values[_floor(name)]),
    }


def _floor(name: str) -> str:
    return _FLOORS[name.partition(" among ")[0]]


def _costs(rounds: Rounds, name: str) -> list[float]:
    """Return what a contender cost above an empty program in each round."""
    return [value - low for value, low in zip(rounds.values[name], rounds.values[_floor(name)], strict=True)]


def _cost(rounds: Rounds, name: str) -> float:
    return steady(rounds.values[name]) - steady(rounds.values[_floor(name)])


def steady(values: Sequence[float]) -> float:
    """Return the mean of the middle half: as steady as the median, and finer where values are whole nanoseconds."""
    cut = len(values) // 4
    return fmean(sorted(values)[cut : len(values) - cut])


def series_of(rounds: Rounds) -> Series:
    """Return the costs as bars."""
    names = (ESTABLISHED, BEYOND, UNCLAIMED, FIRST, RANDOM)
    columns = {f"ebpflb, {FEW} Services": FEW, f"ebpflb, {MANY:,} Services": MANY}
    points = {
        column: [
            Point(x, _cost(rounds, key), half_spread(_costs(rounds, key)))
            for x, name in enumerate(names)
            if (key := among(name, services)) in rounds.values
        ]
        for column, services in columns.items()
    }
    points["one hash look-up"] = [Point(x, _cost(rounds, HASH)) for x in range(len(names))]
    labels = ("established", "established, redirected", "no Service's", "first packet", f"of {FLOWS:,} flows")
    return Series(
        "programs",
        "XDP, a packet's cost by its way",
        "way",
        "ns above an empty program",
        points,
        is_log_y=True,
        labels=labels,
    )
