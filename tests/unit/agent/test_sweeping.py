"""When a sweep is due, what it looks for and for how long, and that none ends the agent."""

import logging
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from ebpflb.agent import sweeping
from ebpflb.agent.config import AgentConfig
from ebpflb.agent.sweeping import LOOKS, Missing, Sweeping
from ebpflb.core.abi import BackendFlag, BackendState, Family, MemberSet, Protocol
from ebpflb.core.tables import Backend, BackendKey, MemberKey, Tables
from ebpflb.datapath.clock import JiffiesClock
from ebpflb.datapath.layout import layout_of
from ebpflb.datapath.stale import SocketMaps, StaleSocket, StaleSockets, TcpSockets
from ebpflb.datapath.sweep import SweepResult
from ebpflb.errors import MapError
from ebpflb.host import sockets
from ebpflb.reconcile.believed import Vanished

NONE = Vanished({}, frozenset())
GONE = [
    NONE._replace(
        backends={7: Backend(BackendKey(bytes(4), 53, Protocol.UDP), BackendState.ACTIVE, BackendFlag(0), 1)}
    ),
    NONE._replace(members=frozenset({MemberKey(1, 7)})),
]
NOTHING = SweepResult({}, {}, {})
STALE = [StaleSocket(cookie, bytes(4), 53, Protocol.TCP) for cookie in (11, 12)]


