"""What the loop tells those who measure its rounds."""

from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from ebpflb.core.abi import Family
from ebpflb.core.tables import TableName
from ebpflb.reconcile.batch import Batch
from ebpflb.reconcile.fake import FakeMapStore
from ebpflb.reconcile.faults import Operation
from ebpflb.reconcile.rounds import Round
from tests.unit.reconcile.world import BOTH, START, WEB, WEB_KEY, WEB_SCALED, Agent


@dataclass
class Listener:
    heard: list[Batch | Round] = field(default_factory=list)

    def on_batch(self, batch: Batch) -> None:
        self.heard.append(batch)

    def on_round(self, done: Round) -> None:
        self.heard.append(done)

    @property
    def last(self) -> Round:
        assert isinstance(self.heard[-1], Round)
        return self.heard[-1]


def observed() -> tuple[Agent, Listener]:
    agent, listener = Agent(FakeMapStore(Family.IPV4)), Listener()
    agent.loop._observers = (listener,)
    return agent, listener


def test_a_batch_is_told_before_its_round() -> None:
    agent, listener = observed()
    agent.apply(WEB)
    batch, done = listener.heard
    assert isinstance(batch, Batch)
    assert isinstance(done, Round)
    assert done.batch is batch
    assert set(batch.snapshot.services) == {("default", "web")}
    assert done.ended_at == START + timedelta(seconds=agent.time.seconds - 1000)
    assert not done.unsettled_since


def test_a_round_without_anything_to_do_is_not_told() -> None:
    agent, listener = observed()
    agent.apply(WEB)
    count = len(listener.heard)
    agent.loop.step()
    assert len(listener.heard) == count


def test_only_rounds_that_read_the_maps_are_full() -> None:
    agent, listener = observed()
    agent.apply(WEB)
    assert [(sync.is_full, sync.succeeded) for sync in listener.last.syncs] == [(True, True)]
    agent.apply(WEB_SCALED)
    assert [(sync.is_full, sync.succeeded) for sync in listener.last.syncs] == [(False, True)]
    agent.time.advance(601)
    agent.loop.step()
    assert listener.last.batch is None
    assert [sync.is_full for sync in listener.last.syncs] == [True]


def test_a_change_that_the_maps_do_not_take_is_unsettled_since_it_came() -> None:
    agent, listener = observed()
    agent.store.fail_when(lambda operation, target, _: (operation, target) == (Operation.PUT, "services"))
    agent.apply(WEB)
    assert [sync.succeeded for sync in listener.last.syncs] == [False]
    assert listener.last.unsettled_since == {Family.IPV4: START}
    agent.apply(BOTH)  # a later change makes it no younger
    assert listener.last.unsettled_since == {Family.IPV4: START}
    agent.store.heal()
    agent.time.advance(60)
    agent.loop.step()
    assert listener.last.batch is None
    assert not listener.last.unsettled_since


def test_a_loss_that_cannot_be_repaired_is_unsettled_since_it_was_found() -> None:
    agent, listener = observed()
    agent.apply(WEB)
    agent.store.delete(TableName.FRONTENDS, [WEB_KEY])
    agent.store.fail_when(lambda operation, target, _: (operation, target) == (Operation.PUT, "frontends"))
    agent.time.advance(601)
    agent.loop.step()
    assert listener.last.unsettled_since == {Family.IPV4: listener.last.ended_at}


def test_an_observer_that_raises_holds_up_nobody(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Listener):
        def on_batch(self, batch: Batch) -> None:
            raise RuntimeError("on_batch")

        def on_round(self, done: Round) -> None:
            raise RuntimeError("on_round")

    agent, listener = observed()
    agent.loop._observers = (Broken(), listener)
    agent.apply(WEB)
    assert len(listener.heard) == 2
    assert agent.status.healthy
    assert "on_batch" in caplog.text
    assert "on_round" in caplog.text
