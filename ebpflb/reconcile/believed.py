"""What the maps of one family are believed to hold, and which backends vanished from them.

Decides when that belief must be given up: when an apply ends early. Must not know what the maps should hold.

    MapStore --read, compare, apply--> tables, vanished backends
"""

from collections.abc import Iterable

from ebpflb.core.diff import diff
from ebpflb.core.tables import Backend, Delete, Plan, Put, TableName, Tables, WriteSlots
from ebpflb.reconcile.apply import apply
from ebpflb.reconcile.ports import MapStore, RowFailure


class Believed:
    """The rows in a store's maps, as far as this process knows: it is their only writer."""

    def __init__(self, store: MapStore) -> None:
        self._store = store
        self.tables = Tables(store.family)
        self.is_known = False
        """Whether ``tables`` can be relied upon; else ``read`` first."""
        self.vanished: dict[int, Backend] = {}
        """Backends that left the maps, by the id they had. Whoever has dealt with them clears it."""

    def read(self) -> None:
        """Believe what the maps say."""
        self._take(self._store.read())
        self.is_known = True

    def compare(self) -> int:
        """Believe what the maps say; return how many rows and ranges are not as they were left."""
        read = self._store.read()
        differing = _differing(diff(self.tables, read), read)
        self._take(read)
        return differing

    def apply(self, plan: Plan) -> tuple[RowFailure, ...]:
        """Perform a plan; return the rows that failed. If it raises, nothing is known any more."""
        self.is_known = False
        applied = apply(plan, self._store, self.tables)
        self._take(applied.actual, _backends_in(plan))
        self.is_known = True
        return applied.failures

    def _take(self, tables: Tables, changed: Iterable[int] | None = None) -> None:
        before, self.tables = self.tables, tables
        for backend_id in before.backends if changed is None else changed:
            was, now = before.backends.get(backend_id), tables.backends.get(backend_id)
            if was is not None and (now is None or (was.key, was.generation) != (now.key, now.generation)):
                self.vanished[backend_id] = was


def _differing(repair: Plan, read: Tables) -> int:
    """Return how many rows and ranges of ``read`` a plan repairs. The range of a lost frontend is no second loss."""
    count = 0
    for step in repair.steps:
        match step:
            case Put():
                count += len(step.rows)
            case Delete():
                count += len(step.keys)
            case WriteSlots():
                count += len(step.ranges.keys() & read.slots.keys())
    return count


def _backends_in(plan: Plan) -> set[int]:
    """Return the backend ids that a plan touches."""
    touched: set[int] = set()
    for step in plan.steps:
        if isinstance(step, Put) and step.table is TableName.BACKENDS:
            touched.update(step.rows)
        elif isinstance(step, Delete) and step.table is TableName.BACKENDS:
            touched.update(step.keys)
    return touched
