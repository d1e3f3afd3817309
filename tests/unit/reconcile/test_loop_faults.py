"""What the loop does when maps are full, calls fail, code raises, or others change the maps."""

from dataclasses import replace
from datetime import timedelta

import pytest

from ebpflb.core.abi import BackendFlag, BackendState, Family, Protocol
from ebpflb.core.tables import Backend, BackendKey, TableName, Tables
from ebpflb.errors import MapError
from ebpflb.reconcile.believed import Vanished
from ebpflb.reconcile.fake import SLOTS, Capacities, FakeMapStore, Operation
from ebpflb.reconcile.loop import ReconcileLoop
from ebpflb.reconcile.status import Status
from tests.unit.reconcile.world import (
    API_KEY,
    BOTH,
    NODE,
    START,
    WEB,
    WEB_KEY,
    WEB_SCALED,
    Agent,
    pods,
    raiser,
    service,
)


@pytest.fixture(name="agent")
def _agent() -> Agent:
    return Agent(FakeMapStore(Family.IPV4))


def test_an_announcement_that_is_not_heard_is_repeated(agent: Agent) -> None:
    sticky = (service("web", affinity_timeout_s=60),)
    agent.apply(replace(WEB, services=sticky))
    heard: list[Vanished] = []
    answers = iter([RuntimeError("no netlink"), None])

    def sweep(_: Family, __: Tables, vanished: Vanished) -> None:
        heard.append(vanished)
        answer = next(answers)
        if answer:
            raise answer

    agent.loop._on_applied = sweep
    agent.apply(replace(WEB_SCALED, services=sticky))
    assert agent.status.families[0].error == "RuntimeError: no netlink"
    assert not agent.status.healthy
    agent.time.advance(1)
    agent.loop.step()
    assert len(heard) == 2
    assert heard[0] == heard[1]
    assert heard[0].backends
    assert heard[0].members
    assert agent.status.healthy


def test_one_full_map_does_not_stop_the_other_services() -> None:
    agent = Agent(FakeMapStore(Family.IPV4, Capacities(members=2)))
    sticky = replace(BOTH, services=(service("web", affinity_timeout_s=60), service("api", 2, affinity_timeout_s=60)))
    agent.apply(sticky)
    assert pods(agent, API_KEY) == [4]
    assert WEB_KEY not in agent.store.read().frontends
    (family,) = agent.status.families
    assert [(refusal.object, refusal.field) for refusal in family.refused] == [("Service default/web", "endpoints")]
    assert family.failed_rows == ()
    agent.apply(replace(BOTH, services=(service("web", affinity_timeout_s=60), service("api", 2))))
    agent.time.advance(1)
    agent.loop.step()  # the old members leave last, and make room for the retry
    assert pods(agent) == [1, 2]
    assert pods(agent, API_KEY) == [4]
    assert len(agent.store.read().members) == 2


def test_a_full_map_that_no_service_fills_is_ill_health_and_the_services_are_served() -> None:
    agent = Agent(FakeMapStore(Family.IPV4, Capacities(node_addrs=0)))
    agent.apply(WEB)
    assert pods(agent) == [1, 2]
    (family,) = agent.status.families
    assert [row.table for row in family.failed_rows] == ["node_addrs"]
    assert "full" in family.failed_rows[0].error
    assert not agent.status.healthy
    assert agent.status.pending_since is not None
    assert agent.status.last_change_applied_at is not None  # as far as the kernel takes it: the agent is ready


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
