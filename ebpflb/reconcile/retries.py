"""What failed in a family's last round, and when it is tried again.

Decides which failure is news, and how long to wait. Must not know what a round does.

    RowFailures of an apply, an exception that ended a round --Retries--> due_at, error, failed rows of the status
"""

import logging
from datetime import datetime, timedelta

from ebpflb.core.abi import Family
from ebpflb.reconcile.backoff import Backoff
from ebpflb.reconcile.clock import Clock
from ebpflb.reconcile.describe import describe_key
from ebpflb.reconcile.ports import RowFailure
from ebpflb.reconcile.status import FailedRow

logger = logging.getLogger(__name__)


class Retries:
    """The failures of one family."""

    def __init__(self, family: Family, clock: Clock) -> None:
        self._family, self._clock = family, clock
        self._backoff = Backoff()
        self.failures: tuple[RowFailure, ...] = ()
        """The rows that the last apply could not change."""
        self.error = ""
        """Why the last round did not end; empty: it did."""
        self.next_at: datetime | None = None

    @property
    def is_needed(self) -> bool:
        """Return whether anything failed."""
        return bool(self.failures or self.error)

    @property
    def due_at(self) -> float | None:
        """Return when it is tried again; ``None``: nothing is to be."""
        return self._backoff.due_at

    def note(self, failures: tuple[RowFailure, ...], now: float) -> None:
        """Hear which rows an apply could not change; say so of those for which it is news."""
        known = {(failure.table, failure.key) for failure in self.failures}
        news = [failure for failure in failures if (failure.table, failure.key) not in known]
        if news:
            self._backoff.succeeded()  # what failed for the first time is tried again soon
        if failures:
            self._later(now)
        for failure in news:
            logger.warning("failed family=%s table=%s error=%r", self._family.name, failure.table, str(failure.error))
        self.failures = failures

    def broke(self, error: Exception) -> None:
        """Hear that a round ended early."""
        self.error = f"{type(error).__name__}: {error}"
        self._later(self._clock.monotonic())

    def settled(self) -> None:
        """Hear that a round came to its end."""
        self.error = ""
        if not self.failures:
            self._backoff.succeeded()
            self.next_at = None

    def failed_rows(self) -> tuple[FailedRow, ...]:
        """Return what the status shows of the rows."""
        return tuple(
            FailedRow(failure.table.value, describe_key(failure.table, failure.key), str(failure.error))
            for failure in self.failures
        )

    def _later(self, now: float) -> None:
        before = self._backoff.due_at
        self._backoff.failed(now)
        if self._backoff.due_at is not None and self._backoff.due_at != before:
            self.next_at = self._clock.today() + timedelta(seconds=self._backoff.due_at - now)
