from collections.abc import Mapping

import pytest

from ebpflb.bench.cycles import Run
from ebpflb.bench.cycles_frames import ACK, SYN, Endpoints, endpoints_of, is_right, packed, segment
from ebpflb.bench.measure import RefusedError
from ebpflb.bench.measures.program_results import (
    BEYOND,
    COLD,
    EMPTY,
    EMPTY_NEW,
    EMPTY_RANDOM,
    ESTABLISHED,
    FIRST,
    HASH,
    MANY,
    RANDOM,
    UNCLAIMED,
    among,
    results_of,
    series_of,
    steady,
)
from ebpflb.bench.measures.programs import check
from ebpflb.bench.rounds import Rounds
from ebpflb.core.abi import Counter

PASS, TX = 2, 3
NS = {
    EMPTY: 20,
    HASH: 30,
    ESTABLISHED: 34,
    UNCLAIMED: 26,
    BEYOND: 40,
    EMPTY_NEW: 22,
    FIRST: 222,
    EMPTY_RANDOM: 25,
    RANDOM: 139,
    COLD: 125,
    among(ESTABLISHED, MANY): 34,
    among(UNCLAIMED, MANY): 26,
    among(FIRST, MANY): 262,
}


def rounds_of(ns: Mapping[str, float]) -> Rounds:
    return Rounds({name: [value] * 5 for name, value in ns.items()})


def test_costs_are_counted_above_an_empty_program_in_look_ups() -> None:
    values = {result.id: result.value for result in results_of(rounds_of(NS))}
    assert values == pytest.approx({"P3": 1.4, "P4": 0.6, "P5": 20.0, "P9": 1.2, "P9b": 1.0})


def test_growth_is_that_of_the_worst_way() -> None:
    growth = next(result for result in results_of(rounds_of(NS)) if result.id == "P9")
    assert growth.note == "the worst: first"
    assert growth.detail == pytest.approx({"established_ratio": 1.0, "unclaimed_ratio": 1.0, "first_ratio": 1.2})


def test_a_unit_that_cost_nothing_makes_no_figure() -> None:
    with pytest.raises(RefusedError, match="hash cost nothing"):
        results_of(rounds_of({**NS, HASH: 20}))


def test_the_plot_has_a_bar_for_each_way_that_was_measured() -> None:
    series = series_of(rounds_of(NS))
    assert [len(points) for points in series.points.values()] == [5, 3, 5]
    assert [point.y for point in series.points["ebpflb, 10,000 Services"]] == [14, 6, 240]


def test_disturbed_rounds_do_not_count() -> None:
    assert steady([1, 13, 10, 98, 11, 12, 14, 97]) == 12.5
    assert steady([3]) == 3


ENDS = Endpoints(packed("198.18.0.1"), 1024, packed("10.96.0.1"), 80)


@pytest.mark.parametrize("ends", [ENDS, Endpoints(packed("2001:2::1"), 1024, packed("fd00:96::1"), 80)])
def test_a_segment_is_right_and_can_be_read_back(ends: Endpoints) -> None:
    frame = segment(ends, SYN)
    assert is_right(frame)
    assert endpoints_of(frame) == ends
    assert not is_right(frame[:-1] + b"?")


def test_a_run_that_took_its_way_is_accepted() -> None:
    check("established", TX, {Counter.FORWARDED: 9}, Run(1, TX, segment(ENDS, ACK)), {Counter.FORWARDED: 9})


@pytest.mark.parametrize(
    ("run", "counted", "words"),
    [
        (Run(1, PASS, segment(ENDS, ACK)), {Counter.FORWARDED: 9}, "the verdict is 2, not 3"),
        (Run(1, TX, segment(ENDS, ACK)), {Counter.FORWARDED: 8}, r"another way \(forwarded 8 was counted\)"),
        (Run(1, TX, segment(ENDS, ACK)), {}, r"another way \(nothing was counted\)"),
        (Run(1, TX, segment(ENDS, ACK)[:-1] + b"?"), {Counter.FORWARDED: 9}, "checksums of .* are wrong"),
    ],
)
def test_a_run_that_took_another_way_is_refused(run: Run, counted: dict[Counter, int], words: str) -> None:
    with pytest.raises(RefusedError, match=words):
        check("established", TX, {Counter.FORWARDED: 9}, run, counted)
