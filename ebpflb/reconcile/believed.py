"""What the maps of one family are believed to hold, and which backends and members vanished from them.

Decides when that belief must be given up: when an apply ends early. Must not know what the maps should hold.

    MapStore --read, compare, apply--> tables, Vanished
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from ebpflb.core.diff import diff
from ebpflb.core.tables import Backend, Delete, MemberKey, Plan, Put, TableName, Tables, WriteSlots
from ebpflb.reconcile.apply import apply
from ebpflb.reconcile.ports import MapStore, RowFailure

_NAMING = frozenset({TableName.FRONTENDS, TableName.MEMBERS, TableName.LOCAL_BACKENDS, TableName.SOURCE_RANGES})
"""The tables whose rows name service ports, backends or ranges."""


class Vanished(NamedTuple):
    """What left the maps, and UDP must leave."""

    backends: Mapping[int, Backend]
    """By the id they had."""
    members: frozenset[MemberKey]
    """Backends that left a service port; another one may still have them."""


class Believed:
    """The rows in a store's maps, as far as this process knows: it is their only writer."""

    def __init__(self, store: MapStore) -> None:
        self._store = store
        self.tables = Tables(store.family)
        self.is_known = False
        """Whether ``tables`` can be relied upon; else ``read`` first."""
        self.reads = 0
        """How often the maps were read as a whole."""
        self._vanished_backends: dict[int, Backend] = {}
        self._vanished_members: set[MemberKey] = set()

    @property
    def vanished(self) -> Vanished:
        """What left the maps since ``forget_vanished``."""
        return Vanished(dict(self._vanished_backends), frozenset(self._vanished_members))

    def forget_vanished(self) -> None:
        """Hear that what vanished has been dealt with."""
        self._vanished_backends.clear()
        self._vanished_members.clear()

    def read(self) -> None:
        """Believe what the maps say."""
        self.reads += 1
        self._take(self._store.read())
        self.is_known = True

    def compare(self) -> int:
        """Believe what the maps say; return how many rows and ranges are not as they were left."""
        self.reads += 1
        read = self._store.read()
        differing = _differing(diff(self.tables, read), read)
        self._take(read)
        return differing

    def apply(self, plan: Plan) -> tuple[RowFailure, ...]:
        """Perform a plan; return the rows that failed. If it raises, nothing is known any more."""
        self.is_known = False
        applied = apply(plan, self._store, self.tables)
        self._take(applied.actual, plan)
        self.is_known = True
        return applied.failures

    def names_retired(self, failures: Iterable[RowFailure], desired: Tables) -> bool:
        """Return whether a row that could not be changed or removed may name what ``desired`` names no more."""
        return any(
            failure.table in _NAMING
            and self.tables.rows(failure.table).get(failure.key)
            not in {None, desired.rows(failure.table).get(failure.key)}
            for failure in failures
        )

    def _take(self, tables: Tables, plan: Plan | None = None) -> None:
        """Believe ``tables``; without the plan that led to them, anything may have changed."""
        before, self.tables = self.tables, tables
        backends: Iterable[int] = before.backends if plan is None else _keys_in(plan, TableName.BACKENDS)
        members: Iterable[MemberKey] = before.members if plan is None else _keys_in(plan, TableName.MEMBERS)
        for backend_id in backends:
            was, now = before.backends.get(backend_id), tables.backends.get(backend_id)
            if was is not None and (now is None or (was.key, was.generation) != (now.key, now.generation)):
                self._vanished_backends[backend_id] = was
        self._vanished_members.update(key for key in members if key in before.members and key not in tables.members)


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


def _keys_in(plan: Plan, table: TableName) -> set[Any]:
    """Return the keys of a table's rows that a plan touches."""
    touched: set[Any] = set()
    for step in plan.steps:
        if isinstance(step, Put) and step.table is table:
            touched.update(step.rows)
        elif isinstance(step, Delete) and step.table is table:
            touched.update(step.keys)
    return touched
