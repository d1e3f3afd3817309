import threading
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import pytest

from ebpflb.core.abi import BackendFlag, BackendState, Family, Protocol
from ebpflb.core.tables import Backend, BackendKey, FrontendKey, MemberKey, TableName, Tables
from ebpflb.errors import MapError, ObjectError
from ebpflb.reconcile.fake import SLOTS, Capacities, FakeMapStore, Operation
from ebpflb.reconcile.inbox import Inbox
from ebpflb.reconcile.loop import ReconcileLoop
from ebpflb.reconcile.ports import Kind
from ebpflb.reconcile.status import Status
from tests.unit.reconcile.world import HOST, NODE, START, Agent, Cluster, endpoint_slice, meaning, service

WEB = Cluster((service("web"),), (endpoint_slice("web", [1, 2]),))
WEB_SCALED = Cluster((service("web"),), (endpoint_slice("web", [2, 3]),))
BOTH = Cluster((service("web"), service("api", 2)), (*WEB.slices, endpoint_slice("api", [4])))
WEB_KEY, API_KEY = (FrontendKey(bytes([10, 96, 0, number]), 80, Protocol.TCP) for number in (1, 2))


@pytest.fixture(name="agent")
def _agent() -> Agent:
    return Agent(FakeMapStore(Family.IPV4))


def pods(agent: Agent, key: FrontendKey = WEB_KEY) -> list[int]:
    """The last byte of the addresses that a frontend in the maps leads to."""
    return sorted(backend.address[-1] for backend in meaning(agent.store.read())[key].cluster)


def backend_id(agent: Agent, pod: int) -> int:
    return next(number for number, row in agent.store.read().backends.items() if row.key.address[-1] == pod)


def test_a_delivered_cluster_is_in_the_maps(agent: Agent) -> None:
    agent.apply(BOTH)
    assert pods(agent) == [1, 2]
    assert pods(agent, API_KEY) == [4]
    assert agent.store.read().node_addrs == dict.fromkeys(HOST.addresses, 0)
    assert agent.store.read().devices == {2: HOST.devices[0].addresses[0]}
    assert agent.status.healthy


def test_nothing_is_written_before_everything_is_listed_and_adopted_maps_stay(agent: Agent) -> None:
    agent.apply(WEB)
    restarted = Agent(agent.store)
    before = agent.store.operations
    restarted.loop.step()
    restarted.inbox.replace(Kind.SERVICE, [])
    restarted.inbox.host(HOST)
    restarted.inbox.replace(Kind.NODE, [NODE])
    restarted.time.advance(1)
    restarted.loop.step()
    assert agent.store.operations == before
    assert restarted.status.waiting_for == ("EndpointSlice",)
    assert restarted.status.families[0].service_ports == 1
    assert not restarted.status.healthy


def test_a_restart_with_the_same_objects_writes_nothing(agent: Agent) -> None:
    agent.apply(BOTH)
    before, dump = agent.store.operations, agent.store.dump()
    restarted = Agent(agent.store)
    restarted.apply(BOTH)
    assert (agent.store.operations, agent.store.dump()) == (before, dump)
    assert restarted.status.healthy
    assert restarted.announced == [{}]  # the time to sweep what a killed predecessor did not


def test_vanished_backends_are_announced_once(agent: Agent) -> None:
    agent.apply(WEB)
    gone = backend_id(agent, 1)
    agent.apply(WEB_SCALED)
    agent.loop.step()
    assert [[row.key.address[-1] for row in vanished.values()] for vanished in agent.announced] == [[], [1]]
    assert set(agent.announced[1]) == {gone}


def test_backends_that_vanish_at_a_restart_are_announced(agent: Agent) -> None:
    agent.apply(WEB)
    restarted = Agent(agent.store)
    restarted.apply(WEB_SCALED)
    assert [row.key.address[-1] for row in restarted.announced[0].values()] == [1]


def test_an_announcement_that_is_not_heard_is_repeated(agent: Agent) -> None:
    agent.apply(WEB)
    heard: list[Mapping[int, Backend]] = []
    answers = iter([RuntimeError("no netlink"), None])

    def sweep(_: Family, __: Tables, vanished: Mapping[int, Backend]) -> None:
        heard.append(vanished)
        answer = next(answers)
        if answer:
            raise answer

    agent.loop._on_applied = sweep
    agent.apply(WEB_SCALED)
    assert agent.status.families[0].error == "RuntimeError: no netlink"
    assert not agent.status.healthy
    agent.time.advance(1)
    agent.loop.step()
    assert len(heard) == 2
    assert heard[0] == heard[1] != {}
    assert agent.status.healthy


