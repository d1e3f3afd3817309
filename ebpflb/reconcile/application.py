"""What performing a plan does step by step, and what a failed row forbids.

Decides what must wait for what failed: a frontend is not written while something that it names is missing, and nothing
that a frontend in the map still names is removed. Must not know how desired rows came about, nor retry: what it
returns is what the maps now hold, so the next ``diff`` asks again for exactly what failed.

    steps of a Plan --Application--> store calls --> Applied(actual Tables, failures)
"""

from collections.abc import Collection, Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, assert_never

import numpy as np

from ebpflb.core.abi import BackendState
from ebpflb.core.backend_rows import BackendRows
from ebpflb.core.tables import (
    Backend,
    Delete,
    Frontend,
    FrontendKey,
    Plan,
    Put,
    Range,
    Slots,
    TableName,
    Tables,
    WriteSlots,
)
from ebpflb.errors import MapError
from ebpflb.reconcile.describe import describe_key
from ebpflb.reconcile.ports import MapStore, RowFailure


@dataclass(frozen=True, slots=True)
class Applied:
    """What the maps hold after a plan, and the rows that they did not take."""

    actual: Tables
    failures: tuple[RowFailure, ...]


def ranges_of(frontend: Frontend) -> tuple[Range, ...]:
    """Return the ranges of ``slots`` that a frontend names, empty ones left out."""
    return tuple(span for span in (frontend.cluster, frontend.local) if span.length)