class World:
    """Stands in for the maps and the kernel's sockets: counts sweeps and looks, and fails on order."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.sweeps = 0
        self.orphans: list[int] = []
        """What the next sweeps see, the first one last."""
        self.looks: list[TcpSockets] = []
        self.failures: list[Exception] = []
        self.stale: list[StaleSocket] = []
        """In ``sock_origins``."""
        self.living: set[int] = set()
        """Cookies of the stale sockets that can be found."""

    def sweep(self) -> SweepResult:
        with self.changed:
            self.sweeps += 1
            self.changed.notify_all()
            return NOTHING._replace(orphans=self.orphans.pop() if self.orphans else 0)

    def find_stale(self, _: SocketMaps, tcp: TcpSockets) -> StaleSockets:
        with self.changed:
            self.looks.append(tcp)
            self.changed.notify_all()
            if self.failures:
                raise self.failures.pop()
            keys = np.zeros(len(self.stale), layout_of("sock_origins", Family.IPV4).key)
            keys["cookie"] = [each.cookie for each in self.stale]
            return StaleSockets(list(self.stale), keys)

    def destroy(self, wanted: Collection[sockets.StaleSocket]) -> set[sockets.StaleSocket]:
        return {each for each in wanted if each.cookie in self.living}

    def delete(self, keys: Any) -> None:
        with self.changed:
            gone = set(keys["cookie"].tolist())
            self.stale = [each for each in self.stale if each.cookie not in gone]
            self.changed.notify_all()

    def wait(self, reached: Callable[[], bool]) -> None:
        with self.changed:
            assert self.changed.wait_for(reached, 60), (self.sweeps, self.looks, self.stale)


@pytest.fixture(name="world")
def _world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()

    def opened(_stack: ExitStack, _config: AgentConfig, family: Family, _clock: JiffiesClock) -> Any:
        maps = SimpleNamespace(sock_origins=SimpleNamespace(delete=world.delete))
        return SimpleNamespace(family=family, sweeper=world, sockets=maps, missing=Missing())

    monkeypatch.setattr(sweeping, "_open", opened)
    monkeypatch.setattr(sweeping, "find_stale", world.find_stale)
    monkeypatch.setattr(sweeping, "destroy_sockets", world.destroy)
    monkeypatch.setattr(sweeping, "PERIOD_S", 600.0)
    monkeypatch.setattr(sweeping, "AGAIN_S", 0.01)
    return world


SETTLED = 2
"""Looks after something vanished when nothing stale is found: at once, and once more."""


@contextmanager
def swept(tcp: TcpSockets = TcpSockets.DELETED) -> Iterator[Sweeping]:
    stop = threading.Event()
    config = AgentConfig("node-1", families=(Family.IPV4,), close_tcp_sockets=tcp)
    with Sweeping(config, cast("JiffiesClock", None)) as subject:
        thread = threading.Thread(target=subject.run, args=(stop,))
        thread.start()
        try:
            yield subject
        finally:
            stop.set()
            thread.join(60)
        assert not thread.is_alive()


def applied(subject: Sweeping, vanished: Vanished, members: int = 0) -> None:
    rows = {MemberKey(1, 1 + number): MemberSet.SERVING for number in range(members)}
    subject.on_applied(Family.IPV4, Tables(Family.IPV4, members=rows), vanished)


def test_the_first_sweep_looks_for_what_a_predecessor_left(world: World) -> None:
    with swept():
        world.wait(lambda: len(world.looks) == 1)
    assert world.sweeps >= 1


@pytest.mark.parametrize("vanished", GONE)
def test_what_vanishes_is_swept_after_at_once_and_once_more(world: World, vanished: Vanished) -> None:
    """The second look is for a connect() that was under way at the first."""
    with swept() as subject:
        world.wait(lambda: len(world.looks) == SETTLED)
        applied(subject, vanished)
        world.wait(lambda: len(world.looks) == 2 * SETTLED)


def test_a_change_without_a_vanished_backend_is_no_reason_to_sweep(world: World) -> None:
    with swept() as subject:
        world.wait(lambda: len(world.looks) == SETTLED)
        applied(subject, NONE)
        assert not subject._wanted.is_set()
        assert not subject._changed.is_set()


def test_members_that_come_leave_nobody_where_he_is(world: World) -> None:
    """Until there is one, flows stay with a backend that their Service has lost."""
    with swept() as subject:
        world.wait(lambda: len(world.looks) == SETTLED)
        applied(subject, NONE, members=1)
        world.wait(lambda: len(world.looks) == 2 * SETTLED)
        applied(subject, NONE, members=1)
        assert not subject._changed.is_set()


def test_orphans_are_swept_until_there_are_none(world: World) -> None:
    world.orphans = [0, 1, 2, 4, 4]
    with swept() as subject:
        world.wait(lambda: world.sweeps == 5)
        world.wait(lambda: not subject._must_look_again)
    assert world.sweeps == 5


def test_any_change_may_have_begun_to_drain_a_backend(world: World) -> None:
    with swept(TcpSockets.DRAINING) as subject:
        world.wait(lambda: len(world.looks) == SETTLED)
        applied(subject, NONE)
        world.wait(lambda: len(world.looks) == 2 * SETTLED)
    assert set(world.looks) == {TcpSockets.DRAINING}


@pytest.mark.parametrize("error", [MapError("read flows: no"), OSError(12, "Cannot allocate memory")])
def test_a_failing_sweep_is_named_and_its_work_stays_due(
    world: World, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    world.failures.append(error)
    world.stale, world.living = STALE, {11, 12}
    with caplog.at_level(logging.WARNING), swept():
        world.wait(lambda: not world.stale)
    assert caplog.messages == [f"sweep_failed family=IPV4 error={error}"]


def test_sockets_are_looked_for_only_after_a_backend_has_vanished(world: World) -> None:
    with swept() as subject:
        world.wait(lambda: world.sweeps == SETTLED)
        subject._wanted.set()
        world.wait(lambda: world.sweeps == SETTLED + 1)
    assert len(world.looks) == SETTLED


def test_a_socket_that_is_not_found_is_looked_for_again(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.stale, world.living = STALE, {11}
    with caplog.at_level(logging.INFO), swept():
        world.wait(lambda: world.stale == STALE[1:])
        world.living.add(12)
        world.wait(lambda: not world.stale)
    assert [message.rpartition(" ")[2] for message in caplog.messages] == ["sockets_closed=1"] * 2


def test_a_socket_that_is_never_found_is_given_up(world: World) -> None:
    world.stale = STALE
    with swept():
        world.wait(lambda: not world.stale)
        world.wait(lambda: world.sweeps == LOOKS)
    assert len(world.looks) == LOOKS


def test_looks_are_counted_for_each_socket_and_forgotten_with_it() -> None:
    first, second = (sockets.StaleSocket(cookie, bytes(4), 53, Protocol.TCP) for cookie in (1, 2))
    missing = Missing()
    assert [missing.note({first}, 0), missing.note({first, second}, 10)] == [set(), set()]
    assert missing.note({first, second}, 20) == {first}
    assert missing.note(set(), 30) == set()
    assert not missing
    assert [missing.note({second}, now) for now in range(LOOKS)] == [set(), set(), {second}]


def test_looks_in_quick_succession_take_no_answer_from_a_socket() -> None:
    """An unconnected socket is never found; its row names the sender of what is still under way to it."""
    missing, sought = Missing(), {sockets.StaleSocket(1, bytes(4), 53, Protocol.UDP)}
    last = (LOOKS - 1) * sweeping.AGAIN_S
    assert [missing.note(sought, now) for now in (0.0, 0.1, 0.2, last - 0.1)] == [set()] * 4
    assert missing.note(sought, last) == sought
