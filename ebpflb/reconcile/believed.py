"""What the maps of one family are believed to hold, and which backends and members vanished from them.

Decides when that belief must be given up: when an apply ends early. Must not know what the maps should hold.

    MapStore --read, compare, apply--> tables, Vanished
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from ebpflb.core.diff import diff
from ebpflb.core.tables import Backend, Delete, MemberKey, Plan, Put, Range, TableName, Tables, WriteSlots
from ebpflb.reconcile.apply import apply, apply_in_place
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

    def apply(self, plan: Plan, desired: Tables) -> tuple[RowFailure, ...]:
        """Perform a plan that leads to ``desired``; return the rows that failed.

        Rows that all arrived are kept once, as desired and believed. If it raises, nothing is known any more.
        """
        self.is_known = False
        applied = apply(plan, self._store, self.tables)
        before = self._touched(plan)
        self.tables = applied.actual if applied.failures else desired
        self._note_vanished(*before)
        self.is_known = True
        return applied.failures

    def change(self, plan: Plan, unnamed: Collection[Range]) -> tuple[RowFailure, ...]:
        """Perform a plan that changes few rows, in place (``apply_in_place``); return the rows that failed.

        ``tables`` is another value then, with the same mappings. If it raises, nothing is known any more.
        """
        self.is_known = False
        before = self._touched(plan)
        applied = apply_in_place(plan, self._store, self.tables, unnamed)
        self.tables = applied.actual
        self._note_vanished(*before)
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

    def _take(self, tables: Tables) -> None:
        """Believe ``tables``, in which anything may have changed."""
        before, self.tables = self.tables, tables
        self._note_vanished(before.backends, before.members)

    def _touched(self, plan: Plan) -> tuple[Mapping[int, Backend], Collection[MemberKey]]:
        """Return the backends and members that a plan may take away, as they are before it."""
        backends, members = self.tables.backends, self.tables.members
        touched = _keys_in(plan, TableName.BACKENDS, backends)
        return {number: backends[number] for number in touched}, _keys_in(plan, TableName.MEMBERS, members)

    def _note_vanished(self, backends: Mapping[int, Backend], members: Collection[MemberKey]) -> None:
        """Take down which of these, that were there, are not there any more."""
        for backend_id, was in backends.items():
            now = self.tables.backends.get(backend_id)
            if now is None or (was.key, was.generation) != (now.key, now.generation):
                self._vanished_backends[backend_id] = was
        self._vanished_members.update(key for key in members if key not in self.tables.members)


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


def _keys_in(plan: Plan, table: TableName, present: Collection[Any]) -> set[Any]:
    """Return the keys of those rows of a table that are present and that a plan touches."""
    touched: set[Any] = set()
    for step in plan.steps if present else ():
        if isinstance(step, Put | Delete) and step.table is table:
            keys = step.rows if isinstance(step, Put) else step.keys
            touched.update(key for key in keys if key in present)
    return touched
