"""Whether one family can follow changes one by one, and what of a compilation that needs.

Decides when a ledger is made, used and dropped: it holds only while the maps are as it was told. Must not know when a
round runs, nor what failed in it.

    Compiled --prepare--> --begin (nobody waits now)--> ledger --take(Batch)--> Change, or ``None``: compile all
"""

from collections.abc import Collection
from dataclasses import dataclass

from ebpflb.core.abi import Family
from ebpflb.core.compile import Compiled
from ebpflb.core.diff import plan_of
from ebpflb.core.holdings import Limits
from ebpflb.core.ids import Allocation
from ebpflb.core.ledger import Ledger, NotLocalError
from ebpflb.core.model import Snapshot
from ebpflb.core.options import Options
from ebpflb.core.refusal import Refusal
from ebpflb.core.tables import Plan, Range, Tables
from ebpflb.reconcile.batch import Batch


@dataclass(frozen=True, slots=True)
class Change:
    """What a batch changes."""

    plan: Plan
    unnamed: Collection[Range]
    """The ranges that no frontend names after it."""


class Following:
    """What a family knows to follow changes by."""

    def __init__(self, family: Family, limits: Limits, options: Options) -> None:
        self._family, self._limits, self._options = family, limits, options
        self._compiled: Compiled | None = None
        self._ledger: Ledger | None = None
        self._allocation = Allocation()

    @property
    def is_ready(self) -> bool:
        """Whether the next batch may be followed."""
        return self._ledger is not None

    @property
    def allocation(self) -> Allocation:
        """What is held and retired as of the last batch."""
        return self._allocation

    @property
    def refused(self) -> tuple[Refusal, ...]:
        """What is not programmed as its authors want it, as of the last batch."""
        return self._ledger.refused if self._ledger is not None else ()

    @property
    def slots_used(self) -> int:
        """How many slots are taken, retired ones and the padding to whole lines included."""
        return self._ledger.slots_used if self._ledger is not None else 0

    def prepare(self, compiled: Compiled) -> None:
        """Hear of a compilation of everything, which is about to be applied."""
        self._compiled, self._ledger = compiled, None

    def begin(self, snapshot: Snapshot) -> bool:
        """Hear that the maps hold what was compiled, from ``snapshot``; return whether there is news in that."""
        compiled, self._compiled = self._compiled, None
        if compiled is None or compiled.basis is None:
            return False
        self._ledger = Ledger(compiled, compiled.basis, snapshot, self._limits, self._options)
        self._allocation = self._ledger.allocation
        return True

    def stop(self) -> None:
        """Hear that the maps may not hold what they should."""
        self._compiled = self._ledger = None

    def take(self, batch: Batch, tables: Tables) -> Change | None:
        """Return what a batch changes in maps that hold ``tables``; ``None`` when everything is to be compiled."""
        ledger, self._ledger = self._ledger, None  # an exception leaves it behind
        if ledger is None:
            return None
        try:
            delta = ledger.update(batch.changes, batch.snapshot, tables)
        except NotLocalError:
            self._allocation = ledger.allocation
            return None
        self._ledger, self._allocation = ledger, ledger.allocation
        return Change(plan_of(delta, tables.backends), delta.unnamed)

    def release(self, epoch: int) -> Allocation:
        """Free what was retired up to and including ``epoch``; return what is left."""
        if self._ledger is not None:
            self._ledger.release(epoch)
            self._allocation = self._ledger.allocation
        return self._allocation
