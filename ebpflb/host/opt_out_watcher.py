"""Keeps up with pods and network namespaces that come and go, and says which cookies are to be left alone.

Decides when to look: when the wish changes, when inotify tells of a cgroup or a named namespace, soon again while
something is missing, and now and then. Must not know how namespaces are found.

    want(pods) -+
    inotify ----+-> OptOutFinder.look -> on_view(OptOutView)
    time -------+
"""

import logging
import select
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from ebpflb.host.inotify import Watches
from ebpflb.host.opt_outs import OptOutFinder, OptOutView, Wish
from ebpflb.host.wakeup import Wakeup

log = logging.getLogger(__name__)

PATIENCE_S: Final = 5.0
"""For the first list of pods. What a predecessor opted out stays so for that long: nothing is programmed before."""
PERIOD_S: Final = 10.0
"""Between looks at what has been found: a sandbox made anew has another network namespace."""
FIRST_RETRY_S: Final = 0.02
"""A runtime's process enters its namespace without an event. Each further try waits twice as long."""
BURST_S: Final = 0.005
"""A new pod brings several events."""

OnView = Callable[[OptOutView], None]


class OptOutWatcher:
    """One thread's work (``run``); the wish comes from others."""

    def __init__(self, cgroup: Path, patterns: tuple[str, ...] = (), obstacle: str = "") -> None:
        """Search below ``cgroup``; with an ``obstacle``, opt nobody out and give it as the reason."""
        self._finder = OptOutFinder(cgroup)
        self._obstacle = obstacle
        self._lock = threading.Lock()
        self._wish = Wish(patterns=patterns)
        self._has_pods = threading.Event()
        self._wakeup = Wakeup()
        self._last: OptOutView | None = None

    def want(self, pods: Mapping[str, str]) -> None:
        """Take all pods that shall be left alone, UID -> what to call it. May be called from any thread."""
        with self._lock:
            self._wish = Wish(dict(pods), self._wish.patterns)
        self._has_pods.set()
        self._wakeup.set()

    def run(self, on_view: OnView, stop: threading.Event) -> None:
        """Report until ``stop`` is set: once when the pods are known, or have not come in time; then each change."""
        with self._wakeup, Watches() as watches:
            self._wakeup.set_when(stop)
            if not self._pods_come(stop):
                return
            poller = select.poll()
            poller.register(self._wakeup.fileno(), select.POLLIN)
            poller.register(watches.fileno(), select.POLLIN)
            retry_s = FIRST_RETRY_S
            while not stop.is_set():
                wish, view = self._look(watches)
                self._report(view, on_view)
                period_s = retry_s if view.waiting else PERIOD_S
                if poller.poll(period_s * 1000 if wish else None):
                    stop.wait(BURST_S)
                    self._wakeup.clear()
                    watches.drain()
                    retry_s = FIRST_RETRY_S
                else:
                    retry_s = min(2 * retry_s, PERIOD_S)

    def _pods_come(self, stop: threading.Event) -> bool:
        """Wait for the first list of pods, not for ever; return whether to go on."""
        poller = select.poll()
        poller.register(self._wakeup.fileno(), select.POLLIN)
        deadline = time.monotonic() + PATIENCE_S
        while not (self._has_pods.is_set() or stop.is_set()) and time.monotonic() < deadline:
            poller.poll(max(0.0, deadline - time.monotonic()) * 1000)
        if not self._has_pods.is_set() and not stop.is_set():
            log.warning("pods_unknown seconds=%g effect='no pod is opted out of the socket hooks'", PATIENCE_S)
        return not stop.is_set()

    def _look(self, watches: Watches) -> tuple[Wish, OptOutView]:
        with self._lock:
            wish = self._wish
        if not wish:
            watches.replace({})
            return wish, OptOutView()
        if self._obstacle:
            names = ", ".join([*sorted(wish.pods.values()), *wish.patterns])
            return Wish(), OptOutView(warnings=(f"no effect on {names}: {self._obstacle}",))
        view = self._finder.look(wish)
        while watches.replace(self._finder.watched(wish)):
            view = self._finder.look(wish)
        return wish, view

    def _report(self, view: OptOutView, on_view: OnView) -> None:
        if view == self._last:
            return
        before, self._last = self._last or OptOutView(), view
        if view != before:
            log.info("opt_outs namespaces=%d of=%r waiting=%r", len(view.cookies), view.opted_out, view.waiting)
        for text in view.warnings:
            if text not in before.warnings:
                log.warning("opt_out_warning text=%r", text)
        on_view(view)
