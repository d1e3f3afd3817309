"""Keeps the ports open that others ask for: opens what is new, closes what is not wanted, tries again what failed.

Decides when a port is tried again and what is news about it. Must not know what is served, nor what a failure means.

    want(group, {name: Wanted}) --> run: HttpServer.listen, Listener.close --> on_failure(message), failures()
"""

import errno
import logging
import os
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final, NamedTuple

from ebpflb.core.abi import Family
from ebpflb.errors import UsageError
from ebpflb.host.http_server import Handler, HttpServer, Listener

log = logging.getLogger(__name__)

RETRY_SECONDS: Final = 5.0
"""As kube-proxy has it; whatever else changes meanwhile is an occasion, too."""

_UNSPECIFIED: Final = {Family.IPV4: "0.0.0.0", Family.IPV6: "::"}  # noqa: S104 - who wants less says so


class Endpoint(NamedTuple):
    """Where to listen."""

    address: str
    port: int

    def __str__(self) -> str:
        """Return ``10.0.0.1:80`` or ``[fd00::1]:80``."""
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


def endpoints_of(text: str, families: Collection[Family]) -> tuple[Endpoint, ...]:
    """Return where ``IP:port`` is to listen; empty: nowhere. The unspecified address is that of every family, as Go has
    it. Raises ``UsageError``.
    """
    if not text:
        return ()
    host, _, number = text.rpartition(":")
    try:
        address, port = ip_address(host.removeprefix("[").removesuffix("]")), int(number)
    except ValueError:
        remedy = "give it as 0.0.0.0:10256 or [::]:10256"
        raise UsageError(f"{text!r} is not an IP address and a port", remedy=remedy) from None
    if not address.is_unspecified:
        return (Endpoint(str(address), port),)
    return tuple(Endpoint(_UNSPECIFIED[family], port) for family in families)


@dataclass(frozen=True, slots=True)
class Wanted:
    """One server, at one or more addresses. Its handler is the same for as long as it is asked for by its name."""

    server: HttpServer
    endpoints: tuple[Endpoint, ...]
    handler: Handler
    on_failure: Callable[[str], None]
    """Called when it cannot listen somewhere, once until the reason changes. May raise to end ``HttpPorts.run``."""


_Name = tuple[str, str]
"""Group and name."""


class HttpPorts:
    """Ports of any servers. Any thread may call ``want``, which opens nothing; ``run`` is one thread's work."""

    def __init__(
        self,
        on_change: Callable[[], None] = lambda: None,
        *,
        retry_s: float = RETRY_SECONDS,
    ) -> None:
        self._on_change = on_change
        self._retry_s = retry_s
        self._lock = threading.Lock()
        self._wanted: dict[_Name, Wanted] = {}
        self._news = threading.Event()
        self._open: dict[tuple[_Name, Endpoint], Listener] = {}
        self._failures: dict[_Name, str] = {}

    def want(self, group: str, wanted: Mapping[str, Wanted]) -> None:
        """Replace what is wanted of a group."""
        with self._lock:
            others = {name: each for name, each in self._wanted.items() if name[0] != group}
            self._wanted = others | {(group, name): each for name, each in wanted.items()}
        self._news.set()

    def failures(self, group: str) -> dict[str, str]:
        """Return why servers of a group do not listen everywhere they should, by name."""
        return {name: reason for (of, name), reason in self._failures.items() if of == group}

    def run(self, stop: threading.Event) -> None:
        """Open and close until ``stop`` is set; then close all. Raises what an ``on_failure`` raises."""
        threading.Thread(target=self._wake_at, args=(stop,), name="ports-stop", daemon=True).start()
        try:
            while True:
                self._news.clear()  # before looking at what it tells of, the stop included
                if stop.is_set():
                    break
                self._settle()
                self._news.wait(self._retry_s if self._failures else None)
        finally:
            self.want_nothing()
            self._settle()

    def want_nothing(self) -> None:
        """Ask for every port to be closed."""
        with self._lock:
            self._wanted = {}

    def _wake_at(self, stop: threading.Event) -> None:
        stop.wait()
        self._news.set()

    def _settle(self) -> None:
        with self._lock:
            wanted = dict(self._wanted)
        places = {(name, endpoint) for name, each in wanted.items() for endpoint in each.endpoints}
        for place in self._open.keys() - places:  # first, so that a port can pass from one to another
            self._open.pop(place).close()
            log.info("port_closed name=%s at=%s", place[0][1], place[1])
        failures = {name: reason for name, each in wanted.items() if (reason := "; ".join(self._missing(name, each)))}
        news = {name: reason for name, reason in failures.items() if self._failures.get(name) != reason}
        is_news = failures != self._failures
        self._failures = failures
        for name, reason in news.items():
            log.warning("port_failed name=%s reason=%r", name[1], reason)
            wanted[name].on_failure(reason)
        if is_news:
            self._on_change()

    def _missing(self, name: _Name, wanted: Wanted) -> Iterator[str]:
        """Open what is not open; yield why it cannot be."""
        for endpoint in wanted.endpoints:
            if (name, endpoint) in self._open:
                continue
            try:
                self._open[name, endpoint] = wanted.server.listen(*endpoint, wanted.handler)
            except OSError as error:
                yield f"cannot listen at {endpoint}: {_words(error)}"
            else:
                log.info("port_open name=%s at=%s", name[1], endpoint)


def _words(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "another process, or another Service, has that port"
    if error.errno == errno.EADDRNOTAVAIL:
        return "this node does not have that address"
    return os.strerror(error.errno) if error.errno else str(error)