class Application:
    """One plan under way: what the maps hold by now, and what failed so far."""

    def __init__(self, store: MapStore, actual: Tables) -> None:
        self._store = store
        self._actual = actual
        self._changed: dict[TableName, Mapping[Any, Any]] = {}
        self._own: dict[TableName, MutableMapping[Any, Any]] = {}
        """Those of them that are our own to change. Of a table that was empty, the rows put first are not copied."""
        self._slots: dict[Range, Slots] = dict(actual.slots)
        self._failures: list[RowFailure] = []
        self._failed_keys: dict[TableName, set[Any]] = {table: set() for table in TableName}
        self._failed_ranges: dict[int, MapError] = {}
        """By first position: ranges that overlap begin at the same slot (a local prefix of a cluster range)."""

    def perform(self, plan: Plan) -> None:
        """Perform every step."""
        for step in plan.steps:
            match step:
                case Put():
                    self.put(step)
                case Delete():
                    self.delete(step)
                case WriteSlots():
                    self.write_slots(step)
                case _:
                    assert_never(step)

    def put(self, step: Put) -> None:
        """Insert or replace rows, except those that must wait for what failed."""
        rows = self._writable(step)
        failed = self._record(self._store.put(step.table, rows))
        written = rows if not failed else {key: value for key, value in rows.items() if key not in failed}
        if step.table in self._changed or self._actual.rows(step.table):
            self._rows_to_change(step.table).update(written)
        else:
            self._changed[step.table] = written

    def delete(self, step: Delete) -> None:
        """Remove rows, except those that a frontend which should have gone or changed still needs."""
        keys = self._removable(step)
        failed = self._record(self._store.delete(step.table, keys))
        rows = self._rows_to_change(step.table)
        for key in keys:
            if key not in failed:
                rows.pop(key, None)

    def write_slots(self, step: WriteSlots) -> None:
        """Fill ranges, all at once; when the store refuses, one by one, to find those that it takes."""
        self._forget_overwritten({span.offset for span in step.ranges})
        try:
            self._store.write_slots(step.ranges)
        except MapError:
            for span, ids in step.ranges.items():
                self._write_range(span, ids)
        else:
            self._slots.update(step.ranges)

    def result(self) -> Applied:
        """Return what the maps hold now: of ``slots``, the ranges that some frontend names, and what encloses them."""
        frontends = self._rows(TableName.FRONTENDS)
        if self._failed_ranges:
            self._record_damaged(frontends)
        tables = Tables(
            family=self._actual.family,
            slots=self._named(frontends),
            **{table.value: self._rows(table) for table in TableName},
        )
        return Applied(tables, tuple(self._failures))

    def _forget_overwritten(self, offsets: Collection[int]) -> None:
        self._slots = {span: ids for span, ids in self._slots.items() if span.offset not in offsets}

    def _named(self, frontends: Mapping[FrontendKey, Frontend]) -> dict[Range, Slots]:
        named = {frontend.cluster.offset for frontend in frontends.values()}
        named |= {frontend.local.offset for frontend in frontends.values()}
        return {span: ids for span, ids in self._slots.items() if span.offset in named}

    def _rows(self, table: TableName) -> Mapping[Any, Any]:
        changed = self._changed.get(table)
        return self._actual.rows(table) if changed is None else changed

    def _rows_to_change(self, table: TableName) -> MutableMapping[Any, Any]:
        if table not in self._own:
            rows = self._rows(table)
            self._changed[table] = self._own[table] = rows.copy() if isinstance(rows, BackendRows) else dict(rows)
        return self._own[table]

    def _record(self, failures: Iterable[RowFailure]) -> set[Any]:
        """Keep the failures; return their keys."""
        keys = set()
        for failure in failures:
            self._failures.append(failure)
            self._failed_keys[failure.table].add(failure.key)
            keys.add(failure.key)
        return keys

    def _write_range(self, span: Range, ids: Slots) -> None:
        try:
            self._store.write_slots({span: ids})
        except MapError as error:
            self._failed_ranges[span.offset] = error
        else:
            self._slots[span] = ids

    def _writable(self, step: Put) -> Mapping[Any, Any]:
        """Return the rows of the step that nothing forbids to write."""
        match step.table:
            case TableName.FRONTENDS:
                return self._whole(step.rows)
            case TableName.BACKENDS:
                needed = self._needed_backends()
                if not needed:
                    return step.rows
                return {key: row for key, row in step.rows.items() if key not in needed or not self._closes(key, row)}
            case TableName.LOCAL_BACKENDS:
                failed = self._failed_keys[TableName.BACKENDS]
                return {key: backend_id for key, backend_id in step.rows.items() if backend_id not in failed}
            case _:
                return step.rows

    def _whole(self, rows: Mapping[FrontendKey, Frontend]) -> Mapping[FrontendKey, Frontend]:
        """Return the frontends that name nothing that failed; record the others."""
        named = self._rows(TableName.SERVICES)
        services = {service_id for service_id in self._failed_keys[TableName.SERVICES] if service_id not in named}
        members = {key.service_id: key.backend_id for key in self._failed_keys[TableName.MEMBERS]}
        failed_backends = np.fromiter(self._failed_keys[TableName.BACKENDS], dtype=np.int64)
        if not services and not members and not failed_backends.size and not self._failed_ranges:
            return rows
        backends = {
            offset: int(missing[0])
            for offset, ids in self._contents().items()
            if (missing := np.intersect1d(ids, failed_backends)).size
        }
        whole = {}
        for key, frontend in rows.items():
            obstacle = self._obstacle(frontend, services, backends)
            if frontend.service_id in members:
                # Without its row UDP that reached the backend would be swept from it again.
                obstacle = f"member {members[frontend.service_id]} could not be written"
            if obstacle:
                self._record([_held(key, obstacle)])
            else:
                whole[key] = frontend
        return whole

    def _obstacle(self, frontend: Frontend, services: set[Any], backends: Mapping[int, int]) -> str:
        """Return in words what the frontend needs and the maps lack; empty when it can be written."""
        if frontend.service_id in services:
            # The name is what restores the id after a restart: without it, another service could get this id.
            return f"the name of service {frontend.service_id} could not be written"
        for span in ranges_of(frontend):
            if span.offset in self._failed_ranges:
                return f"its slots could not be written: {self._failed_ranges[span.offset]}"
            if span.offset in backends:
                return f"backend {backends[span.offset]} could not be written"
        return ""

    def _contents(self) -> dict[int, Slots]:
        """Return the known contents by their first position; of a range and its prefix, the longer one's."""
        return {span.offset: ids for span, ids in sorted(self._slots.items(), key=lambda item: item[0])}

    def _record_damaged(self, frontends: Mapping[FrontendKey, Frontend]) -> None:
        """Record the frontends in the map whose own range could not be repaired."""
        for key, frontend in frontends.items():
            damaged = [span.offset for span in ranges_of(frontend) if span.offset in self._failed_ranges]
            if damaged and key not in self._failed_keys[TableName.FRONTENDS]:
                self._record([_held(key, f"its slots could not be written: {self._failed_ranges[damaged[0]]}")])

    def _removable(self, step: Delete) -> tuple[Any, ...]:
        """Return the keys of the step that no row left behind by a failure still needs."""
        if not self._failures:
            return step.keys
        match step.table:
            case TableName.BACKENDS:
                backends = self._needed_backends().union(self._rows(TableName.LOCAL_BACKENDS).values())
                return tuple(key for key in step.keys if key not in backends)
            case TableName.SERVICES:
                services = self._services_left_behind()
                return tuple(key for key in step.keys if key not in services)
            case TableName.MEMBERS | TableName.LOCAL_BACKENDS | TableName.SOURCE_RANGES:
                services = self._services_left_behind()
                return tuple(key for key in step.keys if key.service_id not in services)
            case _:
                return step.keys

    def _left_behind(self) -> list[Frontend]:
        """Return the frontends in the map that should have gone or changed, and failed to."""
        frontends = self._rows(TableName.FRONTENDS)
        return [frontends[key] for key in self._failed_keys[TableName.FRONTENDS] if key in frontends]

    def _services_left_behind(self) -> set[int]:
        return {frontend.service_id for frontend in self._left_behind()}

    def _needed_backends(self) -> set[int]:
        """Return the ids that frontends left behind name."""
        left = self._left_behind()
        if not left:
            return set()
        contents = self._contents()
        offsets = {span.offset for frontend in left for span in ranges_of(frontend)}
        return {backend_id for offset in offsets if offset in contents for backend_id in contents[offset].tolist()}

    def _closes(self, backend_id: int, backend: Backend) -> bool:
        """Return whether the row takes a backend from those that take new flows."""
        before = self._rows(TableName.BACKENDS).get(backend_id)
        return before is not None and backend.state is not BackendState.ACTIVE is before.state


def _held(key: FrontendKey, obstacle: str) -> RowFailure:
    name = describe_key(TableName.FRONTENDS, key)
    return RowFailure(TableName.FRONTENDS, key, MapError(f"frontends {name}: not written: {obstacle}"))
