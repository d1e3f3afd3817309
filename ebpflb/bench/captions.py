"""Says in a sentence what a plot shows, from its points alone. Pure: what it says cannot differ from what is drawn.

Series --caption--> "us, at 10,000 Services: direct 16.5, ebpflb socket 16.6 (1.01x), iptables-nft 149 (9.03x). ..."
"""

from collections.abc import Iterator

from ebpflb.bench.measure import Series
from ebpflb.bench.palette import are_modes, is_ours
from ebpflb.bench.wording import number, plain

_MOST = 9
"""Contenders that a sentence names."""


def caption(series: Series) -> str:
    """Return what the plot shows: who is how much where most is asked of them, and how each curve grows."""
    if not any(series.points.values()):
        return "Nothing could be measured."
    if series.labels:
        by_mode = are_modes(series.labels)
        said = list(_by_contender(series)) if by_mode else [_at(series, float(at)) for at in range(len(series.labels))]
    else:
        said = [_at(series, _telling(series)), *_growth(series)]
    bars = " Whiskers are half the distance between the quartiles of the rounds." if _has_spread(series) else ""
    return f"{series.y}, {' '.join(filter(None, said))}{bars}"


def _telling(series: Series) -> float:
    """Return where to compare: as far to the right as ours and half of the contenders, or the most, have a point."""
    mine = [points for name, points in series.points.items() if is_ours(name) and points]
    places = {point.x for points in (mine or series.points.values()) for point in points}
    has = {at: sum(any(point.x == at for point in points) for points in series.points.values()) for at in places}
    enough = min(max(has.values()), max(2, len(series.points) / 2))
    return max(at for at, count in has.items() if count >= enough)


def _at(series: Series, x: float) -> str:
    """Return the contenders' values at one place, the lowest first, each beside the lowest."""
    found = [(point.y, name) for name, points in series.points.items() for point in points if point.x == x]
    where = series.labels[int(x)] if series.labels else f"at {plain(x)} {series.x}"
    return f"{where}: {_ranked(found)}." if found else ""


def _by_contender(series: Series) -> Iterator[str]:
    """Yield the modes that are labels, the lowest first, for each group of bars."""
    for name, points in series.points.items():
        group = f"{name}: " if len(series.points) > 1 else ""
        if points:
            yield f"{group}{_ranked([(point.y, series.labels[int(point.x)]) for point in points])}."


def _ranked(found: list[tuple[float, str]]) -> str:
    ordered = sorted(found)
    lowest = ordered[0][0]
    words = [f"{name} {number(value)}" + _times(value, lowest) for value, name in ordered[:_MOST]]
    return ", ".join([*words, *["and others"] * (len(ordered) > _MOST)])


def _times(value: float, lowest: float) -> str:
    return f" ({number(value / lowest)}x)" if lowest > 0 and value != lowest else ""


def _growth(series: Series) -> list[str]:
    """Return how much each curve grows from its left end to its right one."""
    grown = [(name, min(points), max(points)) for name, points in series.points.items() if len(points) > 1]
    said = [f"{name} {number(last.y / first.y)}x" for name, first, last in grown if first.y > 0]
    return [f"From the left end to the right: {', '.join(said)}."] if said else []


def _has_spread(series: Series) -> bool:
    return any(point.spread > 0 for points in series.points.values() for point in points)
