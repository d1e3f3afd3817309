"""What a batch says has changed, and which change waits for no other."""

import gc
from dataclasses import replace

import pytest

from ebpflb.core.abi import Family, Protocol
from ebpflb.core.model import EndpointPort, EndpointSlice
from ebpflb.reconcile import garbage
from ebpflb.reconcile.batch import Batch
from ebpflb.reconcile.inbox import Inbox
from ebpflb.reconcile.ports import Kind
from tests.unit.reconcile.world import NODE, Cluster, StandingClock, endpoint_slice, service

WEB, API = service("web"), service("api", 2)
WEB_1, API_1 = endpoint_slice("web", [1]), endpoint_slice("api", [2])


@pytest.fixture(name="time")
def _time() -> StandingClock:
    return StandingClock()


@pytest.fixture(name="inbox")
def _inbox(time: StandingClock) -> Inbox:
    inbox = Inbox(NODE.name, time.clock(), quiet_s=0.001, max_delay_s=0.050)
    _deliver_all(inbox, time)
    return inbox


@pytest.fixture(name="singly")
def _singly(time: StandingClock) -> Inbox:
    """Return the inbox of a source that tells of each object when it was written."""
    inbox = Inbox(NODE.name, time.clock(), tells_together=False, quiet_s=0.001, max_delay_s=0.050)
    _deliver_all(inbox, time)
    return inbox


def _deliver_all(inbox: Inbox, time: StandingClock) -> None:
    Cluster((WEB, API), (WEB_1, API_1)).deliver(inbox)
    batch = taken(inbox, time)
    assert batch.changes.services.after.keys() == {WEB.key, API.key}
    assert batch.changes.slices.before == {}


def taken(inbox: Inbox, time: StandingClock) -> Batch:
    time.advance(1)
    batch = inbox.take()
    assert batch is not None
    return batch


def test_a_batch_says_what_changed_and_into_what(inbox: Inbox, time: StandingClock) -> None:
    two = endpoint_slice("web", [1, 2])
    inbox.upsert(Kind.ENDPOINT_SLICE, endpoint_slice("web", [9]))
    inbox.upsert(Kind.ENDPOINT_SLICE, two)
    inbox.delete(Kind.SERVICE, API.key)
    inbox.upsert(Kind.SERVICE, service("more", 3))
    inbox.delete(Kind.SERVICE, ("default", "more"))
    changes = taken(inbox, time).changes
    assert (changes.slices.before, changes.slices.after) == ({WEB_1.key: WEB_1}, {WEB_1.key: two})
    assert (changes.services.before, changes.services.after) == ({API.key: API}, {})
    assert changes.touched() == {WEB.key, API.key}
    assert (changes.slices_before(WEB.key), changes.present.slices_of(WEB.key)) == ((WEB_1,), (two,))
    assert changes.present.services == {WEB.key: WEB}


def test_what_changed_back_is_no_change(inbox: Inbox, time: StandingClock) -> None:
    inbox.upsert(Kind.ENDPOINT_SLICE, endpoint_slice("web", []))
    again = endpoint_slice("web", [1])
    inbox.upsert(Kind.ENDPOINT_SLICE, again)
    batch = taken(inbox, time)
    assert batch.changes.touched() == set()
    assert batch.snapshot.slices[WEB_1.key] is again


def test_what_a_list_has_is_taken_in_its_order(inbox: Inbox, time: StandingClock) -> None:
    """Neighbours in a list are neighbours in memory: all that is made of a batch goes by its order."""
    names = [f"service-{number * 37 % 101:03}" for number in range(101)]
    inbox.replace(Kind.SERVICE, [service(name) for name in names])
    batch = taken(inbox, time)
    in_order = [("default", name) for name in names]
    assert [*batch.snapshot.services] == [*batch.changes.services.after] == in_order


def test_a_new_list_changes_what_is_different_in_it(inbox: Inbox, time: StandingClock) -> None:
    inbox.replace(Kind.ENDPOINT_SLICE, [endpoint_slice("web", [1]), endpoint_slice("api", [5])])
    batch = taken(inbox, time)
    assert batch.changes.slices.after.keys() == {API_1.key}
    assert batch.snapshot.slices[WEB_1.key] is WEB_1


def test_a_slice_may_change_hands(inbox: Inbox, time: StandingClock) -> None:
    moved = replace(WEB_1, service_name="api")
    inbox.upsert(Kind.ENDPOINT_SLICE, moved)
    changes = taken(inbox, time).changes
    assert changes.present.slices_of(WEB.key) == ()
    assert changes.present.slices_of(API.key) == (API_1, moved)
    assert (changes.slices_before(WEB.key), changes.slices_before(API.key)) == ((WEB_1,), (API_1,))
    before, after = changes.excerpts(NODE)
    assert (before.services, before.slices) == (after.services, {WEB_1.key: WEB_1, API_1.key: API_1})
    assert after.slices == {WEB_1.key: moved, API_1.key: API_1}


