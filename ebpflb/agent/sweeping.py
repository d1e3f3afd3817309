"""Sweeps flows and closes stale UDP sockets: now and then, and at once when a backend has vanished from a Service.

Runs beside the loop, so that a long flow table never delays a change of the maps. What is over, and which sockets are
stale, is decided in ``datapath``; ``host`` closes them.

    loop: on_applied(vanished) --wake--> each family: flows swept, sock_origins -> stale sockets -> destroyed
"""

import logging
import threading
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from ebpflb.agent.config import AgentConfig
from ebpflb.core.abi import Family
from ebpflb.core.tables import Tables
from ebpflb.datapath.clock import JiffiesClock
from ebpflb.datapath.maps import BpfMap
from ebpflb.datapath.store import open_map
from ebpflb.datapath.sweep import FlowSweeper, read_serving, stale_sockets
from ebpflb.errors import EbpflbError
from ebpflb.host.sockets import StaleSocket, destroy_udp_sockets
from ebpflb.reconcile.believed import Vanished

log = logging.getLogger(__name__)

PERIOD_S = 10.0
"""Between sweeps: a third of the shortest timeout, so no flow outlives it by much."""


@dataclass(frozen=True, slots=True)
class _FamilyMaps:
    family: Family
    sweeper: FlowSweeper
    backends: BpfMap
    members: BpfMap
    sock_origins: BpfMap


class Sweeping:
    """A context manager that owns the maps it reads; ``run`` is one thread's work."""

    def __init__(self, config: AgentConfig, clock: JiffiesClock) -> None:
        self._wanted = threading.Event()
        self._vanished = threading.Event()
        """Set: a backend or a member has vanished since the last look for stale sockets."""
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
        """Hear from the loop what it has written: whatever vanished is swept after at once."""
        log.debug(
            "applied family=%s frontends=%d vanished_backends=%d vanished_members=%d",
            family.name,
            len(tables.frontends),
            len(vanished.backends),
            len(vanished.members),
        )
        if vanished.backends or vanished.members:
            self._vanished.set()
            self._wanted.set()

    def run(self, stop: threading.Event) -> None:
        """Sweep until ``stop`` is set. A failing sweep is logged and tried again: it must not end the agent."""
        threading.Thread(target=self._wake_at, args=(stop,), name="sweep-stop", daemon=True).start()
        self._vanished.set()  # a predecessor may have been killed between removing a backend and sweeping
        while not stop.is_set():
            self._sweep_all()
            self._wanted.wait(PERIOD_S)
            self._wanted.clear()

    def _wake_at(self, stop: threading.Event) -> None:
        stop.wait()
        self._wanted.set()

    def _sweep_all(self) -> None:
        vanished = self._vanished.is_set()
        if vanished:
            self._vanished.clear()  # before looking: what vanishes meanwhile is looked for again
        for maps in self._families:
            try:
                result = maps.sweeper.sweep()
                closed = _close_stale(maps) if vanished else 0
            except (EbpflbError, OSError) as error:
                if vanished:
                    self._vanished.set()
                log.warning("sweep_failed family=%s error=%s", maps.family.name, error)
                continue
            removed = sum(result.removed.values())
            level = logging.INFO if removed or closed else logging.DEBUG
            log.log(
                level,
                "sweep family=%s entries=%d removed=%d reasons=%s sockets_closed=%d",
                maps.family.name,
                result.examined,
                removed,
                dict(result.removed),
                closed,
            )


def _open(stack: ExitStack, config: AgentConfig, family: Family, clock: JiffiesClock) -> _FamilyMaps:
    flows, backends, members, sock_origins = (
        stack.enter_context(open_map(config.pins, family, name))
        for name in ("flows", "backends", "members", "sock_origins")
    )
    return _FamilyMaps(family, FlowSweeper(flows, backends, members, clock), backends, members, sock_origins)


def _close_stale(maps: _FamilyMaps) -> int:
    stale = stale_sockets(*maps.sock_origins.read(), read_serving(maps.backends, maps.members))
    closed = destroy_udp_sockets([StaleSocket(each.cookie, each.address, each.port) for each in stale.sockets])
    maps.sock_origins.delete(stale.keys)
    return closed
