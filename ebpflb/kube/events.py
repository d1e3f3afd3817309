"""Tells of incidents through the Kubernetes API: ``kubectl describe service`` shows what the agent says of it.

Decides what is told again, how fast, and what is given up. Never holds up who emits: a thread of its own sends, out of
a short queue; what finds no room there, or no API server in time, is dropped, and a line of the log says so.

    emit --(a repeat is counted)--> queue --(one a second)--> Event created, or its series updated
"""

import json
import logging
import queue
import random
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from ebpflb.errors import EbpflbError
from ebpflb.kube.backoff import Backoff
from ebpflb.kube.connection import SEND_TIMEOUT_S, Connection
from ebpflb.kube.event_objects import Incident, event_object, events_path, object_path, repetition
from ebpflb.kube.faults import NOT_FOUND, RequestError
from ebpflb.kube.throttle import Throttle

QUEUE_LIMIT = 100
REPEAT_S = 300.0
"""A repeat is told when the last time it was is so long ago; those between are counted."""
KNOWN_LIMIT = 1000
"""So many different incidents are told apart; beyond, the one longest ago is new again."""
BURST = 25
PER_SECOND = 1.0
ATTEMPTS = 10
"""With the delays between them, about two minutes: an API server that is replaced is back by then."""
STOP_TIMEOUT_S = 1.0
"""How long ``run`` waits for its thread. One that still connects to a silent address is left to end by itself."""

_MAX_NAME: Final = 230
"""Of an object's name in that of its Event, which may have 253 characters."""
_TOO_MANY: Final = 429
_CONFLICT: Final = 409
_SERVER_ERRORS: Final = 500
_LOG = logging.getLogger(__name__)


@dataclass(slots=True)
class _Series:
    """How often an incident happened, and what the API server knows of it."""

    count: int = 0
    told_at: float = 0.0
    event_name: str = ""
    """Empty: no Event of it was created yet."""


class _Metadata(msgspec.Struct):
    uid: str = ""


class _Object(msgspec.Struct):
    metadata: _Metadata = msgspec.field(default_factory=_Metadata)


