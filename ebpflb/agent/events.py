"""Tells operators what becomes of their objects: kube-proxy's lines in the log, and Events at the objects.

Decides what of a round is told, and how much of it at once. Must not know how rows come about.

    loop: on_round(Round) --Reporter--> log; Events (KubeEvents | LogEvents)
    loop: Status ----------refusals---> Events

At the default level a round says what happened to each service port, as kube-proxy's operators look for it ("Setting
endpoints for ..."). A round that changes more Services than ``MAX_CHANGED`` at once, as the first one of a large
cluster does, says how many instead, and each line at debug level (``-v 4``): 10,000 Services of 10 pods each are 20,000
lines, and a second of the loop's time. A change of one of them costs some ten milliseconds, after it is in the maps.
"""

import logging
import threading
from collections.abc import Iterable, Sequence
from typing import Protocol

from ebpflb import __version__
from ebpflb.core.abi import Family
from ebpflb.core.changes import Changes
from ebpflb.core.model import Node
from ebpflb.core.report import misplaced_addresses, service_lines
from ebpflb.reconcile.batch import Batch
from ebpflb.reconcile.ports import Events
from ebpflb.reconcile.rounds import Round
from ebpflb.reconcile.status import RefusedObject, Status

MAX_CHANGED = 100

STARTING = "Starting"
WRONG_FAMILY = "KubeProxyIncorrectIPVersion"
NOT_PROGRAMMED = "FailedToProgramService"
NOT_READ = "InvalidObject"
"""Of anything but a Service."""

log = logging.getLogger(__name__)


class EventWriter(Events, Protocol):
    """Events that are written by a part of the agent that runs beside the others."""

    def run(self, stop: threading.Event) -> None:
        """Write until ``stop`` is set."""


class LogEvents:
    """Events of a node without an API server: lines of the log."""

    def emit(self, kind: str, namespace: str, name: str, *, reason: str, message: str, warning: bool) -> None:
        """Log it."""
        level, who = logging.WARNING if warning else logging.INFO, "/".join(filter(None, (namespace, name)))
        log.log(level, "event kind=%s object=%s reason=%s message=%r", kind, who, reason, message)

    def run(self, stop: threading.Event) -> None:
        """Wait: everything is written at once."""
        stop.wait()


def tell_of_start(events: Events, node_name: str) -> None:
    """Tell at the Node that its proxy starts."""
    events.emit("Node", "", node_name, reason=STARTING, message=f"Starting ebpflb {__version__}", warning=False)


class Reporter:
    """Implements ``reconcile.rounds.Observer``; ``on_status`` hears of every status as well."""

    def __init__(self, events: Events, families: Sequence[Family]) -> None:
        self._events = events
        self._families = tuple(families)
        self._refused: frozenset[RefusedObject] = frozenset()

    def on_batch(self, batch: Batch) -> None:
        """Wait for the round: what is told shall be in the maps."""

    def on_round(self, done: Round) -> None:
        """Log what changed, and tell of addresses that a Service loses by their family."""
        if done.batch is None:
            return
        changes = done.batch.changes
        self._log_changes(changes, done.batch.snapshot.node)
        for each in misplaced_addresses(changes.slices):
            message = f"{each.address} in EndpointSlice {each.slice_name} has incorrect IP version"
            self._events.emit("Service", *each.service, reason=WRONG_FAMILY, message=message, warning=True)

    def on_status(self, status: Status) -> None:
        """Tell of objects that are refused, each once until it is in order again."""
        refused = frozenset(_refused_by(status))
        for each in sorted(refused - self._refused, key=lambda each: (each.object, each.field, each.reason)):
            kind, _, key = each.object.partition(" ")
            namespace, _, name = key.rpartition("/")
            reason = NOT_PROGRAMMED if kind == "Service" else NOT_READ
            message = f"{each.field}: {each.reason}; {each.remedy}"
            self._events.emit(kind, namespace, name, reason=reason, message=message, warning=True)
        self._refused = refused

    def _log_changes(self, changes: Changes, node: Node) -> None:
        keys, level = changes.touched(), logging.INFO
        if len(keys) > MAX_CHANGED:
            level = logging.DEBUG
            was, is_ = changes.services.before.keys(), changes.services.after.keys()
            added, removed = len(is_ - was), len(was - is_)
            log.info("services_changed changed=%d added=%d removed=%d lines='-v 4'", len(keys), added, removed)
        if log.isEnabledFor(level):
            for line in service_lines(keys, *changes.excerpts(node), self._families):
                log.log(level, "%s", line)


def _refused_by(status: Status) -> Iterable[RefusedObject]:
    yield from status.refused
    for family in status.families:
        yield from family.refused
