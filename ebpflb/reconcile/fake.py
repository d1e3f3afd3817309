"""An in-memory ``MapStore`` with kernel semantics, for tests and for trying a compilation without a kernel.

Decides what the kernel would: which rows fit, which are refused, what stays after a delete. Must not know what a
plan is, nor when something fails (``faults.py``).

    put, delete, write_slots --> (checks, faults) --> rows, array of backends, flat array of slots --> read, dump
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ebpflb.core.abi import BackendFlag, BackendState, ConfigFlag, Family, Protocol
from ebpflb.core.tables import Backend, BackendKey, Prefix, Range, Slots, TableName, Tables
from ebpflb.errors import MapError, MapFullError
from ebpflb.reconcile.describe import describe_key, describe_value
from ebpflb.reconcile.faults import SLOTS, Fault, Faults, Operation, SimulatedCrash
from ebpflb.reconcile.layout import check_key, check_row
from ebpflb.reconcile.ports import RowFailure

__all__ = ["SLOTS", "Capacities", "FakeMapStore", "Fault", "Operation", "SimulatedCrash"]

_TRIES = frozenset({TableName.SOURCE_RANGES, TableName.SERVICE_CIDRS})
_ARRAYS = frozenset({TableName.BACKENDS, TableName.CONFIG})


@dataclass(frozen=True, slots=True)
class Capacities:
    """``max_entries`` of each map."""

    frontends: int = 64
    backends: int = 64
    services: int = 64
    members: int = 64
    node_addrs: int = 16
    devices: int = 16
    local_backends: int = 64
    source_ranges: int = 64
    opt_outs: int = 16
    service_cidrs: int = 16
    config: int = 1
    slots: int = 1024

    def of(self, table: TableName) -> int:
        """Return the capacity of one table."""
        capacity: int = getattr(self, table.value)
        return capacity


class FakeMapStore(Faults):
    """The maps of one family in memory. Survives a ``SimulatedCrash`` as pinned maps survive the agent."""

    def __init__(self, family: Family, capacities: Capacities | None = None) -> None:
        super().__init__()
        self._family = family
        self._capacities = capacities or Capacities()
        self._rows: dict[TableName, dict[Any, Any]] = {
            table: {} for table in TableName if table is not TableName.BACKENDS
        }
        self._backends = [_no_backend(family, 0)] * self._capacities.backends
        self._slots: Slots = np.zeros(self._capacities.slots, dtype=np.uint32)

    @property
    def family(self) -> Family:
        """The family whose maps these are."""
        return self._family

    def capacity(self, table: TableName) -> int:
        """Return ``max_entries`` of a table's map."""
        return self._capacities.of(table)

    def slot_capacity(self) -> int:
        """Return the number of u32 slots."""
        return self._capacities.slots

    def max_generation(self) -> int:
        """Return the highest backend generation in the map, deleted backends included."""
        return max(backend.generation for backend in self._backends)

    # -- MapStore ----------------------------------------------------------------------------------------------------

    def read(self) -> Tables:
        """Read all rows, and the contents of every range that a frontend names."""
        rows = {table.value: dict(self._rows[table]) for table in self._rows}
        rows[TableName.CONFIG.value] = {
            key: row for key, row in self._rows[TableName.CONFIG].items() if ConfigFlag.WRITTEN in row.flags
        }
        frontends = self._rows[TableName.FRONTENDS].values()
        ranges = {span for frontend in frontends for span in (frontend.cluster, frontend.local) if span.length}
        return Tables(
            family=self._family,
            backends={
                backend_id: backend
                for backend_id, backend in enumerate(self._backends)
                if backend.state is not BackendState.NONE
            },
            slots={span: self._slice(span).copy() for span in ranges if self._holds(span)},
            **rows,
        )

    def put(self, table: TableName, rows: Mapping[Any, Any]) -> list[RowFailure]:
        """Insert or replace rows; return those that failed."""
        failures = []
        for key, value in rows.items():
            try:
                self.operate(Operation.PUT, table, key)
                check_row(self._family, table, key, value)
                self._put(table, key, value)
            except MapError as error:
                failures.append(RowFailure(table, key, error))
        return failures

    def delete(self, table: TableName, keys: Iterable[Any]) -> list[RowFailure]:
        """Remove rows; a missing row is no failure. A deleted backend keeps its generation."""
        failures = []
        for key in keys:
            try:
                self.operate(Operation.DELETE, table, key)
                check_key(self._family, table, key)
                self._delete(table, key)
            except MapError as error:
                failures.append(RowFailure(table, key, error))
        return failures

    def write_slots(self, ranges: Mapping[Range, Slots]) -> None:
        """Copy backend ids into ranges. A crash in the middle leaves half of a range written."""
        for span, ids in ranges.items():
            if not self._holds(span) or len(ids) != span.length:
                raise MapError(f"write {SLOTS} {span.offset}+{span.length}: {len(ids)} ids, {len(self._slots)} slots")
            half = span.length // 2
            try:
                self.operate(Operation.WRITE, SLOTS, span)
            except SimulatedCrash:
                self._slice(span)[:half] = ids[:half]
                raise
            self._slice(span)[:] = ids

    # -- for tests ---------------------------------------------------------------------------------------------------

    def dump(self) -> str:
        """Return the whole state as stable text: a line for each row, generations of deleted backends included."""
        tables = self.read()
        lines = [
            f"{table.value} {describe_key(table, key)}: {describe_value(table, value, tables.slots)}"
            for table in TableName
            for key, value in sorted(tables.rows(table).items())
        ]
        lines += [
            f"backends {backend_id}: deleted, generation {backend.generation}"
            for backend_id, backend in enumerate(self._backends)
            if backend.state is BackendState.NONE and backend.generation
        ]
        return "\n".join(lines)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _put(self, table: TableName, key: Any, value: Any) -> None:
        if table in _ARRAYS and key >= self.capacity(table):
            raise MapFullError(f"put {table.value} {key}: the map holds {self.capacity(table)} entries")
        if table is TableName.BACKENDS:
            self._backends[key] = value
            return
        rows = self._rows[table]
        if table in _TRIES:
            _remove_prefix(rows, key)
        if key not in rows and len(rows) >= self.capacity(table):
            raise MapFullError(f"put {table.value} {describe_key(table, key)}: the map is full ({len(rows)} entries)")
        rows[key] = value

    def _delete(self, table: TableName, key: Any) -> None:
        if table in _ARRAYS and key >= self.capacity(table):
            raise MapError(f"delete {table.value} {key}: the map holds {self.capacity(table)} entries")
        if table is TableName.BACKENDS:
            self._backends[key] = _no_backend(self._family, self._backends[key].generation)
        elif table in _TRIES:
            _remove_prefix(self._rows[table], key)
        else:
            self._rows[table].pop(key, None)

    def _holds(self, span: Range) -> bool:
        return 0 <= span.offset <= span.offset + span.length <= len(self._slots)

    def _slice(self, span: Range) -> Slots:
        return self._slots[span.offset : span.offset + span.length]


def _remove_prefix(rows: dict[Any, Any], key: Any) -> None:
    """Remove the entry of a prefix: to a trie, addresses that differ behind the prefix only are the same key."""
    for known in [known for known in rows if _prefix(known) == _prefix(key)]:
        del rows[known]


def _prefix(key: Any) -> tuple[int, int, int]:
    """Return what a trie compares: of a source range or a ServiceCIDR."""
    service_id, address, length = (0, *key) if isinstance(key, Prefix) else key
    return service_id, length, int.from_bytes(address) >> 8 * len(address) - length


def _no_backend(family: Family, generation: int) -> Backend:
    """Return what an array entry holds where no backend is."""
    key = BackendKey(bytes(family.address_bytes), 0, Protocol.TCP)
    return Backend(key, BackendState.NONE, BackendFlag(0), generation)
