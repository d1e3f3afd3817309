"""Keeps measured points for the repository: the text of ``scaling_recorded.py``, and the tables of a page. Pure.

Decides how a point is written down. Knows neither where the texts are kept nor what is in the tables.

    Points --recorded--> a Python module          page, lines of a report --updated--> page
"""

from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any, Final

from ebpflb.bench.scaling_model import Point
from ebpflb.errors import UsageError

_OPENING: Final = '''"""Points of the scaling model, as `--measure` found them where docs/scaling.md says.

    FITTED, CHECKED --scaling_model.py--> costs, errors

Decides nothing.
"""

from ebpflb.bench.scaling_model import Point
'''
_DIGITS: Final = 6
_KEY_WORDS: Final = 2
"""So many words of a paragraph's beginning tell which one it is; of a table, the whole first line does."""


def rounded(point: Point) -> Point:
    """Return a point as it can be written down: what is computed of it is the same now and later."""
    numbers: dict[str, Any] = {field.name: _rounded(getattr(point, field.name)) for field in fields(point)}
    return Point(**numbers)


def recorded(fit: Sequence[Point], checks: Sequence[Point]) -> str:
    """Return the module that names points, which are rounded."""
    lines = [_OPENING]
    for name, points in (("FITTED", fit), ("CHECKED", checks)):
        lines += [f"{name} = (", *(line for point in points for line in _lines(point)), ")"]
    return "\n".join([*lines, ""])


def updated(page: str, report: Iterable[str]) -> str:
    """Return the page with each of the report's paragraphs in the place of the one that begins like it.

    Raises ``UsageError`` for a page that lacks one.
    """
    old = _paragraphs(page.splitlines())
    for new in _paragraphs(report):
        places = [place for place, paragraph in enumerate(old) if _key(paragraph) == _key(new)]
        if len(places) != 1:
            raise UsageError(
                f"the page has {len(places)} paragraphs that begin with {_key(new)!r}",
                remedy="give a page that has each table of `python -m ebpflb.bench.scaling` once",
            )
        old[places[0]] = new
    return "\n\n".join("\n".join(paragraph) for paragraph in old) + "\n"


def _lines(point: Point) -> list[str]:
    values = ((field.name, getattr(point, field.name)) for field in fields(point))
    return ["    Point(", *(f"        {name}={value!r}," for name, value in values), "    ),"]


def _rounded(value: float) -> float:
    return value if isinstance(value, int) else float(f"{value:.{_DIGITS}g}")


def _paragraphs(lines: Iterable[str]) -> list[list[str]]:
    found: list[list[str]] = [[]]
    for line in lines:
        if line:
            found[-1].append(line)
        elif found[-1]:
            found.append([])
    return [paragraph for paragraph in found if paragraph]


def _key(paragraph: Sequence[str]) -> str:
    first = paragraph[0]
    return first if first.startswith("|") else " ".join(first.split()[:_KEY_WORDS])
