import threading
from concurrent.futures import ThreadPoolExecutor, wait

import pytest

from ebpflb.core.model import Host, Node, Pod, ServiceCIDR
from ebpflb.errors import ObjectError
from ebpflb.reconcile.batch import Batch
from ebpflb.reconcile.inbox import Inbox
from ebpflb.reconcile.ports import Kind
from tests.unit.reconcile.world import HOST, NODE, Cluster, StandingClock, endpoint_slice, service

WEB, SLICE = service("web"), endpoint_slice("web", [1])
LISTED = Cluster((WEB,), (SLICE,))


def refusal(name: str = "default/web") -> ObjectError:
    return ObjectError("Service", name, "spec.ports", "is no list", "make it a list")


@pytest.fixture(name="time")
def _time() -> StandingClock:
    return StandingClock()


@pytest.fixture(name="inbox")
def _inbox(time: StandingClock) -> Inbox:
    return Inbox(NODE.name, time.clock(), quiet_s=0.002, max_delay_s=0.050)


@pytest.fixture(name="settled")
def _settled(inbox: Inbox, time: StandingClock) -> Inbox:
    LISTED.deliver(inbox)
    assert taken(inbox, time) is not None
    return inbox


def taken(inbox: Inbox, time: StandingClock) -> Batch | None:
    time.advance(1)
    return inbox.take()


def test_nothing_is_handed_out_before_everything_is_known(inbox: Inbox, time: StandingClock) -> None:
    assert inbox.view().missing == ("Service", "EndpointSlice", "Node", "ServiceCIDR", "Host")
    inbox.upsert(Kind.SERVICE, WEB)
    inbox.replace(Kind.SERVICE, [WEB])
    assert taken(inbox, time) is None
    inbox.upsert(Kind.ENDPOINT_SLICE, SLICE)  # an event is no list: others may follow
    inbox.replace(Kind.NODE, [NODE])
    inbox.host(HOST)
    inbox.replace(Kind.SERVICE_CIDR, [])
    assert taken(inbox, time) is None
    assert inbox.view().missing == ("EndpointSlice",)
    inbox.replace(Kind.ENDPOINT_SLICE, [SLICE])
    batch = taken(inbox, time)
    assert batch is not None
    assert batch.snapshot.node == NODE
    assert batch.snapshot.host == HOST
    assert batch.snapshot.services == {WEB.key: WEB}
    assert batch.snapshot.slices == {SLICE.key: SLICE}
    assert taken(inbox, time) is None


def test_service_cidrs_are_in_the_snapshot(settled: Inbox, time: StandingClock) -> None:
    cidr = ServiceCIDR("kubernetes", ("10.96.0.0/12",))
    settled.replace(Kind.SERVICE_CIDR, [cidr])
    batch = taken(settled, time)
    assert batch is not None
    assert batch.snapshot.service_cidrs == {cidr.key: cidr}
    settled.replace(
        Kind.SERVICE_CIDR, [], [ObjectError("ServiceCIDR", "kubernetes", "spec.cidrs[0]", "is odd", "mend it")]
    )
    assert taken(settled, time) is None, "the last good state stays"
    settled.replace(Kind.SERVICE_CIDR, [])
    batch = taken(settled, time)
    assert batch is not None
    assert batch.snapshot.service_cidrs == {}


def test_an_empty_cluster_is_a_snapshot_too(inbox: Inbox, time: StandingClock) -> None:
    Cluster().deliver(inbox)
    assert taken(inbox, time) is not None


def test_the_own_node_may_be_absent_or_one_of_many(inbox: Inbox, time: StandingClock) -> None:
    LISTED.deliver(inbox)
    inbox.replace(Kind.NODE, [Node("other", zone="x")])
    batch = taken(inbox, time)
    assert batch is not None
    assert batch.snapshot.node == Node(NODE.name)
    inbox.upsert(Kind.NODE, Node(NODE.name, zone="y"))
    batch = taken(inbox, time)
    assert batch is not None
    assert batch.snapshot.node.zone == "y"


