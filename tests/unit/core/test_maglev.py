import numpy as np
import pytest

from ebpflb.core import maglev, maglev_walk
from ebpflb.core.maglev import SEED, SIZES, maglev_table, maglev_tables, table_size
from tests.unit.core.paper import populate


def identities(count: int) -> list[bytes]:
    return [b"10.0.%d.%d" % divmod(number, 256) for number in range(count)]


@pytest.mark.parametrize(
    ("backends", "size"),
    [(0, 251), (1, 251), (2, 251), (3, 509), (10, 1021), (100, 16381), (655, 65537), (656, 131071), (10**6, 1048573)],
)
def test_a_table_has_a_hundred_slots_for_each_backend(backends: int, size: int) -> None:
    assert table_size(backends) == size


def test_every_size_is_a_prime() -> None:
    for size in SIZES:
        assert all(size % divisor for divisor in range(2, int(size**0.5) + 1)), size


@pytest.mark.parametrize(
    ("size", "weights"),
    [
        (7, [1, 1, 1]),
        (7, [1] * 12),
        (251, [1]),
        (1021, [1] * 10),
        (4093, [1] * 5),
        (4093, [5, 0, 3, 1, 1]),
        (16381, [1] * 100),
        (16381, [1000, 1, 999, *[7] * 50]),
        (65537, [1] * 1000),
        (65537, [*[100] * 300, *[50] * 300]),
    ],
)
def test_the_table_is_the_paper_s(size: int, weights: list[int]) -> None:
    names = identities(len(weights))
    table = maglev_table(names, weights, size)
    assert table.dtype == np.uint32
    assert table.tolist() == populate(names, weights, size, SEED)


def test_the_result_does_not_depend_on_what_numpy_searched_for(monkeypatch: pytest.MonkeyPatch) -> None:
    names = identities(300)
    expected = maglev_table(names, [1] * 300, 32749)
    for part, spare in ((1, 1.25), (3, 0.1), (16, 0.0), (64, 3.0)):
        monkeypatch.setattr(maglev_walk, "_SEARCH_PART", part)
        monkeypatch.setattr(maglev_walk, "_SPARE", spare)
        assert np.array_equal(maglev_table(names, [1] * 300, 32749), expected), (part, spare)


@pytest.mark.parametrize(
    ("count", "size"), [(400, 65537), (1000, 65537), (1000, 2003), (401, 809), (600, 1021), (500, 7)]
)
def test_a_large_table_is_the_paper_s(count: int, size: int) -> None:
    names = identities(count)
    assert maglev_table(names, [1] * count, size).tolist() == populate(names, [1] * count, size, SEED)


@pytest.mark.parametrize(
    ("tables", "count", "size"),
    [(70, 10, 1021), (64, 2, 251), (70, 1, 251), (66, 5, 509), (64, 20, 2039), (65, 12, 7), (3, 4, 509), (70, 0, 251)],
)
def test_tables_computed_together_are_those_computed_alone(tables: int, count: int, size: int) -> None:
    sets = [[b"10.%d.0.%d" % (table, number) for number in range(count)] for table in range(tables)]
    together = maglev_tables(sets, size)
    assert [table.tolist() for table in together] == [populate(names, [1] * count, size, SEED) for names in sets]
    assert all(table.dtype == np.uint32 for table in together)


def test_sets_of_many_sizes_may_be_mixed() -> None:
    sets = [[b"10.%d.0.%d" % (table, number) for number in range(table % 4)] for table in range(330)]
    for names, table in zip(sets, maglev_tables(sets, 509, b"other"), strict=True):
        assert np.array_equal(table, maglev_table(names, [1] * len(names), 509, b"other"))


def test_more_tables_than_are_computed_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maglev, "_MOST_BACKENDS", 200)
    sets = [[b"%d.%d" % (table, number) for number in range(3)] for table in range(150)]
    for names, table in zip(sets, maglev_tables(sets, 509), strict=True):
        assert table.tolist() == populate(names, [1] * 3, 509, SEED)


def test_without_sets_there_are_no_tables() -> None:
    assert maglev_tables([], 251) == []


def test_equal_weights_get_equal_counts() -> None:
    for count, size in ((3, 509), (100, 16381), (1000, 131071)):
        counts = np.bincount(maglev_table(identities(count), [1] * count, size), minlength=count)
        assert counts.sum() == size
        assert counts.max() - counts.min() <= 1


def test_weights_are_honoured() -> None:
    weights = [100] * 50 + [50] * 50
    counts = np.bincount(maglev_table(identities(100), weights, 16381))
    assert counts[:50].sum() / 16381 == pytest.approx(2 / 3, abs=0.002)
    assert np.ptp(counts[:50]) <= 1
    assert np.ptp(counts[50:]) <= 1


def test_weight_zero_is_left_out() -> None:
    names = identities(5)
    table = maglev_table(names, [1, 0, 1, 0, 1], 1021)
    assert set(table.tolist()) == {0, 2, 4}
    kept = maglev_table(names[::2], [1, 1, 1], 1021)
    assert np.array_equal(table, kept * 2)


@pytest.mark.parametrize(("size", "extra"), [(16381, 0.015), (65537, 0.0065)])
def test_a_backend_s_removal_moves_its_own_slots_and_few_others(size: int, extra: float) -> None:
    names = identities(100)
    before = maglev_table(names, [1] * 100, size)
    moved = []
    for gone in range(0, 100, 10):
        weights = [1] * 100
        weights[gone] = 0
        after = maglev_table(names, weights, size)
        assert gone not in after
        moved.append(np.count_nonzero((before != after) & (before != gone)) / size)
    assert max(moved) <= extra


def test_the_order_of_the_input_is_irrelevant() -> None:
    names = identities(50)
    turned = names[::-1]
    one = maglev_table(names, [1] * 50, 8191)
    other = maglev_table(turned, [1] * 50, 8191)
    assert [names[index] for index in one.tolist()] == [turned[index] for index in other.tolist()]


def test_the_seed_decides() -> None:
    one, other = (maglev_table(identities(10), [1] * 10, 1021, seed) for seed in (b"one", b"other"))
    assert np.count_nonzero(one != other) > 500


def test_without_backends_the_table_is_empty() -> None:
    assert maglev_table([], [], 251).tolist() == []
    assert maglev_table([b"gone"], [0], 251).tolist() == []
