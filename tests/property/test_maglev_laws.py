"""Laws of Maglev tables: the paper's result for any input, full, fair, independent of order."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ebpflb.core import maglev_claims
from ebpflb.core.maglev import SEED, maglev_table
from tests.unit.core.paper import populate

names = st.lists(st.binary(min_size=1, max_size=18), unique=True, max_size=40)
sizes = st.sampled_from((7, 31, 251, 1021, 2039, 4093))


@given(st.data(), names, sizes)
def test_any_table_is_the_paper_s(data: st.DataObject, identities: list[bytes], size: int) -> None:
    weight = st.integers(0, 3) | st.integers(0, 1 << 16) | st.just(1)
    weights = data.draw(st.lists(weight, min_size=len(identities), max_size=len(identities)))
    table = maglev_table(identities, weights, size).tolist()
    assert table == populate(identities, weights, size, SEED)
    assert len(table) == (size if any(weights) else 0)


@given(names.filter(bool), sizes)
def test_a_table_is_full_and_fair(identities: list[bytes], size: int) -> None:
    table = maglev_table(identities, [1] * len(identities), size)
    counts = np.bincount(table, minlength=len(identities))
    assert counts.sum() == size
    assert counts.max() - counts.min() <= 1


@given(st.data(), names, sizes)
def test_order_is_irrelevant(data: st.DataObject, identities: list[bytes], size: int) -> None:
    turned = data.draw(st.permutations(identities))
    one = maglev_table(identities, [1] * len(identities), size).tolist()
    other = maglev_table(turned, [1] * len(identities), size).tolist()
    assert [identities[index] for index in one] == [turned[index] for index in other]


@given(st.data(), st.integers(1, 6), st.integers(1, 12), st.sampled_from((7, 31, 251)))
def test_claims_in_any_order_end_as_turns_in_order(data: st.DataObject, tables: int, count: int, size: int) -> None:
    """Any walks, equal ones among them: many backends then claim the same slots at the same time."""

    def words(low: int, high: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
        rows = st.lists(st.integers(low, high), min_size=count, max_size=count)
        return np.array(data.draw(st.lists(rows, min_size=tables, max_size=tables)), dtype=np.int64)

    steps = maglev_claims.Steps(words(0, size - 1), words(1, size - 1), size)
    begin = data.draw(st.integers(0, (size - 1) // count)) * count
    owners = maglev_claims.first_turns(steps, begin)
    maglev_claims.last_turns(steps, owners, begin)
    for row in range(tables):
        assert owners[row].tolist() == _played(steps.offsets[row].tolist(), steps.skips[row].tolist(), size)


def _played(offsets: list[int], skips: list[int], size: int) -> list[int]:
    turn_of = [-1] * size
    for turn in range(size):
        backend = turn % len(offsets)
        slot = offsets[backend]
        while turn_of[slot] >= 0:
            slot = (slot + skips[backend]) % size
        turn_of[slot] = turn
    return turn_of