def test_an_event_of_the_own_node_is_enough_to_know_it(inbox: Inbox) -> None:
    inbox.upsert(Kind.NODE, Node("other"))
    assert "Node" in inbox.view().missing
    inbox.upsert(Kind.NODE, NODE)
    assert "Node" not in inbox.view().missing


def test_a_snapshot_does_not_change_with_the_inbox(settled: Inbox, time: StandingClock) -> None:
    settled.upsert(Kind.SERVICE, service("api", 2))
    batch = taken(settled, time)
    assert batch is not None
    settled.delete(Kind.SERVICE, WEB.key)
    assert set(batch.snapshot.services) == {WEB.key, ("default", "api")}
    later = taken(settled, time)
    assert later is not None
    assert set(later.snapshot.services) == {("default", "api")}


def test_a_lone_change_is_taken_within_milliseconds(settled: Inbox, time: StandingClock) -> None:
    settled.upsert(Kind.SERVICE, service("web", 2))
    time.advance(0.001)
    assert settled.take() is None
    time.advance(0.0011)
    assert settled.take() is not None


def test_a_storm_is_coalesced_but_not_held_back_for_long(settled: Inbox, time: StandingClock) -> None:
    changes_in_batch, changes = [], 0
    for number in range(2, 202):  # a change each millisecond: it is never quiet
        settled.upsert(Kind.SERVICE, service("web", number))
        changes += 1
        time.advance(0.001)
        if settled.take() is not None:
            changes_in_batch.append(changes)
            changes = 0
    assert len(changes_in_batch) in {3, 4}
    assert set(changes_in_batch) <= {50, 51}


def test_a_batch_knows_when_its_changes_arrived(settled: Inbox, time: StandingClock) -> None:
    today = time.clock().today
    first = today()
    settled.upsert(Kind.SERVICE, service("web", 2))
    time.advance(0.001)
    last = today()
    settled.upsert(Kind.SERVICE, service("web", 3))
    assert settled.view().pending_since == first
    batch = taken(settled, time)
    assert batch is not None
    assert (batch.first_change_at, batch.last_change_at) == (first, last)
    assert settled.view().pending_since is None


def test_what_changes_nothing_makes_no_batch(settled: Inbox, time: StandingClock) -> None:
    LISTED.deliver(settled)
    settled.upsert(Kind.SERVICE, WEB)
    settled.delete(Kind.SERVICE, ("default", "unknown"))
    settled.source_error("connection lost")
    settled.refuse(Kind.SERVICE, ("default", "other"), refusal("default/other"))
    assert taken(settled, time) is None
    assert settled.view().error == "connection lost"


def test_a_changed_host_makes_a_batch(settled: Inbox, time: StandingClock) -> None:
    settled.host(Host())
    batch = taken(settled, time)
    assert batch is not None
    assert batch.snapshot.host == Host()


def test_a_list_removes_what_it_does_not_hold(settled: Inbox, time: StandingClock) -> None:
    settled.replace(Kind.SERVICE, [service("api", 2)])
    batch = taken(settled, time)
    assert batch is not None
    assert set(batch.snapshot.services) == {("default", "api")}


def test_a_refused_object_keeps_its_last_good_state(settled: Inbox, time: StandingClock) -> None:
    settled.refuse(Kind.SERVICE, WEB.key, refusal())
    assert [str(error) for error in settled.view().refused] == [str(refusal())]
    assert settled.view().objects[Kind.SERVICE] == 1
    settled.replace(Kind.SERVICE, [service("api", 2)], refused=[refusal(), refusal("default/new")])
    batch = taken(settled, time)
    assert batch is not None
    assert set(batch.snapshot.services) == {WEB.key, ("default", "api")}
    assert [error.name for error in settled.view().refused] == ["default/web", "default/new"]


@pytest.mark.parametrize("how", ["upsert", "delete", "replace"])
def test_a_refusal_is_forgotten_when_the_object_is_good_again_or_gone(settled: Inbox, how: str) -> None:
    settled.refuse(Kind.SERVICE, WEB.key, refusal())
    settled.refuse(Kind.NODE, NODE.key, ObjectError("Node", NODE.name, "status", "is no map", "make it one"))
    if how == "upsert":
        settled.upsert(Kind.SERVICE, WEB)
    elif how == "delete":
        settled.delete(Kind.SERVICE, WEB.key)
    else:
        settled.replace(Kind.SERVICE, [])
    assert [error.kind for error in settled.view().refused] == ["Node"]