def test_one_full_map_does_not_stop_the_other_services() -> None:
    agent = Agent(FakeMapStore(Family.IPV4, Capacities(members=2)))
    sticky = replace(BOTH, services=(service("web", affinity_timeout_s=60), service("api", 2, affinity_timeout_s=60)))
    agent.apply(sticky)
    assert pods(agent) == [1, 2]
    assert pods(agent, API_KEY) == [4]
    (family,) = agent.status.families
    assert [row.table for row in family.failed_rows] == ["members"]
    assert "full" in family.failed_rows[0].error
    assert family.maps["members"].used == family.maps["members"].capacity == 2
    assert not agent.status.healthy
    agent.apply(replace(BOTH, services=(service("web"), service("api", 2, affinity_timeout_s=60))))
    assert agent.status.healthy
    assert len(agent.store.read().members) == 1


def test_what_failed_is_retried_after_a_growing_time(agent: Agent) -> None:
    agent.store.fail_when(lambda operation, target, key: (operation, target, key) == (Operation.PUT, "devices", 2))
    agent.apply(WEB)
    (family,) = agent.status.families
    assert family.failed_rows[0].key == "2"
    assert family.next_retry_at == START + timedelta(seconds=1.01)
    for delay in (1, 2, 4):
        assert agent.loop.idle_s() == pytest.approx(delay)
        before = agent.store.operations
        agent.time.advance(delay - 0.01)
        agent.loop.step()
        assert agent.store.operations == before
        agent.time.advance(0.01)
        agent.loop.step()
        assert agent.store.operations == before + 1  # exactly what failed
    agent.store.heal()
    agent.time.advance(8)
    agent.loop.step()
    assert agent.status.healthy
    assert agent.status.families[0].next_retry_at is None


def test_a_change_is_applied_while_something_else_waits_for_its_retry(agent: Agent) -> None:
    agent.store.fail_when(lambda _, target, __: target == TableName.DEVICES)
    agent.apply(WEB)
    agent.apply(WEB_SCALED)
    assert pods(agent) == [2, 3]
    assert [row.table for row in agent.status.families[0].failed_rows] == ["devices"]


def test_a_new_failure_does_not_inherit_a_long_delay(agent: Agent) -> None:
    agent.store.fail_when(lambda _, target, __: target == TableName.DEVICES)
    agent.apply(WEB)
    for delay in (1, 2, 4, 8):
        agent.time.advance(delay)
        agent.loop.step()
    assert agent.loop.idle_s() == pytest.approx(16)
    agent.store.fail_when(lambda _, target, __: target == SLOTS)
    agent.apply(WEB_SCALED)
    assert agent.loop.idle_s() == pytest.approx(1)


