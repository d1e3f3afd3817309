"""Mirrors one collection of the API server into the sink: list, watch from there, and what to do when either fails.

Decides when to list again, when to watch on, and how long to wait. Knows no rule of any object.

    list --> sink.replace --> watch --> sink.upsert | delete | refuse --(410: list; else: watch from the last version)
"""

import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import urllib3
from msgspec import Raw

from ebpflb.core.manifest import Identity, Invisible, identify
from ebpflb.errors import EbpflbError, ObjectError
from ebpflb.kube.backoff import Backoff
from ebpflb.kube.connection import Connection
from ebpflb.kube.faults import FORBIDDEN, NOT_FOUND, Faults, RequestError, failed_request
from ebpflb.kube.resources import Resource
from ebpflb.kube.wire import Event, Page, Status, decode_envelope, read_events
from ebpflb.reconcile.ports import ModelObject, Sink

PAGE_LIMIT = 500
LIST_READ_TIMEOUT_S = 60.0
WATCH_READ_TIMEOUT_S = 120.0
"""API servers send a bookmark about every minute: two missed ones mean a dead connection, or cost one reconnect."""
WATCH_TIMEOUT_S = (300, 600)
"""The range in which a watch asks to be ended, so that load spreads over API servers again."""
ABSENT_RETRY_S = (300.0, 600.0)
"""The range in which a collection is asked for again that an API server does not have, or does not show."""
HEALTHY_WATCH_S = 10.0
"""A watch that lived this long was no failure, even if nothing happened."""

_GONE = 410
_VERSION_REFUSED = (_GONE, 400, 504)
"""Answers to a watch that only a new list heals: expired; unreadable; newer than the (restored) API server's own."""

_LOG = logging.getLogger(__name__)


@dataclass(slots=True)
class _Listed:
    """What a list holds."""

    objects: list[ModelObject] = field(default_factory=list)
    refused: list[ObjectError] = field(default_factory=list)
    version: str = ""
    """At which a watch takes over."""


