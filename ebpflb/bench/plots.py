"""Draws one Series as one picture: curves with their spreads, or bars. Decides the look only.

    Series --draw--> SVG text

A contender has a colour (``palette.py``) and a marker of its own, so that a plot can be read in grey as well. Bars
begin at zero, and so do curves that would not be flat then.
"""

from collections.abc import Sequence
from io import StringIO
from itertools import cycle
from textwrap import fill
from typing import Any, Final

import matplotlib as mpl
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from ebpflb.bench.measure import Point, Series
from ebpflb.bench.palette import DIRECT, colours, is_ours
from ebpflb.bench.wording import number, plain

_INCHES: Final = (8.4, 4.4)
_BAR_INCHES: Final = 0.3
_LETTERS: Final = 60
"""Of all labels that fit side by side."""
_GREY: Final = "#5f6368"
_MOST_WHISKERS: Final = 1.5
_TITLE_LETTERS: Final = 64
_MARKERS: Final = "osD^vPX*<>"
_MOST_BARS_WITH_VALUES: Final = 24
_WIDTH: Final = 0.8
_PLAIN: Final = FuncFormatter(lambda value, _: plain(round(value, 12)))
_STYLE: Final = {
    "svg.hashsalt": "ebpflb",
    "svg.fonttype": "path",
    "font.size": 10,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": _GREY,
    "axes.axisbelow": True,
    "grid.color": "#dadce0",
}


def draw(series: Series) -> str:
    """Return the picture of a series as SVG. The same series gives the same text."""
    with mpl.rc_context(_STYLE):
        canvas = Canvas(figsize=_size(series), layout="constrained")
        axes = canvas.add_subplot()
        if series.labels and not _is_log(series.is_log_y, _values(series, 1)):
            _bars(axes, series)
        else:
            _curves(axes, series)
        lies_down = _lies_down(series)
        axes.set(
            title=fill(series.title, _TITLE_LETTERS),
            **dict(zip(("ylabel", "xlabel") if lies_down else ("xlabel", "ylabel"), (series.x, series.y), strict=True)),
        )
        axes.grid(visible=True, axis="both" if not series.labels else "x" if lies_down else "y")
        if len(series.points) > 1:
            axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, borderaxespad=0)
        text = StringIO()
        canvas.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()


def _size(series: Series) -> tuple[float, float]:
    """Return the inches of a picture; bars that lie down need height."""
    width, height = _INCHES
    bars = len(series.labels) * len(series.points)
    return width, max(height, 1 + _BAR_INCHES * bars) if _lies_down(series) else height


def _lies_down(series: Series) -> bool:
    """Say whether bars are drawn from left to right: where their labels do not fit beside each other."""
    return sum(len(label) + 2 for label in series.labels) > _LETTERS or len(series.points) == 1 < len(series.labels)


def _curves(axes: Any, series: Series) -> None:
    order = sorted(series.points, key=lambda name: -_last(series.points[name]))
    colour = colours(list(series.points))
    markers = dict(zip(series.points, cycle(_MARKERS), strict=False))
    for name in order:
        points = sorted(series.points[name])
        axes.errorbar(
            [point.x for point in points],
            [point.y for point in points],
            yerr=_spreads(points),
            label=name,
            color=colour[name],
            marker=markers[name],
            markersize=6 if not series.labels else 9,
            linewidth=2.2 if is_ours(name) else 1.5,
            linestyle="none" if series.labels else "--" if colour[name] == DIRECT else "-",
            capsize=3,
        )
    _scale(axes, series)


def _spreads(points: Sequence[Point]) -> list[list[float]] | None:
    """Return the whiskers' lengths, down (not below zero) and up; ``None`` where nothing was taken in rounds."""
    if not any(point.spread for point in points):
        return None
    return [[min(point.spread, max(point.y, 0.0)) for point in points], [point.spread for point in points]]


