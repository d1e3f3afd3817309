"""Endpoints without an object for each: they are what a tuple of the same ones would be."""

from dataclasses import replace

import pytest

from ebpflb.core.endpoints import Endpoints, addresses_in, held, listed, misfits, standing_of
from ebpflb.core.model import Endpoint, Standing, parse_address
from tests.unit.core.factories import endpoint, endpoint_slice

READY, FAILING = Standing(node_name="n1", for_zones=("a",)), Standing(ready=False, for_nodes=("n1", "n2"))
FIRST, SECOND, SIXTH = (parse_address(text) for text in ("10.0.0.1", "10.0.0.2", "fd00::6"))
PLAIN = (
    Endpoint(FIRST, node_name="n1", for_zones=("a",)),
    Endpoint(SECOND, ready=False, for_nodes=("n1", "n2")),
    Endpoint(FIRST, ready=False, for_nodes=("n1", "n2")),
)


def packed() -> Endpoints:
    return Endpoints.of([FIRST, SECOND, FIRST], [READY, FAILING, FAILING])


def test_they_are_the_endpoints_that_they_were_made_of() -> None:
    assert (len(packed()), tuple(packed()), packed()[1], packed()[-2:]) == (3, PLAIN, PLAIN[1], PLAIN[1:])
    assert repr(packed()) == repr(PLAIN)


def test_they_equal_whatever_sequence_holds_the_same_ones() -> None:
    assert packed() == packed()
    assert packed() == PLAIN
    assert hash(packed()) == hash(PLAIN)
    assert replace(endpoint_slice(), endpoints=packed()) == replace(endpoint_slice(), endpoints=PLAIN)
    assert replace(endpoint_slice(), endpoints=PLAIN) == replace(endpoint_slice(), endpoints=packed())


@pytest.mark.parametrize(
    "other",
    [
        PLAIN[:2],
        PLAIN[::-1],
        Endpoints.of([FIRST, SECOND, SECOND], [READY, FAILING, FAILING]),
        Endpoints.of([FIRST, SECOND, FIRST], [READY, FAILING, READY]),
        None,
        3,
    ],
)
def test_they_equal_nothing_else(other: object) -> None:
    assert packed() != other


def test_one_object_says_the_same_of_all() -> None:
    conditions, hints = (True, True, False), ("a",)
    first = standing_of(conditions, "n1", (), hints)
    assert first == READY
    assert standing_of(conditions, "n1", (), hints) is first
    assert standing_of((False, True, False), "n1", (), hints) == replace(READY, ready=False)
    assert standing_of((True, False, True), "", ("n2",), ()) == Standing(
        serving=False, terminating=True, for_nodes=("n2",)
    )


@pytest.mark.parametrize("address", [FIRST, SIXTH])
def test_addresses_of_one_family_are_held_together(address: bytes) -> None:
    endpoints = held([address], [READY])
    assert isinstance(endpoints, Endpoints)
    assert endpoints == (Endpoint(address, node_name="n1", for_zones=("a",)),)
    assert addresses_in(endpoints) == [address]


def test_addresses_of_both_families_in_one_slice_are_told_apart() -> None:
    mixed = held([FIRST, SIXTH], [READY, FAILING])
    assert mixed == (PLAIN[0], replace(PLAIN[1], address=SIXTH))
    assert addresses_in(mixed) == [FIRST, SIXTH]
    for width, address, standing in ((4, FIRST, mixed[0]), (16, SIXTH, mixed[1])):
        assert listed(mixed, width) == ([address], [standing])


def test_no_endpoints_are_an_empty_tuple() -> None:
    assert held([], []) == ()


def test_those_of_the_other_family_are_not_listed() -> None:
    assert listed(packed(), 16) == ((), ())
    assert listed(packed(), 4) == ([FIRST, SECOND, FIRST], (READY, FAILING, FAILING))
    assert listed((endpoint("10.0.0.1"),), 16) == ([], [])


def test_those_of_the_other_family_are_misfits() -> None:
    assert [*misfits(packed(), 4)] == []
    assert [*misfits(packed(), 16)] == [FIRST, SECOND, FIRST]
    mixed = held([FIRST, SIXTH], [READY, FAILING])
    assert ([*misfits(mixed, 4)], [*misfits(mixed, 16)]) == ([SIXTH], [FIRST])
