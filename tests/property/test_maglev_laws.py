"""Laws of Maglev tables: the paper's result for any input, full, fair, independent of order."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

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
