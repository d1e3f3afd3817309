"""Rows of backends, and their places, held by columns: as a dict would hold them."""

from array import array

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ebpflb.core.abi import BackendFlag, BackendState, Protocol
from ebpflb.core.backend_rows import BackendColumns, BackendRows
from ebpflb.core.places import BackendId, Places
from ebpflb.core.tables import Backend, BackendKey

KEYS = [BackendKey(bytes([10, 0, 0, number]), 80, Protocol.TCP) for number in range(8)]
LARGE = 1 << 63
"""A generation that no field holds: it is the packing that refuses it."""

rows = st.builds(
    Backend,
    key=st.sampled_from(KEYS),
    state=st.sampled_from([BackendState.ACTIVE, BackendState.DRAINING]),
    flags=st.sampled_from([BackendFlag(0), BackendFlag.LOCAL, BackendFlag(128)]),
    generation=st.sampled_from([0, 1, LARGE]),
)
tables = st.dictionaries(st.integers(0, 40), rows, max_size=12)
steps = st.lists(st.tuples(st.integers(0, 40), st.none() | rows), max_size=20)


def held(wanted: dict[int, Backend]) -> BackendRows:
    found = BackendRows()
    found.update(wanted)
    return found


@settings(max_examples=50)
@given(tables, steps)
def test_rows_are_held_as_a_dict_holds_them(
    before: dict[int, Backend], changes: list[tuple[int, Backend | None]]
) -> None:
    wanted, found = dict(before), held(before)
    for number, row in changes:
        if row is None:
            assert found.pop(number, None) == wanted.pop(number, None)
        else:
            found[number] = wanted[number] = row
        assert (number in found) is (number in wanted)
        assert found.get(number) == wanted.get(number)
    assert found == wanted
    assert len(found) == len(wanted)
    assert list(found) == sorted(wanted)


@settings(max_examples=50)
@given(tables, tables)
def test_what_changed_is_what_differs(one: dict[int, Backend], other: dict[int, Backend]) -> None:
    differing = {number: row for number, row in one.items() if other.get(number) != row}
    assert held(one).changed_from(held(other)) == differing


@settings(max_examples=50)
@given(tables, st.integers(1, 50))
def test_columns_are_the_rows(wanted: dict[int, Backend], most: int) -> None:
    parts = list(held(wanted).columns(most))
    assert {number: row for part in parts for number, row in part.rows().items()} == wanted
    assert all(0 < len(part.numbers) <= most for part in parts)
    joined = BackendColumns(
        np.concatenate([part.numbers for part in parts] or [np.empty(0, np.int64)]),
        [key for part in parts for key in part.keys],
        *(np.concatenate([part[place] for part in parts] or [np.empty(0, np.uint8)]) for place in (2, 3, 4)),
    )
    assert BackendRows.of(joined) == wanted


def test_a_copy_goes_its_own_way() -> None:
    one = held({1: Backend(KEYS[1], BackendState.ACTIVE, BackendFlag(0), 1)})
    other = one.copy()
    del other[1]
    assert (list(one), list(other)) == ([1], [])


@pytest.mark.parametrize("number", [-1, 0, 1, 9])
def test_what_is_not_there_is_said_so(number: int) -> None:
    found = held({2: Backend(KEYS[2], BackendState.ACTIVE, BackendFlag(0), 1)})
    assert number not in found
    with pytest.raises(KeyError):
        found[number]
    with pytest.raises(KeyError):
        del found[number]


def test_places_are_held_as_a_dict_holds_them() -> None:
    wanted = {KEYS[0]: BackendId(7, 3), KEYS[1]: BackendId(2, LARGE)}
    places = Places.of(wanted)
    copy = Places.of(places)
    assert places == copy == wanted
    copy[KEYS[0]] = BackendId(9, 4)
    del copy[KEYS[1]]
    assert copy == {KEYS[0]: BackendId(9, 4)}
    assert KEYS[1] not in copy
    assert places == wanted
    assert len(Places({}, array("Q"))) == 0
