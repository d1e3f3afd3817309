"""A run as JSON, and back: what `--json` writes and what `python -m ebpflb.bench.render` reads. Pure.

Decides the names and shapes of the document. Knows not where it is kept.

    Machine, Outcome --to_document--> {"machine", "run", "results", "series", "peers"} --from_json--> Document
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any

import msgspec

from ebpflb.bench.figures import BY_ID, Result
from ebpflb.bench.machine import Machine
from ebpflb.bench.measure import Point, Series
from ebpflb.bench.suite import Outcome
from ebpflb.errors import UsageError


@dataclass(frozen=True, slots=True)
class Run:
    """How the run was made, and what did not come out of it."""

    command: str
    quick: bool
    seconds: float
    interrupted: bool
    failures: Mapping[str, str]
    """Why a measure of no figure found out nothing, by its title."""


@dataclass(frozen=True, slots=True)
class Document:
    """Everything that a run has to tell."""

    machine: Machine
    run: Run
    results: Sequence[Result]
    """In the order of the figures."""
    series: Sequence[Series]
    peers: Mapping[str, str]
    """What the measures say of the peers of this run."""


def document(machine: Machine, outcome: Outcome, command: str) -> Document:
    """Return what a run has to tell."""
    seconds = round(sum(part.seconds for part in outcome.parts), 1)
    run = Run(command, outcome.effort.is_quick, seconds, outcome.is_interrupted, outcome.failures)
    return Document(machine, run, outcome.results, outcome.series, outcome.facts)


def to_json(told: Document) -> str:
    """Return the text of a file. Numbers that JSON has not (infinity, not a number) are left out."""
    return json.dumps(_finite(asdict(told)), indent=2, ensure_ascii=False, allow_nan=False, default=_scalar) + "\n"


def from_json(text: bytes, name: str) -> Document:
    """Read what ``to_json`` wrote. Raises ``UsageError`` that names the file and the field."""
    remedy = "give a file that `ebpflb bench --json` of this version wrote"
    try:
        read = msgspec.json.decode(text, type=Document)
    except msgspec.DecodeError as error:
        raise UsageError(f"{name}: {error}", remedy=remedy) from error
    unknown = [result.id for result in read.results if result.id not in BY_ID]
    if unknown:
        raise UsageError(f"{name}: results: there is no figure {unknown[0]}", remedy=remedy)
    return read


def _finite(value: Any) -> Any:
    match value:
        case dict():
            return {name: _finite(each) for name, each in value.items() if not _is_odd(each)}
        case list() | tuple():
            return [_finite(each) for each in value if not _is_odd(each)]
    return value


def _is_odd(value: Any) -> bool:
    """Say whether a value is, or a point of a curve has, a number that is none."""
    numbers = value if isinstance(value, Point) else (value,)
    return any(isinstance(each, float) and not isfinite(each) for each in numbers)


def _scalar(value: Any) -> Any:
    """Return the plain number of one of numpy's."""
    return value.item()
