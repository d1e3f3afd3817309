"""The comparison with the committed figures: what is over budget, and what a person is shown. Needs no root."""

from pathlib import Path

import pytest

from tests.prog import budgets
from tests.prog.budgets import Row, Size

BUDGET = Size(instructions=1000, verified=20_000)


@pytest.mark.parametrize(
    ("size", "same_kernel", "excess"),
    [
        (BUDGET, True, []),
        (Size(1100, 22_000), True, []),
        (Size(500, 10_000), True, []),
        (Size(1101, 20_000), True, ["lb_out4: 1101 instructions, 1000 committed"]),
        (Size(1000, 22_001), True, ["lb_out4: 22001 verified, 20000 committed"]),
        (Size(1000, 22_001), False, []),
        (Size(1000, 1_000_001), False, ["lb_out4: 1000001 verified, 20000 committed"]),
        (Size(1000, 0), True, []),
    ],
)
def test_more_than_a_tenth_is_over_budget(size: Size, same_kernel: bool, excess: list[str]) -> None:
    assert Row("lb_out4", size, BUDGET).excess(same_kernel=same_kernel) == excess


def test_a_program_without_a_budget_is_over_it() -> None:
    (row,) = budgets.compare({"lb_new6": BUDGET}, {"lb_out6": BUDGET})
    assert row.excess(same_kernel=True) == ["lb_new6: has no budget"]


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "budgets.json"
    budgets.write_budgets({"lb_out4": BUDGET, "lb_in4": Size(1, 2)}, path)
    assert budgets.read_budgets(path) == (budgets.kernel_series(), {"lb_in4": Size(1, 2), "lb_out4": BUDGET})


def test_the_table_shows_figures_limits_and_change() -> None:
    rows = [Row("lb_out4", Size(1050, 20_000), BUDGET), Row("lb_new6", BUDGET, None)]
    heading, old, new = budgets.table(rows)
    assert heading.split() == ["program", "family", "instructions", "(limit)", "verified", "(limit)", "change"]
    assert old.split() == ["lb_out", "IPv4", "1050", "(1100)", "20000", "(22000)", "+5%/="]
    assert new.split() == ["lb_new", "IPv6", "1000", "(none)", "20000", "(none)", "new"]
