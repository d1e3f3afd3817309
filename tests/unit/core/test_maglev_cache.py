"""Maglev tables that are kept, and computed together where many are missing."""

from itertools import product

import pytest

from ebpflb.core import maglev_cache
from ebpflb.core.maglev import maglev_table
from ebpflb.core.maglev_cache import Identities, TableCache


def backends(*numbers: int) -> Identities:
    return tuple(number.to_bytes(4, "big") for number in numbers)


def plain(identities: Identities) -> list[int]:
    table: list[int] = maglev_table(identities, [1] * len(identities), 251).tolist()
    return table


def test_prepared_tables_are_those_of_the_paper() -> None:
    sets = [backends(*range(first, first + count)) for first, count in product(range(80), (1, 2))]
    cache = TableCache(200)
    cache.prepare([*sets, *sets, ()])
    assert [cache.of(each).tolist() for each in sets] == [plain(each) for each in sets]


def test_what_is_kept_is_not_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = TableCache(2)
    cache.prepare([backends(1), backends(2)])
    cache.of(backends(1))
    cache.prepare([backends(1), backends(3)])  # the one that nobody has asked for goes
    monkeypatch.delattr(maglev_cache, "maglev_table")
    assert cache.of(backends(1)).tolist() == plain(backends(1))
    assert cache.of(backends(3)).tolist() == plain(backends(3))
    with pytest.raises(NameError):
        cache.of(backends(2))


def test_a_cleared_cache_computes_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = TableCache(2)
    cache.prepare([backends(1)])
    cache.clear()
    monkeypatch.delattr(maglev_cache, "maglev_table")
    with pytest.raises(NameError):
        cache.of(backends(1))