@pytest.mark.parametrize("error", [RuntimeError("a bug"), MapError("read frontends: EPERM")])
def test_the_loop_survives_whatever_a_store_raises(
    agent: Agent, error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(agent.store, "read", raiser(error))
        agent.apply(WEB)
        assert agent.status.families[0].error == f"{type(error).__name__}: {error}"
        assert agent.loop.idle_s() == pytest.approx(1)
        assert str(error) in caplog.text
        assert ("Traceback" in caplog.text) is isinstance(error, RuntimeError)
    agent.time.advance(1)
    agent.loop.step()
    assert pods(agent) == [1, 2]
    assert agent.status.healthy
    assert agent.status.families[0].error == ""


def raiser(error: Exception) -> object:
    def fail(*_: object) -> None:
        raise error

    return fail


def test_after_an_apply_that_ended_early_the_maps_are_read_again(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    agent.apply(WEB)
    with monkeypatch.context() as broken:
        broken.setattr(agent.store, "delete", raiser(RuntimeError("a bug")))
        agent.apply(WEB_SCALED)
    assert pods(agent) == [2, 3]  # the frontends came before the deletes
    agent.time.advance(1)
    agent.loop.step()
    assert agent.status.healthy
    assert [[row.key.address[-1] for row in vanished.values()] for vanished in agent.announced] == [[], [1]]


def test_a_broken_family_does_not_stop_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    agent = Agent(FakeMapStore(Family.IPV4))
    broken = FakeMapStore(Family.IPV6)
    monkeypatch.setattr(broken, "read", raiser(RuntimeError("a bug")))
    statuses: list[Status] = []
    loop = ReconcileLoop(
        {Family.IPV6: broken, Family.IPV4: agent.store},
        agent.inbox,
        NODE.name,
        clock=agent.time.clock(),
        on_status=statuses.append,
    )
    WEB.deliver(agent.inbox)
    agent.time.advance(1)
    loop.step()
    assert pods(agent) == [1, 2]
    assert [bool(family.error) for family in statuses[-1].families] == [True, False]
    assert not statuses[-1].healthy


def test_the_full_comparison_repairs_what_others_changed(agent: Agent) -> None:
    agent.apply(WEB)
    healthy = agent.store.dump()
    agent.time.advance(599)
    agent.loop.step()
    agent.store.delete(TableName.FRONTENDS, [WEB_KEY])
    intruder = Backend(BackendKey(bytes(4), 1, Protocol.UDP), BackendState.ACTIVE, BackendFlag(0), 0)
    agent.store.put(TableName.BACKENDS, {60: intruder})
    agent.loop.step()
    assert agent.store.dump() != healthy
    assert agent.loop.idle_s() == pytest.approx(1)
    agent.time.advance(1)
    agent.loop.step()
    assert agent.store.dump() == healthy
    (family,) = agent.status.families
    assert family.repairs == 2
    assert family.compared_at == START + timedelta(seconds=600.01)
    assert agent.loop.idle_s() == pytest.approx(600)


def test_the_full_comparison_repairs_slots(agent: Agent) -> None:
    agent.apply(WEB)
    healthy = agent.store.dump()
    (span,) = agent.store.read().slots
    agent.store.write_slots({span: agent.store.read().slots[span][::-1].copy()})
    assert agent.store.dump() != healthy
    agent.time.advance(600)
    agent.loop.step()
    assert agent.store.dump() == healthy
    assert agent.status.families[0].repairs == 1


def test_a_comparison_of_sound_maps_repairs_nothing(agent: Agent) -> None:
    agent.apply(WEB)
    before = agent.store.operations
    agent.time.advance(600)
    agent.loop.step()
    assert agent.store.operations == before
    assert agent.status.families[0].repairs == 0


def test_a_comparison_that_fails_is_retried_and_never_spins(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    agent.apply(WEB)
    agent.time.advance(600)
    with monkeypatch.context() as broken:
        broken.setattr(agent.store, "read", raiser(MapError("read frontends: EPERM")))
        agent.loop.step()
    assert agent.loop.idle_s() == pytest.approx(1)
    agent.time.advance(1)
    agent.loop.step()
    assert agent.status.healthy
    assert agent.loop.idle_s() == pytest.approx(600)


def test_a_freed_id_is_used_again_only_after_the_grace_period(agent: Agent) -> None:
    agent.apply(WEB)
    freed = backend_id(agent, 1)
    agent.apply(WEB_SCALED)
    assert backend_id(agent, 3) != freed
    assert agent.loop.idle_s() == pytest.approx(10)
    agent.time.advance(9.9)
    agent.loop.step()
    agent.apply(Cluster(WEB.services, (endpoint_slice("web", [2, 3, 5]),)))
    assert backend_id(agent, 5) != freed
    agent.time.advance(0.1)
    agent.loop.step()
    agent.apply(Cluster(WEB.services, (endpoint_slice("web", [2, 3, 5, 6]),)))
    assert backend_id(agent, 6) == freed


def test_what_a_frontend_that_cannot_change_names_is_not_freed(agent: Agent) -> None:
    agent.apply(WEB)
    freed = backend_id(agent, 1)
    agent.store.fail_when(lambda _, target, key: (target, key) == (TableName.FRONTENDS, WEB_KEY))
    agent.apply(WEB_SCALED)
    for _ in range(10):
        agent.time.advance(60)
        agent.loop.step()
    agent.apply(Cluster(BOTH.services, (*WEB_SCALED.slices, endpoint_slice("api", [7]))))
    assert backend_id(agent, 1) == freed
    assert pods(agent) == [1, 2]
    assert pods(agent, API_KEY) == [7]


def test_a_service_refused_for_lack_of_room_is_programmed_when_there_is_room() -> None:
    agent = Agent(FakeMapStore(Family.IPV4, Capacities(backends=4)))
    agent.apply(WEB)
    agent.apply(Cluster((service("api", 2),), (endpoint_slice("api", [5, 6]),)))
    (family,) = agent.status.families
    assert [(refused.object, bool(refused.remedy)) for refused in family.refused] == [("Service default/api", True)]
    assert API_KEY not in agent.store.read().frontends
    agent.time.advance(10)
    agent.loop.step()
    assert pods(agent, API_KEY) == [5, 6]
    assert agent.status.families[0].refused == ()


def test_a_refused_object_is_shown_and_its_last_good_state_stays(agent: Agent) -> None:
    agent.apply(WEB)
    error = ObjectError("Service", "default/web", "spec.ports", "is no list", "make it a list")
    agent.inbox.refuse(Kind.SERVICE, ("default", "web"), error)
    agent.loop.step()
    assert pods(agent) == [1, 2]
    (refused,) = agent.status.refused
    assert (refused.object, refused.field, refused.reason) == ("Service default/web", "spec.ports", "is no list")
    assert agent.status.healthy


def test_status_counts_objects_and_rows(agent: Agent) -> None:
    agent.apply(BOTH)
    status = agent.status
    assert status.node_name == NODE.name
    assert status.started_at == START
    assert status.objects == {"Service": 2, "EndpointSlice": 2, "Node": 1}
    (family,) = status.families
    assert (family.family, family.service_ports) == (4, 2)
    used = {name: usage.used for name, usage in family.maps.items()}
    assert used == {
        "frontends": 2,
        "backends": 3,
        "services": 2,
        "members": 0,
        "node_addrs": 1,
        "devices": 1,
        "slots": 32,
    }
    assert {name: usage.capacity for name, usage in family.maps.items()}["slots"] == 1024


def test_status_says_whether_the_last_change_is_in_the_maps(agent: Agent) -> None:
    agent.store.fail_next(TableName.FRONTENDS)
    agent.apply(WEB)
    status = agent.status
    assert (status.pending_since, status.last_change_received_at) == (START, START)
    assert status.last_change_applied_at is None
    assert not status.healthy
    agent.time.advance(1)
    agent.loop.step()
    status = agent.status
    assert status.pending_since is None
    assert status.last_change_applied_at == START + timedelta(seconds=1.01)
    assert status.healthy


def test_status_is_published_when_it_changes_only(agent: Agent) -> None:
    agent.apply(WEB)
    count = len(agent.statuses)
    agent.time.advance(5)
    agent.loop.step()
    assert len(agent.statuses) == count
    agent.inbox.source_error("connection lost")
    agent.loop.step()
    assert agent.status.source_error == "connection lost"


def test_a_status_that_cannot_be_published_stops_nothing_and_is_tried_again(agent: Agent) -> None:
    published = agent.statuses.append
    agent.loop._on_status = raiser(OSError("no space left"))  # type: ignore[assignment]
    agent.apply(WEB)
    assert pods(agent) == [1, 2]
    agent.loop._on_status = published
    agent.loop.step()
    assert agent.status.healthy


def test_many_changes_in_one_batch_are_one_apply(agent: Agent) -> None:
    agent.apply(WEB)
    for pod in range(3, 50):
        agent.inbox.upsert(Kind.ENDPOINT_SLICE, endpoint_slice("web", [pod]))
    agent.time.advance(0.01)
    agent.loop.step()
    assert pods(agent) == [49]
    assert len(agent.announced) == 2


def test_members_follow_affinity(agent: Agent) -> None:
    agent.apply(replace(WEB, services=(service("web", affinity_timeout_s=60),)))
    assert {key.backend_id for key in agent.store.read().members} == set(agent.store.read().backends)
    assert all(isinstance(key, MemberKey) for key in agent.store.read().members)


def test_run_works_until_told_to_stop() -> None:
    store = FakeMapStore(Family.IPV4)
    inbox, stop, applied = Inbox(NODE.name), threading.Event(), threading.Event()
    loop = ReconcileLoop({Family.IPV4: store}, inbox, NODE.name, on_applied=lambda *_: applied.set())
    thread = threading.Thread(target=loop.run, args=(stop,))
    thread.start()
    WEB.deliver(inbox)
    assert applied.wait(timeout=10)
    stop.set()
    thread.join(timeout=10)
    assert not thread.is_alive()
    assert WEB_KEY in store.read().frontends
