"""``--map-size``: how many entries the maps get that the agent makes.

Decides what a size may be; which maps have one is ``MapSizes``'s. A map that is pinned already keeps its size.

    NAME=ENTRIES ... -> parse_sizes -> {name: entries}        {name: entries} -> size_problem -> SizeProblem?
"""

from collections.abc import Callable, Iterable
from dataclasses import fields
from typing import Any, Final, NamedTuple, TypeVar

import click

from ebpflb.core.abi import SLOTS_PER_LINE
from ebpflb.core.proxy_config_own import MOST_ENTRIES
from ebpflb.datapath.build import MapSizes

_Command = TypeVar("_Command", bound=Callable[..., Any])
_NAMES: Final = tuple(item.name for item in fields(MapSizes))


class SizeProblem(NamedTuple):
    """Why a map cannot have a size."""

    what: str
    remedy: str


def map_size_option(command: _Command) -> _Command:
    """Add ``--map-size``."""
    return click.option(
        "--map-size",
        "sizes",
        multiple=True,
        metavar="NAME=ENTRIES",
        callback=lambda _context, _parameter, values: parse_sizes(values),
        help=f"Entries of a map, where the default does not fit: {', '.join(_NAMES)}. May be repeated. Maps that are "
        "pinned already keep their size until `ebpflb cleanup`.",
    )(command)


def parse_sizes(values: Iterable[str]) -> dict[str, int]:
    """Return what is given; an error names what is valid."""
    given: dict[str, int] = {}
    for value in values:
        name, _, text = value.partition("=")
        entries = int(text) if text.isascii() and text.isdigit() else 0
        problem = size_problem(name, entries)
        if problem is not None:
            raise click.BadParameter(f"{value!r}: {problem.what}; {problem.remedy}")
        given[name] = entries
    return given


def size_problem(name: str, entries: int) -> SizeProblem | None:
    """Return why a map cannot have so many entries, if it cannot."""
    if name not in _NAMES:
        return SizeProblem(f"no map {name!r}", f"use one of {', '.join(_NAMES)}")
    least = SLOTS_PER_LINE if name == "slots" else 1
    if not least <= entries <= MOST_ENTRIES:
        return SizeProblem(f"not a size of the map {name}", f"give a number from {least} to {MOST_ENTRIES}")
    return None