class TestHaste:
    def test_what_only_adds_goes_at_once(self, inbox: Inbox) -> None:
        inbox.upsert(Kind.ENDPOINT_SLICE, endpoint_slice("web", [1, 2]))
        assert inbox.take() is not None

    def test_so_does_a_condition(self, inbox: Inbox) -> None:
        inbox.upsert(Kind.ENDPOINT_SLICE, endpoint_slice("web", [1], terminating=[1]))
        assert inbox.take() is not None

    @pytest.mark.parametrize(
        "changed",
        [
            endpoint_slice("web", [2]),
            endpoint_slice("new", [1]),
            replace(WEB_1, ports=(EndpointPort("http", Protocol.TCP, 9090),)),
        ],
    )
    def test_an_endpoint_that_may_be_moving_waits_for_the_rest(
        self, inbox: Inbox, time: StandingClock, changed: EndpointSlice
    ) -> None:
        inbox.upsert(Kind.ENDPOINT_SLICE, changed)
        assert inbox.take() is None
        time.advance(0.0011)
        assert inbox.take() is not None

    @pytest.mark.parametrize(
        "changed",
        [
            endpoint_slice("web", [2]),
            endpoint_slice("web", []),
            replace(WEB_1, ports=(EndpointPort("http", Protocol.TCP, 9090),)),
        ],
    )
    def test_from_the_only_slice_nothing_can_be_moving(self, singly: Inbox, changed: EndpointSlice) -> None:
        singly.upsert(Kind.ENDPOINT_SLICE, changed)
        batch = singly.take()
        assert batch is not None
        assert batch.changes.slices.after == {changed.key: changed}

    def test_nor_to_one_of_the_other_family(self, singly: Inbox, time: StandingClock) -> None:
        singly.upsert(Kind.ENDPOINT_SLICE, replace(WEB_1, name="web-6", family=Family.IPV6, endpoints=()))
        taken(singly, time)
        time.advance(1)
        singly.upsert(Kind.ENDPOINT_SLICE, endpoint_slice("web", [2]))
        assert singly.take() is not None

    def test_from_one_of_two_it_can(self, singly: Inbox, time: StandingClock) -> None:
        second = replace(WEB_1, name="web-2")
        singly.upsert(Kind.ENDPOINT_SLICE, second)
        assert singly.take() is None, "a new one, too, may hold what another one has lost"
        taken(singly, time)
        time.advance(1)
        singly.upsert(Kind.ENDPOINT_SLICE, replace(second, endpoints=()))
        assert singly.take() is None

    def test_a_slice_that_changes_hands_waits(self, singly: Inbox) -> None:
        singly.upsert(Kind.ENDPOINT_SLICE, replace(WEB_1, service_name="new", endpoints=()))
        assert singly.take() is None

    def test_so_does_one_that_follows_a_new_one(self, singly: Inbox, time: StandingClock) -> None:
        second, emptied = replace(WEB_1, name="web-2"), replace(WEB_1, endpoints=())
        singly.upsert(Kind.ENDPOINT_SLICE, second)
        singly.upsert(Kind.ENDPOINT_SLICE, emptied)
        assert singly.take() is None
        assert taken(singly, time).changes.slices.after == {second.key: second, emptied.key: emptied}

    def test_one_of_many_waits_with_them(self, inbox: Inbox, time: StandingClock) -> None:
        inbox.upsert(Kind.ENDPOINT_SLICE, endpoint_slice("web", [1, 2]))
        assert inbox.take() is not None
        inbox.upsert(Kind.ENDPOINT_SLICE, endpoint_slice("web", [1, 2, 3]))
        assert inbox.take() is None, "less than a moment ago another one came"
        time.advance(0.0011)
        assert inbox.take() is not None
        time.advance(0.0011)
        inbox.upsert(Kind.ENDPOINT_SLICE, endpoint_slice("web", [1, 2, 3, 4]))
        assert inbox.take() is not None


class TestGarbage:
    def test_none_is_looked_for_while_much_is_made(self) -> None:
        with garbage.paused():
            assert not gc.isenabled()
            with garbage.paused():
                pass
            assert not gc.isenabled()
        assert gc.isenabled()

    def test_an_agent_leaves_out_what_stays(self) -> None:
        thresholds, frozen = gc.get_threshold(), gc.get_freeze_count()
        gc.set_threshold(700, 10, 10)  # Python's own: another test of this process may have tuned it
        try:
            garbage.tune()
            starting, loaded = gc.get_threshold(), gc.get_freeze_count()
            assert loaded > frozen
            objects = [[number] for number in range(1_000)]
            garbage.settle()
            assert starting > gc.get_threshold() > (700, 10, 10)
            assert gc.get_freeze_count() > loaded, f"{len(objects)} that stay were left out"
        finally:
            gc.set_threshold(*thresholds)
            gc.unfreeze()
