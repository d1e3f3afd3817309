"""What becomes of a run when its measures do as they should, and when they do not."""

import math
import os
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pytest

from ebpflb.bench.figures import FIGURES, Result, judge, select, unmeasured
from ebpflb.bench.measure import Effort, Measure, Measured, Progress, RefusedError, Series
from ebpflb.bench.registry import Subject
from ebpflb.bench.suite import Outcome, Part, run
from ebpflb.errors import PrerequisiteError

CONNECT = Subject("connect", "TCP connect()", ("P1", "P1b"), 1, 2)
REQUESTS = Subject("requests", "requests", (), 1, 2)
TABLES = Subject("maglev", "Maglev tables", ("P14",), 1, 2)
CURVE = Series("latency", "Latency", "Services", "us", {})
GOOD = Measured([judge("P14", 0.4)], [CURVE], {"nft": "1.0.6"})


@dataclass
class Heard:
    """A listener that remembers."""

    words: list[str] = field(default_factory=list)

    def begins(self, subject: Subject) -> None:
        self.words.append(f"begins {subject.module}")

    def says(self, words: str) -> None:
        self.words.append(words)

    def ends(self, part: Part) -> None:
        self.words.append(f"ends {part.subject.module}")


def play(
    outcomes: Mapping[str, Measured | BaseException],
    only: str = "",
    heard: Heard | None = None,
    *,
    is_quick: bool = True,
) -> Outcome:
    """Run the three subjects, which return or raise what is given by module; the others return nothing."""

    def load(subject: Subject) -> Measure:
        def measure(effort: Effort, progress: Progress) -> Measured:
            assert effort.is_quick is is_quick
            progress(f"at {subject.module}")
            outcome = outcomes.get(subject.module, Measured(()))
            if isinstance(outcome, BaseException):
                raise outcome
            return outcome

        return measure

    wanted = select(only) if only else FIGURES
    return run((CONNECT, REQUESTS, TABLES), wanted, Effort(is_quick=is_quick), heard or Heard(), load)


def test_results_come_in_the_order_of_the_figures_with_what_came_along() -> None:
    heard = Heard()
    first = judge("P1", 1.01), judge("P1b", 2.0)
    outcome = play({"connect": Measured(first, facts={"ipvs": "none"}), "maglev": GOOD}, heard=heard, is_quick=True)
    assert outcome.results == (*first, judge("P14", 0.4))
    assert (outcome.series, outcome.facts) == ((CURVE,), {"ipvs": "none", "nft": "1.0.6"})
    assert (outcome.failures, outcome.is_interrupted) == ({}, False)
    assert heard.words[:6] == [
        "begins connect",
        "at connect",
        "ends connect",
        "begins requests",
        "at requests",
        "ends requests",
    ]


@pytest.mark.parametrize(
    ("error", "note"),
    [
        (RefusedError("frames were lost", remedy="run again"), "frames were lost; run again"),
        (PrerequisiteError("no nft", remedy="install it"), "no nft; install it"),
        (OSError(28, "No space left"), "OSError: [Errno 28] No space left"),
        (subprocess.TimeoutExpired("nft", 60), "TimeoutExpired: Command 'nft' timed out after 60 seconds"),
        (KeyError("P99"), "KeyError: 'P99'; this is a bug; EBPFLB_DEBUG=1 shows the traceback"),
    ],
)
def test_a_measure_that_fails_is_noted_and_stops_no_other(
    error: Exception, note: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EBPFLB_DEBUG", raising=False)
    outcome = play({"connect": error, "maglev": GOOD})
    assert outcome.results == (unmeasured("P1", note), unmeasured("P1b", note), judge("P14", 0.4))
    assert outcome.failures == {}


def test_a_measure_of_no_figure_that_fails_is_named() -> None:
    assert play({"requests": RefusedError("odd"), "maglev": GOOD}).failures == {"requests": "odd"}


def test_debugging_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EBPFLB_DEBUG", "1")
    with pytest.raises(RefusedError, match="odd"):
        play({"connect": RefusedError("odd")})


def test_only_what_is_wanted_is_returned() -> None:
    assert play({"maglev": GOOD}, "P14").results == (judge("P14", 0.4),)


def test_a_figure_that_a_measure_leaves_out_is_not_passed_over() -> None:
    results = play({"connect": Measured([judge("P1", 1.0)]), "maglev": GOOD}).results
    assert [(result.id, result.value) for result in results] == [("P1", 1.0), ("P1b", None), ("P14", 0.4)]
    assert results[1].note == "measures.connect did not return it: this is a bug"


@pytest.mark.parametrize(("value", "text"), [(math.nan, "nan"), (math.inf, "inf"), (-3.1578, "-3.16")])
def test_a_value_that_cannot_be_meets_nothing(value: float, text: str) -> None:
    (result,) = play({"maglev": Measured([judge("P14", value, note="of 3 rounds")])}, "P14").results
    assert (result.value, result.met) == (None, False)
    assert result.note.startswith(f"the value came out as {text}, which")
    assert result.note.endswith("; of 3 rounds")


@pytest.mark.parametrize(
    ("results", "note"),
    [
        ([judge("P2", 1.0)], "measures.maglev returned P2"),
        ([judge("P14", 0.1), judge("P14", 0.2)], "measures.maglev returned a figure twice"),
        ([replace(judge("P14", 0.9), met=True)], "P14 was judged by another target than its own"),
    ],
)
def test_results_that_cannot_be_are_not_believed(results: list[Result], note: str) -> None:
    (result,) = play({"maglev": Measured(results)}, "P14").results
    assert result.value is None
    assert note in result.note


def test_an_interrupted_run_keeps_what_it_has() -> None:
    outcome = play({"connect": Measured([judge("P1", 1.0), judge("P1b", 1.0)]), "requests": KeyboardInterrupt()})
    assert outcome.is_interrupted
    assert [(result.id, result.value) for result in outcome.results] == [("P1", 1.0), ("P1b", 1.0), ("P14", None)]
    assert outcome.failures == {"requests": "interrupted before it was done"}


def test_what_was_noted_on_an_errors_way_is_told() -> None:
    stopped, refused = KeyboardInterrupt(), RefusedError("odd")
    for error in (stopped, refused):
        error.add_note("a namespace is left")
    assert play({"requests": stopped}).failures == {"requests": "interrupted before it was done; a namespace is left"}
    assert play({"requests": refused}).failures == {"requests": "odd; a namespace is left"}


def test_sigterm_unwinds_what_a_measure_has_set_up() -> None:
    undone: list[str] = []

    def measure(_effort: Effort, _progress: Progress) -> Measured:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            signal.sigtimedwait([signal.SIGUSR1], 5)
        finally:
            undone.append("lab")
        return GOOD

    with pytest.raises(SystemExit) as caught:
        run((TABLES,), select("P14"), Effort(), Heard(), lambda _subject: measure)
    assert (caught.value.code, undone) == (128 + signal.SIGTERM, ["lab"])
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
