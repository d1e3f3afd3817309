"""The one loop between sources and maps. It never dies: what breaks in a round is logged, shown and tried again.

Decides when a round runs and what becomes of an unexpected exception. Must not know how rows come about (that is
``core``'s and ``family``'s business), nor which store or source is behind its ports.

    Inbox --Batch--> step: each family's round --> on_applied(family, tables, vanished), on_status(Status)
                                                 --> observers: on_batch(Batch), on_round(Round)
"""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial

from ebpflb.core.abi import Family
from ebpflb.core.options import DEFAULTS, Options
from ebpflb.core.tables import Tables
from ebpflb.errors import EbpflbError
from ebpflb.reconcile.batch import Batch
from ebpflb.reconcile.believed import Vanished
from ebpflb.reconcile.clock import Clock
from ebpflb.reconcile.family import FamilyReconciler
from ebpflb.reconcile.inbox import Inbox
from ebpflb.reconcile.ports import MapStore
from ebpflb.reconcile.rounds import Observer, Round, Sync
from ebpflb.reconcile.settings import Settings
from ebpflb.reconcile.status import NodeStatus, RefusedObject, Status

logger = logging.getLogger(__name__)

OnApplied = Callable[[Family, Tables, Vanished], None]
"""Called in the loop's thread when the maps have changed: what they hold now, and the backends and members that
vanished from them, for the sweep of their flows and UDP sockets. When it raises, it is called again with the
same ones. The first call after a start is made even when nothing changed: a predecessor that was killed may have
removed backends without sweeping, so that call is the time to sweep everything whose backend is not in the tables.
It is also made after each full comparison."""

OnStatus = Callable[[Status], None]
"""Called in the loop's thread when the status has changed."""


class ReconcileLoop:
    """Brings what the inbox holds into the maps of every family."""

    def __init__(
        self,
        stores: Mapping[Family, MapStore],
        inbox: Inbox,
        node_name: str,
        *,
        on_applied: OnApplied | None = None,
        on_status: OnStatus | None = None,
        node_status: Callable[[], NodeStatus] = NodeStatus,
        clock: Clock | None = None,
        settings: Settings | None = None,
        options: Options = DEFAULTS,
        observers: Sequence[Observer] = (),
    ) -> None:
        self._clock = clock or Clock()
        self._inbox = inbox
        self._node_name = node_name
        self._on_applied = on_applied
        self._on_status = on_status
        self._node_status = node_status
        self._observers = tuple(observers)
        self._families = [
            FamilyReconciler(store, self._clock, settings or Settings(), options) for store in stores.values()
        ]
        self._started_at = self._clock.today()
        self._received_at: datetime | None = None
        self._applied_at: datetime | None = None
        self._is_applied = True
        self._unsettled_since: dict[Family, datetime] = {}
        self._published: Status | None = None

    def run(self, stop: threading.Event) -> None:
        """Work until ``stop`` is set. What is under way then is finished first."""
        threading.Thread(target=self._wake_at, args=(stop,), name="reconcile-stop", daemon=True).start()
        while not stop.is_set():
            self.step()
            self._inbox.wait(self.idle_s())

    def step(self) -> None:
        """Run one round: take a batch if one is complete, do whatever is due, publish the status if it changed."""
        batch = self._inbox.take()
        if batch is not None:
            self._received_at = batch.last_change_at
            self._is_applied = False
            for observer in self._observers:
                _guarded("tell of a batch", partial(observer.on_batch, batch))
        syncs = [sync for family in self._families if (sync := self._sync(family, batch)) is not None]
        if not self._is_applied:
            self._note_applied()
        if syncs:
            done = Round(batch, tuple(syncs), self._clock.today(), dict(self._unsettled_since))
            for observer in self._observers:
                _guarded("tell of a round", partial(observer.on_round, done))
        _guarded("publish status", self._publish)
        for family in self._families:
            _guarded("prepare for changes", family.prepare)

    def idle_s(self) -> float | None:
        """Return in how many seconds the next round is due if no change comes before."""
        due = [due_at for family in self._families if (due_at := family.due_at()) is not None]
        return max(0.0, min(due) - self._clock.monotonic()) if due else None

    def status(self) -> Status:
        """Return the status as of now."""
        view = self._inbox.view()
        changes = [view.pending_since, *(family.pending_since for family in self._families)]
        pending_since = min((since for since in changes if since is not None), default=None)
        node = self._node_status()
        is_up_to_date = not view.missing and pending_since is None
        return Status(
            node_name=self._node_name,
            started_at=self._started_at,
            waiting_for=view.missing,
            source_error=view.error,
            objects={kind.value: count for kind, count in view.objects.items()},
            refused=tuple(RefusedObject.from_error(error) for error in view.refused),
            families=tuple(family.status() for family in self._families),
            pending_since=pending_since,
            last_change_received_at=self._received_at,
            last_change_applied_at=self._applied_at,
            healthy=is_up_to_date and not node.failed and all(family.is_healthy for family in self._families),
            node=node,
        )

    def _sync(self, family: FamilyReconciler, batch: Batch | None) -> Sync | None:
        """Run a family's round, whatever it raises; return what it was, or ``None`` when there was nothing to do."""
        began, rounds, reads = self._clock.monotonic(), family.rounds, family.reads
        error = _guarded(f"reconcile family={family.family.name}", partial(self._round, family, batch))
        if error is not None:
            family.broke(error)
        if family.is_healthy:
            self._unsettled_since.pop(family.family, None)
        else:
            self._unsettled_since.setdefault(family.family, family.pending_since or self._clock.today())
        if family.rounds == rounds:
            return None
        seconds = self._clock.monotonic() - began
        return Sync(family.family, seconds, family.reads != reads, family.is_healthy, family.tables)

    def _round(self, family: FamilyReconciler, batch: Batch | None) -> None:
        if not family.round(batch):
            return
        announcement = family.announcement()
        if announcement is not None and self._on_applied is not None:
            tables, vanished = announcement
            self._on_applied(family.family, tables, vanished)
        family.settled()

    def _note_applied(self) -> None:
        """Take down when the last change was in the maps; of the first one, as far as the kernel takes it.

        A row that fails for good is ill health, and no reason for an agent that serves all others not to be ready.
        """
        self._is_applied = all(family.pending_since is None for family in self._families)
        is_ready = self._applied_at is None and all(family.has_taken for family in self._families)
        if self._is_applied or is_ready:
            self._applied_at = self._clock.today()

    def _publish(self) -> None:
        status = self.status()
        if status != self._published:
            if self._on_status is not None:
                self._on_status(status)
            self._published = status

    def _wake_at(self, stop: threading.Event) -> None:
        stop.wait()
        self._inbox.wake()


def _guarded(task: str, action: Callable[[], None]) -> Exception | None:
    """Run ``action``; log and return what it raises. The only broad catch: the Services depend on this thread."""
    try:
        action()
    except EbpflbError as error:
        logger.warning("failed task=%r error=%r", task, str(error))
        return error
    except Exception as error:
        logger.exception("failed task=%r", task)
        return error
    return None
