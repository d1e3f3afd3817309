"""Runs measures one after the other and gathers what they found; one that fails does not stop the others.

Decides what becomes of a measure that cannot be trusted or does not end: each of its figures is unmeasured, with the
reason. Knows no measure, and not how anything is shown.

    Subject..., wanted figures, Effort --run--> Outcome(results, series, facts, failures)
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Final, Protocol

from ebpflb.bench.figures import BY_ID, FIGURES, Figure, Result, unmeasured
from ebpflb.bench.measure import Effort, Measure, Measured, Series
from ebpflb.bench.registry import Subject
from ebpflb.bench.signals import SignalsAsExceptions
from ebpflb.errors import EbpflbError

DEBUG_VARIABLE: Final = "EBPFLB_DEBUG"
_ENDING: Final = (signal.SIGTERM, signal.SIGHUP)
_EXPECTED: Final = (EbpflbError, OSError, subprocess.SubprocessError)
"""What a machine may do to a measure. Anything else is a bug of ours, and is called so."""


class Listener(Protocol):
    """Hears how far a run has got. What it does between two calls disturbs what is measured: it should be nothing."""

    def begins(self, subject: Subject) -> None:
        """Hear that a subject is next."""

    def says(self, words: str) -> None:
        """Hear what the present subject does now."""

    def ends(self, part: "Part") -> None:
        """Hear what became of the present subject."""


@dataclass(frozen=True, slots=True)
class Part:
    """What became of one subject."""

    subject: Subject
    seconds: float
    results: tuple[Result, ...]
    """Of the wanted figures."""
    series: tuple[Series, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    failure: str = ""
    """Why it found out nothing."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run found out."""

    effort: Effort
    parts: tuple[Part, ...]
    is_interrupted: bool = False

    @property
    def results(self) -> tuple[Result, ...]:
        """Results in the order of the figures."""
        by_id = {result.id: result for part in self.parts for result in part.results}
        return tuple(by_id[figure.id] for figure in FIGURES if figure.id in by_id)

    @property
    def series(self) -> tuple[Series, ...]:
        """Every curve and bar."""
        return tuple(series for part in self.parts for series in part.series)

    @property
    def facts(self) -> dict[str, str]:
        """What the measures say of the peers that they met."""
        return {name: fact for part in self.parts for name, fact in part.facts.items()}

    @property
    def failures(self) -> dict[str, str]:
        """Why a subject found out nothing, by its title, where no figure of it says so."""
        return {part.subject.title: part.failure for part in self.parts if part.failure and not part.results}


def run(
    subjects: Sequence[Subject],
    wanted: Sequence[Figure],
    effort: Effort,
    listener: Listener,
    load: Callable[[Subject], Measure],
) -> Outcome:
    """Run the measures that ``load`` returns, in turn. SIGINT ends the run, not what was found before it."""
    ids = frozenset(figure.id for figure in wanted)
    parts: list[Part] = []
    with SignalsAsExceptions(*_ENDING):
        for subject in subjects:
            listener.begins(subject)
            started = time.monotonic()
            try:
                part = _measured(subject, load(subject)(effort, listener.says), started, ids)
            except KeyboardInterrupt as error:
                rest = _interrupted(subjects[len(parts) :], _noted("interrupted before it was done", error), ids)
                return Outcome(effort, (*parts, *rest), is_interrupted=True)
            except Exception as error:
                if os.environ.get(DEBUG_VARIABLE, "") not in {"", "0"}:
                    raise
                part = _failed(subject, _why(error), time.monotonic() - started, ids)
            parts.append(part)
            listener.ends(part)
    return Outcome(effort, tuple(parts))


def _measured(subject: Subject, measured: Measured, started: float, wanted: frozenset[str]) -> Part:
    """Return what a subject found out, each of its wanted figures once: one that it left out is not passed over."""
    found = {result.id: _checked(result) for result in measured.results}
    odd = sorted(set(found) - set(subject.figures))
    if odd or len(found) != len(measured.results):
        raise RuntimeError(f"measures.{subject.module} returned {', '.join(odd) or 'a figure twice'}")
    results = tuple(
        found.get(name) or unmeasured(name, f"measures.{subject.module} did not return it: this is a bug")
        for name in subject.figures
        if name in wanted
    )
    return Part(subject, time.monotonic() - started, results, tuple(measured.series), dict(measured.facts))


def _checked(result: Result) -> Result:
    """Return the result, if its value can be and its judgement is the figure's.

    No figure can be below zero: a difference that is means that the machine's other work was most of what was measured.
    """
    if result.value is None:
        return result
    if not isfinite(result.value) or result.value < 0:
        words = f"the value came out as {result.value:.3g}, which nothing can cost; let the machine do nothing else"
        return unmeasured(result.id, "; ".join(filter(None, [words, result.note])))
    if result.met != BY_ID[result.id].is_met_by(result.value):
        raise RuntimeError(f"{result.id} was judged by another target than its own")
    return result


def _failed(subject: Subject, failure: str, seconds: float, wanted: frozenset[str]) -> Part:
    results = tuple(unmeasured(name, failure) for name in subject.figures if name in wanted)
    return Part(subject, seconds, results, failure=failure)


def _interrupted(subjects: Sequence[Subject], failure: str, wanted: frozenset[str]) -> list[Part]:
    return [_failed(subject, failure, 0.0, wanted) for subject in subjects]


def _why(error: Exception) -> str:
    if isinstance(error, EbpflbError):
        return _noted(str(error), error)
    words = _noted(f"{type(error).__name__}: {error}", error)
    return words if isinstance(error, _EXPECTED) else f"{words}; this is a bug; {DEBUG_VARIABLE}=1 shows the traceback"


def _noted(words: str, error: BaseException) -> str:
    """Return the words, with what was noted on the error's way: what could not be removed after it."""
    return "; ".join([words, *getattr(error, "__notes__", [])])
