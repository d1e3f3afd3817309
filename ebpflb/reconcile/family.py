"""One family's way from a snapshot to its maps: what is believed to be in them, what should be, what failed.

Decides when to compile, compare, repair, retry and release. Must not know sources nor threads; raises whatever a
store or a compilation raises, and leaves it to the loop to call ``broke``.

    Batch --compile--> desired --diff (actual)--> Plan --apply--> actual, failures --> retry, announcement, status
    Batch --Following (what changed alone)--------^
"""

import logging
from datetime import datetime

from ebpflb.core.abi import Family
from ebpflb.core.compile import compile_tables
from ebpflb.core.diff import diff
from ebpflb.core.ids import Allocation
from ebpflb.core.kept import Unread, rows_to_keep
from ebpflb.core.model import Snapshot
from ebpflb.core.options import DEFAULTS, Options
from ebpflb.core.tables import TableName, Tables
from ebpflb.reconcile.batch import Batch
from ebpflb.reconcile.believed import Believed, Vanished
from ebpflb.reconcile.clock import Clock
from ebpflb.reconcile.following import Following
from ebpflb.reconcile.garbage import paused
from ebpflb.reconcile.limits import limits_of
from ebpflb.reconcile.ports import MapStore
from ebpflb.reconcile.refusals import Refusals
from ebpflb.reconcile.releases import Releases
from ebpflb.reconcile.retries import Retries
from ebpflb.reconcile.settings import Settings
from ebpflb.reconcile.status import FamilyStatus, Usage

logger = logging.getLogger(__name__)