class Reflector:
    """One collection, one thread."""

    def __init__(
        self,
        resource: Resource,
        connection: Connection,
        sink: Sink,
        faults: Faults,
        *,
        rng: random.Random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._resource = resource
        self._connection = connection
        self._sink = sink
        self._faults = faults
        self._rng = rng
        self._clock = clock
        self._backoff = Backoff(rng)
        self._version = ""
        self._was_listed, self._is_absent = False, False

    def run(self, stop: threading.Event) -> None:
        """List and watch until told to stop."""
        while not stop.is_set():
            try:
                delay_s = self._attempt(stop)
            except Exception as error:  # noqa: BLE001 - an unforeseen fault must not end the watch: shown and retried
                delay_s = self._backoff.next_s()
                _LOG.debug("unforeseen kind=%s", self._resource.kind, exc_info=error)
                if not stop.is_set():
                    self._complain(f"watching {self._resource.path}: {type(error).__name__}: {error}", delay_s)
            if delay_s:
                stop.wait(delay_s)

    def _attempt(self, stop: threading.Event) -> float:
        """List if need be, then watch to the end. Return how long to wait before the next attempt."""
        try:
            if not self._version:
                self._list(stop)
            return self._watch(stop)
        except RequestError as error:
            if stop.is_set():
                return 0.0
            if self._resource.is_optional and self._is_absence(error):
                return self._do_without(error)
            delay_s = max(self._backoff.next_s(), error.retry_after_s)
            if self._version and error.status in _VERSION_REFUSED:
                _LOG.info("relist kind=%s reason=%r", self._resource.kind, error.message)
                self._version = ""
                return delay_s
            self._complain(self._renew(error) if error.stale_credentials else str(error), delay_s)
            return delay_s

    def _is_absence(self, error: RequestError) -> bool:
        """Whether there is no such collection for us. One that was shown once is hidden for a while: it stays."""
        return error.status == NOT_FOUND or (error.status == FORBIDDEN and not self._was_listed)

    def _do_without(self, error: RequestError) -> float:
        """Count a collection that is not served, or not to us, as empty. Return when to ask for it again."""
        if not self._is_absent:
            level = logging.WARNING if error.status == FORBIDDEN else logging.INFO
            _LOG.log(level, "absent kind=%s reason=%r", self._resource.kind, str(error))
        self._was_listed, self._is_absent, self._version = False, True, ""
        self._sink.replace(self._resource.kind, ())
        self._faults.report(self._resource.kind, "")
        return self._rng.uniform(*ABSENT_RETRY_S)

    def _complain(self, message: str, delay_s: float) -> None:
        _LOG.warning("source_error kind=%s retry_in_s=%.1f reason=%r", self._resource.kind, delay_s, message)
        self._faults.report(self._resource.kind, message)

    def _renew(self, error: RequestError) -> str:
        """Read the credentials again; return what to show."""
        try:
            self._connection.reload()
        except EbpflbError as unusable:
            return f"{error}; {unusable}"
        return str(error)

    def _list(self, stop: threading.Event) -> None:
        try:
            found = self._pages(PAGE_LIMIT)
        except RequestError as error:
            if error.status != _GONE:
                raise
            # The continuation expired between two pages: a list in one piece has none.
            found = self._pages(0)
        if stop.is_set():
            return
        self._sink.replace(self._resource.kind, found.objects, found.refused)
        self._version = found.version
        self._was_listed, self._is_absent = True, False
        self._complain_if_empty(not found.objects and not found.refused)
        _LOG.info("listed kind=%s objects=%d refused=%d", self._resource.kind, len(found.objects), len(found.refused))

    def _pages(self, limit: int) -> "_Listed":
        """Return all objects; limit 0 asks for one page. Of each page no more is kept than what its objects mean."""
        found = _Listed()
        query = {**self._resource.selectors, **({"limit": str(limit)} if limit else {})}
        while True:
            with self._connection.get(self._resource.path, query, LIST_READ_TIMEOUT_S) as response:
                page = decode_envelope(response.read(), Page)
            for item in page.items or ():
                self._convert_into(found, item)
            if not page.metadata.continuation:
                break
            query["continue"] = page.metadata.continuation
        found.version = page.metadata.resource_version
        if not found.version:
            raise RequestError(f"the list of {self._resource.path} has no resourceVersion", remedy="trying again")
        for error in found.refused:
            self._log_refused(error)
        return found

    def _convert_into(self, found: "_Listed", item: Raw) -> None:
        try:
            converted = self._resource.convert(item)
        except ObjectError as error:
            found.refused.append(error)
            return
        if not isinstance(converted, Invisible):
            found.objects.append(converted)

    def _watch(self, stop: threading.Event) -> float:
        """Deliver events until the stream ends. Return the wait before the next watch."""
        query = {
            **self._resource.selectors,
            "watch": "true",
            "resourceVersion": self._version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(self._rng.randint(*WATCH_TIMEOUT_S)),
        }
        since, healthy, broken = self._clock(), False, False
        with self._connection.get(self._resource.path, query, WATCH_READ_TIMEOUT_S) as response:
            self._faults.report(self._resource.kind, "")
            try:
                for event in read_events(response):
                    if stop.is_set():
                        return 0.0
                    self._take(event)
                    healthy = True
            except (urllib3.exceptions.HTTPError, OSError) as error:
                # Cut off in the middle is every watch's fate; whether the server still answers shows at the next one.
                broken = True
                _LOG.debug("watch_broken kind=%s reason=%r", self._resource.kind, error)
        if healthy or self._clock() - since >= HEALTHY_WATCH_S:
            self._backoff.reset()
            return self._backoff.next_s() if broken else 0.0
        return self._backoff.next_s()

    def _take(self, event: Event) -> None:
        """Deliver one event, then remember its version: what was not delivered is sent again."""
        if event.type == "ERROR":
            status = decode_envelope(event.object, Status)
            raise failed_request(self._connection.server, self._resource.path, status.code, status.message, {})
        who = identify(event.object)
        if event.type != "BOOKMARK":
            self._deliver(event, who)
        self._version = who.resource_version or self._version

    def _deliver(self, event: Event, who: Identity) -> None:
        kind, key = self._resource.kind, (who.namespace, who.name)
        if event.type == "DELETED":
            self._sink.delete(kind, key)
            self._complain_if_empty(True)
            return
        try:
            converted = self._resource.convert(event.object)
        except ObjectError as error:
            self._log_refused(error)
            self._sink.refuse(kind, key, error)
            return
        if isinstance(converted, Invisible):
            self._sink.delete(kind, key)
        else:
            self._sink.upsert(kind, converted)
            self._complain_if_empty(False)

    def _log_refused(self, error: ObjectError) -> None:
        _LOG.warning("refused kind=%s reason=%r", self._resource.kind, str(error))

    def _complain_if_empty(self, empty: bool) -> None:
        """Report a collection that must have its one object, and has not."""
        if self._resource.complaint_when_empty:
            self._faults.report(
                f"{self._resource.kind} is missing", self._resource.complaint_when_empty if empty else ""
            )
