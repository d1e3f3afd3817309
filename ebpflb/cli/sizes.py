"""``--map-size``: how many entries the maps get that the agent makes.

Decides what a size may be; which maps have one is ``MapSizes``'s. A map that is pinned already keeps its size.

    NAME=ENTRIES ... -> parse_sizes -> MapSizes
"""

from collections.abc import Callable, Iterable
from dataclasses import fields
from typing import Any, Final, TypeVar

import click

from ebpflb.core.abi import SLOTS_PER_LINE
from ebpflb.datapath.build import MapSizes

_Command = TypeVar("_Command", bound=Callable[..., Any])
_NAMES: Final = tuple(item.name for item in fields(MapSizes))
_MOST: Final = 1 << 26
"""64 million: more than any node needs, and far below where the kernel's own arithmetic ends."""


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


def parse_sizes(values: Iterable[str]) -> MapSizes:
    """Return the defaults with what is given; an error names what is valid."""
    given: dict[str, int] = {}
    for value in values:
        name, _, text = value.partition("=")
        if name not in _NAMES:
            raise click.BadParameter(f"{value!r}: no map {name!r}; NAME=ENTRIES with one of {', '.join(_NAMES)}")
        least = SLOTS_PER_LINE if name == "slots" else 1
        entries = int(text) if text.isascii() and text.isdigit() else 0
        if not least <= entries <= _MOST:
            raise click.BadParameter(f"{value!r}: the map {name} takes a number from {least} to {_MOST}")
        given[name] = entries
    return MapSizes(**given)
