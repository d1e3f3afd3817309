"""Taking turns: every contender as often, none always first, and drift that meets all of them cancels out."""

from collections.abc import Iterator
from itertools import count

import pytest

from ebpflb.bench.rounds import Rounds, half_spread, interleaved


def test_every_round_has_everybody_and_begins_with_another() -> None:
    calls: list[str] = []

    def note(name: str) -> float:
        calls.append(name)
        return float(len(calls))

    seen: list[int] = []
    rounds = interleaved(
        {name: lambda name=name: note(name) for name in "abc"},  # type: ignore[misc]
        3,
        on_round=seen.append,
    )
    by_round = [calls[start : start + 3] for start in range(0, 12, 3)]
    assert all(sorted(each) == ["a", "b", "c"] for each in by_round)
    assert len({tuple(each) for each in by_round[1:]}) == 3
    assert {name: len(values) for name, values in rounds.values.items()} == {"a": 3, "b": 3, "c": 3}
    assert seen == [1, 2, 3]


def test_drift_cancels_out() -> None:
    clock: Iterator[int] = count(1)

    def drifting(cost: float) -> float:
        return cost * (1 + next(clock) / 100)

    rounds = interleaved({"ours": lambda: drifting(2.0), "peer": lambda: drifting(1.0)}, 20, warm_up=0)
    assert rounds.ratio("ours", "peer") == pytest.approx(2.0, rel=0.02)


def test_ratios_above_a_floor() -> None:
    rounds = Rounds({"ours": [30.0, 40.0, 50.0], "peer": [50.0, 60.0, 70.0], "floor": [10.0, 20.0, 30.0]})
    assert rounds.ratios("ours", "peer", "floor") == [0.5, 0.5, 0.5]
    assert (rounds.ratio("ours", "peer", "floor"), rounds.spread("ours", "peer", "floor")) == (0.5, 0.0)
    assert (rounds.median("ours"), rounds.best("ours"), rounds.best("ours", highest=True)) == (40.0, 30.0, 50.0)


def test_the_spread_is_half_the_distance_of_the_quartiles() -> None:
    assert half_spread([1.0]) == 0.0
    assert half_spread([1.0, 2.0, 3.0, 4.0, 5.0]) == 1.0
