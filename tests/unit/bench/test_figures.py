"""Which figures there are, and when one is met."""

import pytest

from ebpflb.bench.figures import BY_ID, FIGURES, judge, select, unmeasured


def test_every_figure_of_the_design_is_there_once() -> None:
    assert len(BY_ID) == len(FIGURES)
    assert {figure.number for figure in FIGURES} == {f"P{number}" for number in range(1, 16)}


@pytest.mark.parametrize(
    ("figure_id", "value", "met"),
    [("P1", 1.03, True), ("P1", 1.031, False), ("P7", 2.0, True), ("P7", 1.99, False), ("P12", 121.0, False)],
)
def test_a_target_is_reached_from_its_own_side(figure_id: str, value: float, met: bool) -> None:
    result = judge(figure_id, value, peer=1.0)
    assert (result.value, result.met, result.peer) == (value, met, 1.0)
    assert result.command == f"ebpflb bench --only {figure_id}"


def test_what_was_not_measured_is_not_met() -> None:
    result = unmeasured("P10b", "no nft here")
    assert (result.value, result.met, result.note, result.command) == (
        None,
        False,
        "no nft here",
        "ebpflb bench --only P10",
    )


def test_figures_are_chosen_by_number() -> None:
    assert [figure.id for figure in select("p9, P3")] == ["P3", "P9", "P9b", "P9c"]
    assert select("") == FIGURES
    with pytest.raises(ValueError, match="P16"):
        select("P16")
