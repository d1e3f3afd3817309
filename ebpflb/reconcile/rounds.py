"""What the loop tells of its rounds, and to whom: to those who measure it and answer for its health.

No decision is made here, and nobody who listens can hold a round up for long or end it.

    loop --on_batch(Batch), on_round(Round)--> Observer
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from ebpflb.core.abi import Family
from ebpflb.core.tables import Tables
from ebpflb.reconcile.batch import Batch


@dataclass(frozen=True, slots=True)
class Sync:
    """What a round did for one family."""

    family: Family
    seconds: float
    is_full: bool
    """The maps were read as a whole, rather than believed to hold what was written."""
    succeeded: bool
    """It came to its end, and the kernel took every row."""
    tables: Tables
    """What the maps hold now, as far as that is known."""


@dataclass(frozen=True, slots=True)
class Round:
    """One round in which something was to be done."""

    batch: Batch | None
    """What it began with; ``None``: a comparison, a repetition, the end of a grace period."""
    syncs: tuple[Sync, ...]
    ended_at: datetime
    unsettled_since: Mapping[Family, datetime]
    """Of the families whose maps do not hold what they should: since when."""


class Observer(Protocol):
    """Called in the loop's thread. What it raises is logged, and nothing else."""

    def on_batch(self, batch: Batch) -> None:
        """Hear that changes were taken, and are about to be written."""

    def on_round(self, done: Round) -> None:
        """Hear how a round ended."""