class KubeEvents:
    """Implements ``reconcile.ports.Events``; ``run`` sends what ``emit`` takes."""

    def __init__(
        self,
        kubeconfig: Path | None,
        node_name: str,
        *,
        context: str | None = None,
        server: str = "",
        rng: random.Random | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read the kubeconfig (``None``: the pod's service account). Raises ``UsageError`` if it cannot be used."""
        self._connection = Connection(kubeconfig, context, server=server)
        self._node_name = node_name
        self._rng = rng or random.SystemRandom()
        self._clock = clock
        self._lock = threading.Lock()
        self._known: OrderedDict[Incident, _Series] = OrderedDict()
        self._queue: queue.SimpleQueue[Incident | None] = queue.SimpleQueue()
        self._dropped = 0
        self._throttle = Throttle(PER_SECOND, BURST, clock)

    def emit(self, kind: str, namespace: str, name: str, *, reason: str, message: str, warning: bool) -> None:
        """Take an incident to tell of; a repeat within ``REPEAT_S`` is counted only."""
        incident = Incident(kind, namespace, name, reason, message, warning)
        now = self._clock()
        with self._lock:
            series = self._known.setdefault(incident, _Series())
            self._known.move_to_end(incident)
            series.count += 1
            if series.count > 1 and now - series.told_at < REPEAT_S:
                return
            series.told_at = now
            if self._queue.qsize() >= QUEUE_LIMIT:
                self._drop(incident)
                return
            if len(self._known) > KNOWN_LIMIT:
                self._known.popitem(last=False)
            dropped, self._dropped = self._dropped, 0
            self._queue.put(incident)
        if dropped:
            _LOG.warning("events_dropped count=%d problem='the queue was full'", dropped)

    def _drop(self, incident: Incident) -> None:
        """Give up an incident, as if it had not been: it may come again. A flood of them is no flood of the log."""
        del self._known[incident]
        if not self._dropped:
            _LOG.warning("event_dropped reason=%s problem='the queue is full'", incident.reason)
        self._dropped += 1

    def run(self, stop: threading.Event) -> None:
        """Send until ``stop`` is set; what is still queued then is not sent."""
        sender = threading.Thread(target=self._send_all, args=(stop,), name="kube-events", daemon=True)
        sender.start()
        stop.wait()
        self._queue.put(None)
        self._connection.abort()
        sender.join(STOP_TIMEOUT_S)
        self._connection.close()

    def _send_all(self, stop: threading.Event) -> None:
        while not stop.is_set():
            incident = self._queue.get()
            if incident is None:
                return
            try:
                if delay_s := self._throttle.delay_s():
                    stop.wait(delay_s)
                self._send(incident, stop)
            except Exception as error:  # noqa: BLE001 - an event that cannot be sent must not keep the next from it
                _LOG.warning("event_dropped reason=%s problem=%r", incident.reason, f"{type(error).__name__}: {error}")

    def _send(self, incident: Incident, stop: threading.Event) -> None:
        """Try until it is sent, or cannot be, or was tried often enough."""
        backoff = Backoff(self._rng)
        new_name = f"{incident.name[:_MAX_NAME].rstrip('-.')}.{self._rng.getrandbits(64):016x}"
        for left in reversed(range(ATTEMPTS)):
            try:
                self._attempt(incident, new_name)
            except RequestError as error:
                if stop.is_set():
                    return
                if not left or not _may_heal(error):
                    _LOG.warning("event_dropped reason=%s problem=%r", incident.reason, str(error))
                    return
                if error.stale_credentials:
                    self._renew()
                stop.wait(max(backoff.next_s(), error.retry_after_s))
            else:
                return

    def _attempt(self, incident: Incident, new_name: str) -> None:
        """Update the series of the Event if there is one, else create it. Raises ``RequestError``."""
        with self._lock:
            series = self._known.get(incident) or _Series()
            name, count = series.event_name, series.count
        if name and self._repeat(incident, name, count):
            return
        event = event_object(incident, new_name, self._uid(incident), self._node_name, datetime.now(UTC))
        try:
            self._connection.send("POST", events_path(incident), json.dumps(event).encode(), "application/json")
        except RequestError as error:
            if error.status != _CONFLICT:
                raise  # else: an earlier attempt has created it, and its answer got lost
        with self._lock:
            series.event_name = new_name
        _LOG.debug("event_sent reason=%s name=%s", incident.reason, new_name)

    def _repeat(self, incident: Incident, name: str, count: int) -> bool:
        """Say how often it happened by now; return whether the Event is still there: they are kept for an hour."""
        body = json.dumps(repetition(count, datetime.now(UTC))).encode()
        try:
            self._connection.send("PATCH", events_path(incident, name), body, "application/merge-patch+json")
        except RequestError as error:
            if error.status != NOT_FOUND:
                raise
            return False
        return True

    def _uid(self, incident: Incident) -> str:
        """Return the object's UID; without it the Event says the same, but ``kubectl describe`` does not show it."""
        path = object_path(incident)
        if not path:
            return ""
        try:
            with self._connection.get(path, {}, SEND_TIMEOUT_S) as response:
                return msgspec.json.decode(response.read(), type=_Object).metadata.uid
        except (RequestError, msgspec.DecodeError, UnicodeDecodeError) as error:
            _LOG.debug("event_without_uid object=%s reason=%r", path, str(error))
            return ""

    def _renew(self) -> None:
        try:
            self._connection.reload()
        except EbpflbError as error:
            _LOG.debug("credentials reason=%r", str(error))


def _may_heal(error: RequestError) -> bool:
    """Return whether the same request may be answered otherwise later."""
    return error.stale_credentials or error.status in {0, _TOO_MANY} or error.status >= _SERVER_ERRORS