class FamilyReconciler:
    """Keeps the maps of one family. ``round`` does whatever is due; not thread-safe."""

    def __init__(self, store: MapStore, clock: Clock, settings: Settings, options: Options = DEFAULTS) -> None:
        self.family: Family = store.family
        self._store = store
        self._clock = clock
        self._settings = settings
        self._options = options
        self._limits = limits_of(store)
        self._believed = Believed(store)
        self._following = Following(self.family, self._limits, options)
        self._allocation = Allocation()
        self._is_adopted = False
        self._snapshot: Snapshot | None = None
        self._unread = Unread()
        self._kept = Tables(self.family)
        """Adopted rows of Services that no source has delivered, nor said to be gone."""
        self._desired: Tables | None = None
        """Compiled from the snapshot; ``None``: to be compiled (again)."""
        self._refusals = Refusals(self.family)
        self._retries = Retries(self.family, clock)
        self._releases = Releases(settings.grace_s)
        self._compare_at: float | None = None
        self._compared_at: datetime | None = None
        self._repairs = 0
        self._pending_since: datetime | None = None
        self._must_announce = False
        self.rounds = 0
        """In which there was anything to do."""
        self.has_taken = True
        """Whether the last batch is in the maps as far as the kernel took it: rows that failed are retried."""

    @property
    def pending_since(self) -> datetime | None:
        """When the oldest change that is not in the maps arrived."""
        return self._pending_since

    @property
    def is_healthy(self) -> bool:
        """Return whether the maps hold what they should."""
        return self._pending_since is None and not self._retries.is_needed

    @property
    def tables(self) -> Tables:
        """What the maps are believed to hold."""
        return self._believed.tables

    @property
    def reads(self) -> int:
        """How often the maps were read as a whole."""
        return self._believed.reads

    def due_at(self) -> float | None:
        """Return when the next round is due if no change comes before."""
        if self._retries.error:
            return self._retries.due_at
        times = [self._compare_at, self._retries.due_at, self._releases.due_at]
        return min((time for time in times if time is not None), default=None)

    def round(self, batch: Batch | None) -> bool:
        """Take a batch, and do whatever is due; return whether there was anything to do.

        After a round, call ``settled`` when what it announces was heard, or ``broke`` when anything raised.
        """
        if batch is not None:
            self._snapshot, self._unread = batch.snapshot, batch.unread
            self.has_taken = False
            if self._pending_since is None:
                self._pending_since = batch.first_change_at
        now = self._clock.monotonic()
        due_at = self.due_at()
        is_first = not self._is_adopted and due_at is None
        if batch is None and not is_first and (due_at is None or now < due_at):
            return False
        self.rounds += 1
        self._adopt()
        self._release(now)
        if batch is not None:
            self._desired = None
        is_followed = self._follow(batch, now) if batch is not None else self._following.is_ready
        if self._snapshot is not None and (not is_followed or (batch is None and self._is_comparison_due(now))):
            with paused():
                self._work(self._snapshot, now)
        return True

    def prepare(self) -> None:
        """Get ready to follow the next changes, now that nobody waits."""
        if self._snapshot is not None and self.is_healthy and self._following.begin(self._snapshot):
            self._allocation = self._following.allocation
            self._settings.on_compiled()

    def broke(self, error: Exception) -> None:
        """Record that a round ended early. What the maps hold is not known now: the next round reads them."""
        self._believed.is_known = False
        self._following.stop()
        self._retries.broke(error)

    def announcement(self) -> tuple[Tables, Vanished] | None:
        """Return what is to be announced: the rows in the maps, and what vanished from them since."""
        return (self._believed.tables, self._believed.vanished) if self._must_announce else None

    def settled(self) -> None:
        """Record that a round came to its end, its announcement heard. Until then it is repeated in full."""
        self._believed.forget_vanished()
        self._must_announce = False
        self.has_taken = True
        self._retries.settled()

    @property
    def _slots_used(self) -> int:
        return self._following.slots_used if self._following.is_ready else self._allocation.slots_used

    def status(self) -> FamilyStatus:
        """Return what ``status`` shows of this family."""
        tables = self._believed.tables
        usage = {table.value: Usage(len(tables.rows(table)), self._store.capacity(table)) for table in TableName}
        return FamilyStatus(
            family=self.family.value,
            maps=usage | {"slots": Usage(self._slots_used, self._store.slot_capacity())},
            service_ports=len(tables.services),
            refused=self._refusals.objects,
            failed_rows=self._retries.failed_rows(),
            error=self._retries.error,
            next_retry_at=self._retries.next_at,
            repairs=self._repairs,
            compared_at=self._compared_at,
            pending_since=self._pending_since,
        )

    # -- inside ------------------------------------------------------------------------------------------------------

    def _work(self, snapshot: Snapshot, now: float) -> None:
        """Do whatever is due, at the cost of everything that there is."""
        desired = self._compile(snapshot)
        if self._is_comparison_due(now):
            self._compare()
        self._apply(desired, now)

    def _adopt(self) -> None:
        """Read the maps when what they hold is not known; at the start, restore the ids from them."""
        if not self._believed.is_known:
            self._believed.read()
        if not self._is_adopted:
            self._allocation = Allocation.from_tables(self._believed.tables, self._store.max_generation())
            self._kept = self._believed.tables
            self._is_adopted = True
            logger.info("adopted family=%s frontends=%d", self.family.name, len(self._believed.tables.frontends))

    def _release(self, now: float) -> None:
        """Free the ids and ranges whose grace period is over."""
        for epoch in self._releases.over(now):
            if self._following.is_ready:
                self._allocation = self._following.release(epoch)
                continue
            self._allocation = self._allocation.release(epoch)
            if self._refusals.objects:
                self._desired = None  # there may be room now

    def _compile(self, snapshot: Snapshot) -> Tables:
        if self._desired is None:
            self._keep(snapshot)
            compiled = compile_tables(
                *(snapshot, self.family, self._allocation, self._limits, self._kept), options=self._options
            )
            self._following.prepare(compiled)
            self._desired, self._allocation = compiled.tables, compiled.allocation
            self._refusals.note(compiled.refused)
        return self._desired

    def _follow(self, batch: Batch, now: float) -> bool:
        """Bring what changed into the maps, and it alone; return whether that could be done."""
        if not self._following.is_ready:
            return False
        change = self._following.take(batch, self._believed.tables)
        self._allocation = self._following.allocation
        if change is None:
            return False
        self._refusals.note(self._following.refused)
        failures = self._believed.change(change.plan, change.unnamed) if change.plan else ()
        self._retries.note(failures, now)
        if failures:
            self._following.stop()  # and compile all at the next attempt, which also plans what can be released
            return True
        self._desired = self._believed.tables
        self._pending_since = None
        self._must_announce = self._must_announce or bool(change.plan)
        self._releases.plan(self._allocation, now)
        return True

    def _is_comparison_due(self, now: float) -> bool:
        return self._compare_at is not None and now >= self._compare_at

    def _keep(self, snapshot: Snapshot) -> None:
        """Let go of the adopted rows of Services that are known by now; a Service let go of is never kept again."""
        kept, self._kept = self._kept, rows_to_keep(self._kept, snapshot, self._unread)
        if len(kept.services) != len(self._kept.services) and self._kept.services:
            logger.warning("kept_unread family=%s service_ports=%d", self.family.name, len(self._kept.services))

    def _compare(self) -> None:
        """Read the maps, and count the rows that are not as they were left: the apply that follows repairs them."""
        differing = self._believed.compare()
        if differing:
            logger.warning("repairing family=%s rows=%d", self.family.name, differing)
        self._repairs += differing
        self._compared_at = self._clock.today()
        self._compare_at = None

    def _apply(self, desired: Tables, now: float) -> None:
        plan = diff(desired, self._believed.tables)
        failures = self._believed.apply(plan, desired)
        self._retries.note(failures, now)
        if failures:
            self._following.stop()
        else:
            self._pending_since = None
        if plan or self._compare_at is None:
            self._must_announce = True
        if self._compare_at is None:
            self._compare_at = now + self._settings.comparison_period_s
        if not self._believed.names_retired(self._retries.failures, desired):
            self._releases.plan(self._allocation, now)
