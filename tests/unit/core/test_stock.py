"""Ids and ranges that come and go one change at a time."""

import numpy as np
import pytest

from ebpflb.core.abi import Algorithm, FrontendFlag, FrontendKind, Protocol
from ebpflb.core.holdings import FullError, Limits
from ebpflb.core.ids import Allocation
from ebpflb.core.places import BackendId
from ebpflb.core.stock import Stock
from ebpflb.core.tables import EMPTY_RANGE, BackendKey, Frontend, Range, Slots

TIGHT = Limits(frontends=9, backends=3, services=3, slots=48, members=9, local_backends=9, source_ranges=9)


def backend(number: int) -> BackendKey:
    return BackendKey(bytes([10, 0, 0, number]), 80, Protocol.TCP)


def ids(*numbers: int) -> Slots:
    return np.array(numbers, dtype=np.uint32)


def frontend(where: Range) -> Frontend:
    return Frontend(1, FrontendKind.CLUSTER_IP, Algorithm.RANDOM, FrontendFlag(0), 0, where, EMPTY_RANGE)


@pytest.fixture(name="stock")
def _stock() -> Stock:
    stock = Stock(Allocation(), TIGHT, ())
    stock.begin()
    assert stock.service_id("a") == 1
    assert stock.backend_ids([backend(1)]) == {backend(1): 1}
    where = stock.place(ids(1))
    assert where == Range(16, 1)
    assert stock.renamed((), [frontend(where)]) == ()
    return stock


def snapshot(stock: Stock) -> tuple[object, ...]:
    now = stock.allocation()
    maps = (now.services, now.backends, now.ranges, now.retired_services, now.retired_backends, now.retired_ranges)
    return (*(dict(each) for each in maps), now.epoch, stock.slots_used)


def test_what_is_held_is_handed_out_again(stock: Stock) -> None:
    stock.begin()
    assert stock.service_id("a") == 1
    assert stock.backend_id(backend(1)) == 1
    assert stock.place(ids(1)) == Range(16, 1)
    assert stock.place(ids()) == EMPTY_RANGE
    assert (stock.new_services, stock.new_backends, stock.new_ranges) == ({}, [], {})


def test_too_much_is_refused_and_all_of_it_taken_back(stock: Stock) -> None:
    before = snapshot(stock)
    stock.begin()
    stock.service_id("b")
    with pytest.raises(FullError, match="services"):
        stock.service_id("c")
    stock.backend_id(backend(2))
    with pytest.raises(FullError, match="backends"):
        stock.backend_id(backend(3))
    stock.place(ids(2))
    with pytest.raises(FullError, match="slots"):
        stock.place(ids(2, 1))
    stock.undo()
    assert snapshot(stock) == before
    stock.begin()
    assert stock.backend_ids([backend(9)]) == {backend(9): 2}
    assert stock.allocation().backends[backend(9)] == BackendId(2, 3), "a generation never names two backends"


def test_a_change_that_is_taken_back_finds_its_range_again(stock: Stock) -> None:
    stock.begin()
    other = stock.place(ids(1, 1))
    assert stock.renamed([frontend(Range(16, 1))], [frontend(other)]) == (Range(16, 1),)
    assert stock.slots_used == 32
    before = snapshot(stock)
    stock.begin()
    assert stock.place(ids(1)) == Range(16, 1)
    assert list(stock.new_ranges) == [Range(16, 1)]
    stock.undo()
    assert snapshot(stock) == before
    stock.begin()
    assert stock.place(ids(1)) == Range(16, 1)


def test_what_was_retired_is_free_when_its_time_is_over(stock: Stock) -> None:
    stock.begin()
    assert stock.retire_service("a") == 1
    assert stock.retire_backend(backend(1)) == 1
    assert stock.renamed([frontend(Range(16, 1))], ()) == (Range(16, 1),)
    epoch = stock.allocation().epoch
    stock.release(epoch - 1)
    assert stock.service_id("b") == 2
    stock.release(epoch)
    assert (stock.service_id("c"), stock.backend_id(backend(2)), stock.place(ids(1))) == (1, 1, Range(16, 1))
    assert list(stock.new_ranges) == [Range(16, 1)], "its contents are not relied upon any more"


def test_only_what_is_due_is_freed(stock: Stock) -> None:
    stock.begin()
    stock.retire_service("a")
    stock.backend_id(backend(2))
    first = stock.allocation().epoch
    stock.begin()
    stock.retire_backend(backend(1))
    stock.renamed([frontend(Range(16, 1))], ())
    stock.release(first)
    assert stock.service_id("c") == 1
    assert stock.allocation().retired_backends == {1: first + 1}
    assert list(stock.allocation().retired_ranges) == [Range(16, 1)]
