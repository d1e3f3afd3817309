"""Which changes wait for a family whose maps do not take them, and how many that can ever be."""

from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from ebpflb.core.abi import Family
from ebpflb.core.model import EndpointSlice, Snapshot
from ebpflb.core.pending import Counts, PendingChanges
from tests.story import Story
from tests.unit.core.factories import HERE, endpoint, endpoint_slice, service, snapshot

START = datetime(2026, 1, 2, tzinfo=UTC)
V4, V6 = Family.IPV4, Family.IPV6
BOTH = frozenset(Family)
FOUR, SIX = endpoint_slice(name="four"), endpoint_slice(name="six", family=V6)


class Pending(PendingChanges):
    """Told in snapshots."""

    def __init__(self, families: Collection[Family]) -> None:
        super().__init__(families)
        self._story = Story()

    def follow(self, given: Snapshot, unsettled: Collection[Family] = BOTH) -> None:
        self.take(self._story.changes(given), unsettled)


@pytest.fixture(name="pending")
def _pending() -> Pending:
    return Pending(list(Family))


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def dated(seconds: float, each: EndpointSlice = FOUR) -> EndpointSlice:
    return replace(each, triggered_at=at(seconds).isoformat(), endpoints=(endpoint(f"10.0.0.{int(seconds)}", HERE),))


def take(pending: Pending, given: Snapshot, unsettled: frozenset[Family]) -> Counts:
    pending.follow(given, unsettled)
    list(pending.settle(unsettled))
    return pending.counts()


def test_what_every_family_has_does_not_wait(pending: Pending) -> None:
    assert take(pending, snapshot(service(), FOUR, SIX), frozenset()) == Counts(0, 0)


@pytest.mark.parametrize(
    ("unsettled", "expected"),
    [(BOTH, Counts(1, 3)), (frozenset({V4}), Counts(1, 1)), (frozenset({V6}), Counts(1, 2)), (frozenset(), Counts())],
)
def test_slices_wait_for_their_own_family_services_for_any(
    pending: Pending, unsettled: frozenset[Family], expected: Counts
) -> None:
    more = endpoint_slice(name="more", family=V6)
    assert take(pending, snapshot(service(), FOUR, SIX, more), unsettled) == expected


def test_an_object_that_changes_again_is_one(pending: Pending) -> None:
    for number in range(1, 9):
        assert take(pending, snapshot(service(ip=f"10.96.0.{number}"), FOUR), BOTH) == Counts(1, 1)


def test_what_came_and_went_or_changed_back_does_not_wait(pending: Pending) -> None:
    kept = service()
    assert take(pending, snapshot(kept), frozenset()) == Counts()
    assert take(pending, snapshot(service(ip="10.96.0.9"), service("short"), FOUR), BOTH) == Counts(2, 1)
    assert take(pending, snapshot(service()), BOTH) == Counts()


def test_what_is_gone_waits_until_it_is_gone_from_the_maps(pending: Pending) -> None:
    assert take(pending, snapshot(service(), FOUR), frozenset()) == Counts()
    assert take(pending, snapshot(), BOTH) == Counts(1, 1)
    assert take(pending, snapshot(), frozenset()) == Counts()


def test_the_first_time_of_a_slice_counts_and_only_once(pending: Pending) -> None:
    for seconds in (1, 2, 3):
        pending.follow(snapshot(dated(seconds), dated(seconds + 10, SIX)))
        assert list(pending.settle(BOTH)) == []
    assert list(pending.settle({V6})) == [(V4, at(1))]
    pending.follow(snapshot(dated(4), dated(13, SIX)), ())
    assert sorted(pending.settle(())) == [(V4, at(4)), (V6, at(11))]
    assert list(pending.settle(())) == []


def test_a_slice_that_is_gone_is_not_timed(pending: Pending) -> None:
    pending.follow(snapshot(dated(1)))
    pending.follow(snapshot())
    assert list(pending.settle(())) == []
