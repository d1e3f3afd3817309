"""The measure of Maglev: its loop is the paper's, what it compares is equal, what it draws is what tables are like."""

import numpy as np
import pytest

from ebpflb.bench.measure import Effort, RefusedError
from ebpflb.bench.measures import maglev
from ebpflb.bench.measures.maglev import Shape, check_tables, numpy_tables, plain_table, quality, sets_of
from ebpflb.core.maglev import SEED, maglev_table
from tests.unit.core.paper import populate


def test_the_loop_is_the_paper_s() -> None:
    for shape in (Shape(3, 10, 1_021), Shape(1, 1, 251), Shape(1, 40, 509)):
        for identities in sets_of(shape):
            assert plain_table(identities, shape.size) == populate(identities, [1] * shape.backends, shape.size, SEED)


def test_no_two_identities_are_alike() -> None:
    shape = Shape(300, 10, 1_021)
    assert len({identity for identities in sets_of(shape) for identity in identities}) == 3_000


@pytest.mark.parametrize("shape", [Shape(70, 3, 509), Shape(1, 30, 4_093)])
def test_numpy_s_tables_are_the_loop_s(shape: Shape) -> None:
    sets = sets_of(shape)
    tables = numpy_tables(sets, shape.size)
    loop = [plain_table(each, shape.size) for each in sets]
    check_tables(tables, loop)
    loop[-1][0] = (loop[-1][0] + 1) % shape.backends
    with pytest.raises(RefusedError, match=f"table {shape.tables - 1} is not the paper's"):
        check_tables(tables, loop)
    with pytest.raises(RefusedError, match="by the loop"):
        check_tables(tables, loop[1:])


def test_quality_is_what_a_table_is_like() -> None:
    found = quality(10, 1_021, 10)
    (identities,) = sets_of(Shape(1, 10, 1_021))
    counts = np.bincount(maglev_table(identities, [1] * 10, 1_021))
    assert found.load == pytest.approx(counts.max() / (1_021 / 10))
    assert 0.1 <= found.moved <= 0.13
    assert quality(2, 251, 2).moved == pytest.approx(0.5, abs=1 / 251), "the other one had its slots already"


def test_a_run_has_both_figures_and_both_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maglev, "MANY", Shape(70, 3, 509))
    monkeypatch.setattr(maglev, "LARGE", Shape(1, 10, 1_021))
    monkeypatch.setattr(maglev, "SIZES", (1_021,))
    heard: list[str] = []
    measured = maglev.measure(Effort(is_quick=True), heard.append)
    assert [result.id for result in measured.results] == ["P14", "P14b"]
    many = measured.results[0]
    assert many.value is not None
    assert many.value > 0
    assert (many.detail["tables"], many.detail["backends"], many.detail["slots"]) == (70, 3, 509)
    balance, disruption = measured.series
    (curve,) = balance.points.values()
    assert [point.x for point in curve] == [10]
    assert set(disruption.points) == {"1,021 slots", "those of the backend itself"}
    assert any("round 3 of 3" in line for line in heard)
