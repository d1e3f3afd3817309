"""When a sweep is due, what it looks for, and that none ends the agent."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ebpflb.agent import sweeping
from ebpflb.agent.config import AgentConfig
from ebpflb.agent.sweeping import Sweeping
from ebpflb.core.abi import BackendFlag, BackendState, Family, Protocol
from ebpflb.core.tables import Backend, BackendKey, MemberKey, Tables
from ebpflb.datapath.clock import JiffiesClock
from ebpflb.datapath.sweep import SweepResult
from ebpflb.errors import MapError
from ebpflb.reconcile.believed import Vanished

NONE = Vanished({}, frozenset())
GONE = [
    NONE._replace(
        backends={7: Backend(BackendKey(bytes(4), 53, Protocol.UDP), BackendState.ACTIVE, BackendFlag(0), 1)}
    ),
    NONE._replace(members=frozenset({MemberKey(1, 7)})),
]
NOTHING = SweepResult(0, {}, {})


class World:
    """Stands in for the maps: counts sweeps and looks for stale sockets, and fails on order."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.sweeps = 0
        self.looks = 0
        self.failures: list[Exception] = []

    def sweep(self) -> SweepResult:
        with self.changed:
            self.sweeps += 1
            self.changed.notify_all()
        return NOTHING

    def close_stale(self, _: object) -> int:
        with self.changed:
            self.looks += 1
            self.changed.notify_all()
            if self.failures:
                raise self.failures.pop()
        return 2

    def wait(self, reached: Callable[[], bool]) -> None:
        with self.changed:
            assert self.changed.wait_for(reached, 10), (self.sweeps, self.looks)


@pytest.fixture(name="world")
def _world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()

    def opened(_stack: ExitStack, _config: AgentConfig, family: Family, _clock: JiffiesClock) -> Any:
        return SimpleNamespace(family=family, sweeper=world)

    monkeypatch.setattr(sweeping, "_open", opened)
    monkeypatch.setattr(sweeping, "_close_stale", world.close_stale)
    monkeypatch.setattr(sweeping, "PERIOD_S", 600.0)
    return world


@contextmanager
def swept() -> Iterator[Sweeping]:
    stop = threading.Event()
    with Sweeping(AgentConfig("node-1"), cast("JiffiesClock", None)) as subject:
        thread = threading.Thread(target=subject.run, args=(stop,))
        thread.start()
        yield subject
        stop.set()
        thread.join(10)
        assert not thread.is_alive()


def applied(subject: Sweeping, vanished: Vanished) -> None:
    subject.on_applied(Family.IPV4, Tables(Family.IPV4), vanished)


def test_the_first_sweep_looks_for_what_a_predecessor_left(world: World) -> None:
    with swept():
        world.wait(lambda: world.looks == 1)
    assert world.sweeps >= 1


@pytest.mark.parametrize("vanished", GONE)
def test_what_vanishes_is_swept_after_at_once(world: World, vanished: Vanished) -> None:
    with swept() as subject:
        world.wait(lambda: world.looks == 1)
        applied(subject, vanished)
        world.wait(lambda: world.looks == 2)


def test_a_change_without_a_vanished_backend_is_no_reason_to_sweep(world: World) -> None:
    with swept() as subject:
        world.wait(lambda: world.looks == 1)
        applied(subject, NONE)
        assert not subject._wanted.is_set()
        assert not subject._vanished.is_set()


@pytest.mark.parametrize("error", [MapError("read flows: no"), OSError(12, "Cannot allocate memory")])
def test_a_failing_sweep_is_named_and_its_work_stays_due(
    world: World, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    world.failures.append(error)
    with caplog.at_level(logging.WARNING), swept() as subject:
        world.wait(lambda: world.looks == 1)
        subject._wanted.set()
        world.wait(lambda: world.looks == 2)
    assert caplog.messages == [f"sweep_failed family=IPV4 error={error}"]


def test_sockets_are_looked_for_only_after_a_backend_has_vanished(world: World) -> None:
    with swept() as subject:
        world.wait(lambda: world.looks == 1)
        subject._wanted.set()
        world.wait(lambda: world.sweeps == 2)
    assert world.looks == 1


def test_what_was_closed_is_logged(world: World, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), swept():
        world.wait(lambda: world.looks == 1)
    assert any("sockets_closed=2" in message for message in caplog.messages)
