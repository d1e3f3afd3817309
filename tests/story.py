"""A cluster told snapshot by snapshot, for those who hear of changes alone."""

from datetime import datetime

from ebpflb.core.changes import Changes, changes_between
from ebpflb.core.kept import Unread
from ebpflb.core.model import Node, Snapshot
from ebpflb.reconcile.batch import Batch


class Story:
    """Knows the snapshot of before."""

    def __init__(self, before: Snapshot | None = None) -> None:
        self._before = before or Snapshot(Node(""))

    def changes(self, now: Snapshot) -> Changes:
        """Return what a snapshot changes against the one before."""
        before, self._before = self._before, now
        return changes_between(before, now)

    def batch(self, now: Snapshot, at: datetime) -> Batch:
        """Return the batch in which a snapshot comes."""
        return Batch(now, self.changes(now), Unread(), at, at)