def test_a_node_that_is_refused_in_a_list_keeps_its_last_good_state(settled: Inbox, time: StandingClock) -> None:
    settled.replace(Kind.NODE, [], refused=[ObjectError("Node", NODE.name, "status", "is no map", "make it one")])
    settled.host(Host())
    batch = taken(settled, time)
    assert batch is not None
    assert batch.snapshot.node == NODE


def test_wait_returns_for_a_batch_for_news_for_a_wake_and_for_the_time() -> None:
    inbox = Inbox(NODE.name)
    LISTED.deliver(inbox)
    inbox.wait(None)
    inbox.wait(None)  # the news of the delivery were heard; the batch is still there
    assert inbox.take() is not None
    inbox.wake()
    inbox.wait(None)
    inbox.source_error("connection lost")
    inbox.wait(None)
    inbox.wait(0.001)
    assert inbox.take() is None


def test_wait_is_woken_from_another_thread() -> None:
    inbox = Inbox(NODE.name)
    waiter = threading.Thread(target=inbox.wait, args=(None,))
    waiter.start()
    LISTED.deliver(inbox)
    waiter.join(timeout=60)
    assert not waiter.is_alive()


def test_pods_are_handed_on_and_begin_no_batch(time: StandingClock) -> None:
    handed: list[tuple[Pod, ...]] = []
    inbox = Inbox(NODE.name, time.clock(), on_pods=handed.append)
    LISTED.deliver(inbox)
    assert taken(inbox, time) is not None, "who may not list Pods has the Services programmed all the same"
    web, dns = Pod("demo", "web", "1", NODE.name), Pod("demo", "dns", "2", NODE.name)
    inbox.replace(Kind.POD, [])
    inbox.replace(Kind.POD, [])
    assert handed == [()], "the first list is news, also an empty one"
    inbox.upsert(Kind.POD, web)
    inbox.upsert(Kind.POD, web)
    inbox.upsert(Kind.POD, dns)
    inbox.delete(Kind.POD, web.key)
    assert handed[1:] == [(web,), (web, dns), (dns,)]
    assert taken(inbox, time) is None


def test_a_refused_pod_is_shown_and_its_last_good_state_stays(settled: Inbox, time: StandingClock) -> None:
    web = Pod("demo", "web", "1", NODE.name, socket_lb=False)
    settled.replace(Kind.POD, [web])
    error = ObjectError("Pod", "demo/web", "metadata.annotations", "is not known", "use one of true, false")
    settled.refuse(Kind.POD, web.key, error)
    assert settled.view().refused == (error,)
    assert settled.view().objects[Kind.POD] == 1
    assert taken(settled, time) is None


def test_what_is_told_together_is_taken_as_one(settled: Inbox, time: StandingClock) -> None:
    with ThreadPoolExecutor(1) as loop:
        with settled.together():
            settled.upsert(Kind.SERVICE, service("api"))
            time.advance(1)
            taking = loop.submit(settled.take)
            assert wait([taking], 0.05).not_done
            settled.upsert(Kind.ENDPOINT_SLICE, endpoint_slice("api", [2]))
            time.advance(1)
        batch = taking.result()
    assert batch is not None
    assert {key[1] for key in batch.snapshot.services} == {"web", "api"}
    assert len(batch.snapshot.slices) == 2


def test_the_last_change_is_told_taken_or_not(settled: Inbox, time: StandingClock) -> None:
    listed = settled.view().last_change_at
    settled.upsert(Kind.SERVICE, WEB)  # as it is already
    assert settled.view().last_change_at == listed
    settled.upsert(Kind.SERVICE, service("api"))
    first = settled.view().last_change_at
    assert (settled.view().pending_since, first == listed) == (first, False)
    time.advance(1)
    settled.upsert(Kind.SERVICE, service("db"))
    last = settled.view().last_change_at
    assert (settled.view().pending_since, last == first) == (first, False)
    assert taken(settled, time) is not None
    assert (settled.view().pending_since, settled.view().last_change_at) == (None, last)