def _reach(series: Series) -> tuple[float, float]:
    """Return where a linear axis of values begins and ends. Whiskers that dwarf what they stand on go out of sight."""
    values = _values(series, 1)
    most = max(values, default=1.0)
    tips = [point.y + point.spread for points in series.points.values() for point in points]
    return min([0.0, *values]), max(min(max(tips, default=1.0), _MOST_WHISKERS * most) * 1.05, most * 1.1) or 1.0


def _last(points: Sequence[Point]) -> float:
    """Return a curve's value at its right end: the legend stands in this order."""
    return max(points).y if points else 0.0


def _scale(axes: Any, series: Series) -> None:
    if series.labels:
        axes.set_xticks(range(len(series.labels)), series.labels)
        axes.margins(x=0.1)
    elif _is_log(series.is_log_x, _values(series, 0)):
        axes.set_xscale("log")
        _plain_numbers(axes.xaxis, _values(series, 0))
    else:
        axes.xaxis.set_major_formatter(_PLAIN)
    if _is_log(series.is_log_y, _values(series, 1)):
        axes.set_yscale("log", nonpositive="clip")
        _plain_numbers(axes.yaxis, _values(series, 1))
    else:
        axes.yaxis.set_major_formatter(_PLAIN)
        if not _is_level(_values(series, 1)):
            axes.set_ylim(_reach(series))


def _is_level(values: Sequence[float]) -> bool:
    """Say whether curves would be one flat line if the axis began at zero."""
    return bool(values) and min(values) > max(values) / 2


def _plain_numbers(axis: Any, values: Sequence[float]) -> None:
    """Label a logarithmic axis with numbers rather than powers, and between the powers where there are few."""
    axis.set_major_formatter(_PLAIN)
    if max(values) / min(values) < 300:  # noqa: PLR2004 - two powers of ten and a half
        axis.set_minor_locator(LogLocator(subs=(2, 5)))
        axis.set_minor_formatter(_PLAIN)
    else:
        axis.set_minor_formatter(NullFormatter())


def _bars(axes: Any, series: Series) -> None:
    lies_down = _lies_down(series)
    draw_bars, thickness = (axes.barh, "height") if lies_down else (axes.bar, "width")
    share = _WIDTH / len(series.points)
    by_label = colours(series.labels) if len(series.points) == 1 else {}
    has_values = len(series.labels) * len(series.points) <= _MOST_BARS_WITH_VALUES
    for place, (name, colour) in enumerate(colours(list(series.points)).items()):
        points = series.points[name]
        drawn = draw_bars(
            [point.x + (place - (len(series.points) - 1) / 2) * share for point in points],
            [point.y for point in points],
            label=name,
            color=[by_label[series.labels[int(point.x)]] for point in points] if by_label else colour,
            **{thickness: share * 0.94, ("xerr" if lies_down else "yerr"): _spreads(points)},
            error_kw={"ecolor": _GREY, "capsize": 3},
        )
        if has_values:
            axes.bar_label(drawn, [number(point.y) for point in points], padding=3, fontsize=9)
    _bar_axes(axes, series, lies_down=lies_down)


def _bar_axes(axes: Any, series: Series, *, lies_down: bool) -> None:
    positions = range(len(series.labels))
    along = axes.xaxis if lies_down else axes.yaxis
    along.set_major_formatter(_PLAIN)
    (axes.set_xlim if lies_down else axes.set_ylim)(_reach(series))
    if lies_down:
        axes.set_yticks(positions, series.labels)
        axes.invert_yaxis()
    else:
        axes.set_xticks(positions, series.labels)


def _values(series: Series, coordinate: int) -> list[float]:
    return [point[coordinate] for points in series.points.values() for point in points]


def _is_log(is_asked_for: bool, values: Sequence[float]) -> bool:
    """Say whether an axis can be logarithmic: zero is on none."""
    return is_asked_for and bool(values) and min(values) > 0
