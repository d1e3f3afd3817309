"""Sweeps flows and closes stale sockets: now and then, and at once when a Service's backends have changed.

Runs beside the loop, so that a long flow table never delays a change of the maps. What is over, and which sockets are
stale, is decided in ``datapath``; ``host`` closes them.

    loop: on_applied(vanished) --wake--> each family: flows swept, sock_origins -> stale sockets -> destroyed

A socket that is not found is looked for again, shortly after: a connect() that chose the backend just before it went
may not have got its socket into the kernel's tables, or not even its row into ``sock_origins``. Most, though, were
closed long ago, and their rows are forgotten after a few looks. Unconnected UDP sockets are never found. They choose
anew by themselves, and the row names the sender of an answer that is under way: it stays for so long as well, however
often Services change meanwhile. Flows end in steps, for the same reason (``sweep.py``): while a sweep sees orphans,
another one follows.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np

from ebpflb.agent.config import AgentConfig
from ebpflb.core.abi import Family
from ebpflb.core.tables import Tables
from ebpflb.datapath.clock import JiffiesClock
from ebpflb.datapath.stale import SocketMaps, TcpSockets, find_stale
from ebpflb.datapath.store import open_map
from ebpflb.datapath.sweep import FlowMaps, FlowSweeper, SweepResult
from ebpflb.errors import EbpflbError
from ebpflb.host.sockets import StaleSocket, destroy_sockets
from ebpflb.reconcile.believed import Vanished

log = logging.getLogger(__name__)

PERIOD_S = 10.0
"""Between sweeps: as long as the shortest timeout, so no flow outlives it by more than that."""
AGAIN_S = 1.0
"""After a look for stale sockets, the next one: by then a connect() that was under way has got its socket, and an
orphaned flow has lingered."""
REST = 4.0
"""Times as long as a sweep took, none follows it: where endpoints change all the time, sweeps shall not take the time
of the loop that brings those changes into the maps. The first change after a calm moment is swept at once."""
LOOKS = 3
"""For each stale socket; then it is taken for closed. Looks in quick succession are not enough."""


class Sweep(NamedTuple):
    """What one sweep of one family did, for the metrics."""

    family: Family
    seconds: float
    result: SweepResult
    sockets_closed: int


class Missing:
    """The stale sockets that were not found: since when, and how often each has been looked for."""

    def __init__(self) -> None:
        self._looks: dict[StaleSocket, tuple[int, float]] = {}

    def __bool__(self) -> bool:
        """Return whether any is to be looked for again."""
        return bool(self._looks)

    def note(self, missing: Collection[StaleSocket], now_s: float) -> set[StaleSocket]:
        """Hear which were not found this time; return those to be given up. Whoever is no longer stale is forgotten."""
        before = {each: self._looks.get(each, (0, now_s)) for each in missing}
        looks = {each: (count + 1, since) for each, (count, since) in before.items()}
        self._looks = {
            each: (count, since)
            for each, (count, since) in looks.items()
            if count < LOOKS or now_s - since < (LOOKS - 1) * AGAIN_S
        }
        return looks.keys() - self._looks.keys()


@dataclass(frozen=True, slots=True)
class _FamilyMaps:
    family: Family
    sweeper: FlowSweeper
    sockets: SocketMaps
    missing: Missing = field(default_factory=Missing)


class Sweeping:
    """A context manager that owns the maps it reads; ``run`` is one thread's work."""

    def __init__(
        self, config: AgentConfig, clock: JiffiesClock, on_sweep: Callable[[Sweep], None] = lambda _: None
    ) -> None:
        self._on_sweep = on_sweep
        self._tcp = config.close_tcp_sockets
        self._wanted = threading.Event()
        self._changed = threading.Event()
        """Set: backends or members have changed since the last look for stale sockets."""
        self._members: dict[Family, int] = {}
        self._must_look_again = False
        with ExitStack() as stack:
            self._families = [_open(stack, config, family, clock) for family in config.families]
            self._resources = stack.pop_all()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the maps."""
        self._resources.close()

    def on_applied(self, family: Family, tables: Tables, vanished: Vanished) -> None:
        """Hear from the loop what it has written: whatever that leaves behind is swept at once.

        A first member, too, leaves some behind: until it came, a service port kept what it had. Members that only
        came are more members.
        """
        log.debug(
            "applied family=%s frontends=%d vanished_backends=%d vanished_members=%d",
            family.name,
            len(tables.frontends),
            len(vanished.backends),
            len(vanished.members),
        )
        has_grown = len(tables.members) > self._members.get(family, 0)
        self._members[family] = len(tables.members)
        # A backend that begins to drain vanishes from nothing.
        if vanished.backends or vanished.members or has_grown or self._tcp is TcpSockets.DRAINING:
            self._changed.set()
            self._wanted.set()

    def run(self, stop: threading.Event) -> None:
        """Sweep until ``stop`` is set. A failing sweep is logged and tried again: it must not end the agent."""
        threading.Thread(target=self._wake_at, args=(stop,), name="sweep-stop", daemon=True).start()
        self._changed.set()  # a predecessor may have been killed between removing a backend and sweeping
        while not stop.is_set():
            began = time.monotonic()
            self._sweep_all()
            stop.wait(REST * (time.monotonic() - began))
            self._wanted.wait(AGAIN_S if self._must_look_again else PERIOD_S)
            self._wanted.clear()

    def _wake_at(self, stop: threading.Event) -> None:
        stop.wait()
        self._wanted.set()

    def _sweep_all(self) -> None:
        changed = self._changed.is_set()
        look = changed or self._must_look_again
        if changed:
            self._changed.clear()  # before looking: what changes meanwhile is looked for again
        self._must_look_again = changed
        for maps in self._families:
            began = time.monotonic()
            try:
                closed = self._close_stale(maps) if look else 0
                result = maps.sweeper.sweep()
            except (EbpflbError, OSError) as error:
                if look:
                    self._changed.set()
                log.warning("sweep_failed family=%s error=%s", maps.family.name, error)
                continue
            self._must_look_again |= result.orphans > 0
            self._on_sweep(Sweep(maps.family, time.monotonic() - began, result, closed))
            removed = sum(result.removed.values())
            level = logging.INFO if removed or closed else logging.DEBUG
            log.log(
                level,
                "sweep family=%s entries=%s removed=%d reasons=%s sockets_closed=%d",
                maps.family.name,
                dict(result.entries),
                removed,
                dict(result.removed),
                closed,
            )

    def _close_stale(self, maps: _FamilyMaps) -> int:
        """Close the stale sockets of a family; return how many were found."""
        stale = find_stale(maps.sockets, self._tcp)
        wanted = [StaleSocket(*each) for each in stale.sockets]
        closed = destroy_sockets(wanted)
        given_up = maps.missing.note(set(wanted) - closed, time.monotonic())
        self._must_look_again |= bool(maps.missing)
        done = np.array([each in closed or each in given_up for each in wanted], np.bool_)
        maps.sockets.sock_origins.delete(stale.keys[done])
        return len(closed)


def _open(stack: ExitStack, config: AgentConfig, family: Family, clock: JiffiesClock) -> _FamilyMaps:
    names = {*FlowMaps._fields, *SocketMaps._fields}
    maps = {name: stack.enter_context(open_map(config.pins, family, name)) for name in names}
    sweeper = FlowSweeper(FlowMaps(*(maps[name] for name in FlowMaps._fields)), clock, config.timeouts)
    return _FamilyMaps(family, sweeper, SocketMaps(*(maps[name] for name in SocketMaps._fields)))
