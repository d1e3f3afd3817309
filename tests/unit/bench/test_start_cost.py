"""What a Service costs a start: that all of it is done, and how the table is made of it."""

import pytest

from ebpflb.bench import start_cost
from ebpflb.bench.apiserver_objects import Scale
from ebpflb.bench.start_cost import main, report, start_once

PHASES = {"read Service", "read EndpointSlice", "hold", "batch", "compile", "compare", "tell"}


def test_every_phase_of_a_start_has_its_costs() -> None:
    costs = start_once(Scale(20, 3))
    assert costs.keys() == PHASES
    assert all(cost > 0 for cost in costs.values())


def test_what_is_compiled_is_the_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(start_cost, "_compile", lambda _phases, batch: seen.append(batch))
    start_once(Scale(501, 3))  # a page and one Service
    (batch,) = seen
    assert len(batch.snapshot.services) == len(batch.snapshot.slices) == 501
    assert {len(each.endpoints) for each in batch.snapshot.slices.values()} == {3}
    assert [*batch.snapshot.slices] == sorted(batch.snapshot.slices), "in the order of the list"


def test_the_table_has_medians_and_the_last_size_of_the_first() -> None:
    few = [{"read": 10.0, "compile": cost} for cost in (40.0, 1000.0, 30.0)]
    many = [{"read": 20.0, "compile": 60.0}]
    title, *rows = [line.split() for line in report([(Scale(1_000, 5), few), (Scale(5_000, 5), many)])]
    assert title == ["us", "a", "Service", "1,000", "5,000", "ratio"]
    assert rows == [
        ["read", "10.0", "20.0", "2.00"],
        ["compile", "40.0", "60.0", "1.50"],
        ["all", "50.0", "80.0", "1.60"],
    ]


def test_each_start_is_a_process_of_its_own(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start_cost, "start_once", lambda _scale: pytest.fail("in this process"))
    assert main(["--services", "3", "6", "--endpoints", "2", "--rounds", "1"]) == 0
    title, *rows = capsys.readouterr().out.splitlines()
    assert title.split()[-3:] == ["3", "6", "ratio"]
    assert {row[:24].strip() for row in rows} == PHASES | {"all"}
