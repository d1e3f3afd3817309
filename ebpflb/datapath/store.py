"""The pinned maps of one family as a ``MapStore``: rows in, rows out; slots by one copy through mmap.

Decides how rows travel, not which ones: some thousands at a time, as arrays, by batch syscalls. Rows that do not fit
their fields fail alone, as rows that the kernel refuses do. Never creates a map.

    rows --codec--> arrays --maps--> kernel                  Slots --SlotMemory--> kernel
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import islice
from types import TracebackType
from typing import Any, Self

import numpy as np

from ebpflb.core.abi import BackendState, Family
from ebpflb.core.backend_rows import BackendColumns, BackendRows
from ebpflb.core.tables import Range, Slots, TableName, Tables
from ebpflb.datapath import libbpf
from ebpflb.datapath.arrays import joined
from ebpflb.datapath.codec import pack_backends, pack_keys, pack_values, unpack
from ebpflb.datapath.layout import SOCK_PAIRS, check_layout
from ebpflb.datapath.maps import BpfMap, RowError, Rows
from ebpflb.datapath.marks import Marks
from ebpflb.datapath.pins import Pins
from ebpflb.datapath.slots import SlotMemory
from ebpflb.datapath.sock_pairs import SOCKET_MAPS, SocketMap
from ebpflb.errors import MapError
from ebpflb.reconcile.describe import describe_key
from ebpflb.reconcile.layout import check_key, check_row
from ebpflb.reconcile.ports import RowFailure

_MOST_ROWS = 8192
"""So many are packed at a time: what is made for that stays small, and in the cache."""
_ARRAYS = frozenset({TableName.BACKENDS, TableName.CONFIG})
"""Nothing can be removed from them."""


def open_map(pins: Pins, family: Family, name: str) -> BpfMap:
    """Open a map by its name and check its layout; raises ``LayoutError`` when it is not this schema's."""
    opened = SocketMap.open(pins.map(family, name)) if name in SOCKET_MAPS else BpfMap.open(pins.map(family, name))
    try:
        check_layout(name, family, opened.layout)
        if isinstance(opened, SocketMap):
            opened.adopt(name, open_map(pins, family, SOCK_PAIRS))
    except BaseException:
        opened.close()
        raise
    return opened


class PinnedMapStore:
    """A ``MapStore`` over an instance's pins. A context manager; one thread at a time."""

    def __init__(self, pins: Pins, family: Family) -> None:
        self._family = family
        with ExitStack() as stack:
            self._maps = {table: stack.enter_context(open_map(pins, family, table.value)) for table in TableName}
            self._slots = SlotMemory(stack.enter_context(open_map(pins, family, "slots")))
            marks, changes = (stack.enter_context(open_map(pins, family, name)) for name in ("marks", "changes"))
            self._marks = Marks(marks, changes, family)
            self._resources = stack.pop_all()
        self._max_generation: int | None = None
        """Of the backends ever written, once they have been read."""

    def close(self) -> None:
        """Close every map."""
        self._resources.close()

    def __enter__(self) -> Self:
        """Return the store itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close every map."""
        self.close()

    @property
    def family(self) -> Family:
        """The family whose maps these are."""
        return self._family

    def capacity(self, table: TableName) -> int:
        """Return ``max_entries`` of a table's map."""
        return self._maps[table].info.max_entries

    def slot_capacity(self) -> int:
        """Return the number of u32 slots."""
        return self._slots.capacity

    def max_generation(self) -> int:
        """Return the highest backend generation in the map, deleted backends included."""
        if self._max_generation is None:
            self._read_backends()
        return self._max_generation or 0

    def read(self) -> Tables:
        """Read all rows, and the contents of every range inside the map that a frontend names."""
        rows = {table.value: self._read(table) for table in TableName}
        frontends = rows[TableName.FRONTENDS.value].values()
        spans = {span for frontend in frontends for span in (frontend.cluster, frontend.local)}
        slots = self._slots.read([span for span in spans if self._slots.holds(span)])
        return Tables(family=self._family, slots=slots, **rows)

    def put(self, table: TableName, rows: Mapping[Any, Any]) -> list[RowFailure]:
        """Insert or replace rows; return those that failed."""
        if isinstance(rows, BackendRows):
            return [failure for part in rows.columns(_MOST_ROWS) for failure in self._put_backends(part)]
        return [failure for part in _parts(rows) for failure in self._put(table, part)]

    def _put_backends(self, columns: BackendColumns) -> list[RowFailure]:
        try:
            packed = pack_backends(columns, self._family)
        except (ValueError, OverflowError):
            return self._put(TableName.BACKENDS, columns.rows())
        return self._update(TableName.BACKENDS, columns.numbers.tolist(), packed)

    def _put(self, table: TableName, rows: Mapping[Any, Any]) -> list[RowFailure]:
        try:
            return self._update(table, list(rows), self._packed(table, rows))
        except (ValueError, OverflowError):
            refused = self._refused(table, rows, rows)
            good = {key: value for key, value in rows.items() if key not in refused}
            return [*refused.values(), *self._update(table, list(good), self._packed(table, good))]

    def delete(self, table: TableName, keys: Iterable[Any]) -> list[RowFailure]:
        """Remove rows; a missing row is no failure. A deleted backend keeps its generation in its array entry."""
        keys = list(keys)
        try:
            return self._remove(table, keys)
        except (ValueError, OverflowError):
            refused = self._refused(table, keys, {})
            return [*refused.values(), *self._remove(table, [key for key in keys if key not in refused])]

    def write_slots(self, ranges: Mapping[Range, Slots]) -> None:
        """Copy backend ids into ranges. Raises ``MapError`` when a range lies outside the map; then none is written."""
        for span, ids in ranges.items():
            if not self._slots.holds(span) or len(ids) != span.length:
                raise MapError(
                    f"write slots {span.offset}+{span.length}: {len(ids)} ids, the map holds {self._slots.capacity}"
                )
        self._slots.write(ranges)

    def _read(self, table: TableName) -> Mapping[Any, Any]:
        keys, values = self._read_backends() if table is TableName.BACKENDS else self._maps[table].read()
        self._marks.mark(table, keys, values)  # rows that were written by a version that set no marks
        return unpack(table, keys, values)

    def _read_backends(self) -> tuple[Rows, Rows]:
        """Return the rows of ``backends`` that are any; the array has all others, too.

        Ids are handed out from the lowest on, and a row that was ever written keeps its generation: behind thousands
        of which none has any there is nothing. To read on takes the kernel 0.1 s for a map of half a million.
        """
        highest, keys, values = 0, [], []
        for some_keys, some_values in self._maps[TableName.BACKENDS].chunks():
            live = some_values["state"] != BackendState.NONE
            keys.append(some_keys[live])
            values.append(some_values[live])
            generation = int(some_values["generation"].max(initial=0))
            if not generation and not live.any():
                break
            highest = max(highest, generation)
        self._max_generation = highest
        return joined(keys), joined(values)

    def _packed(self, table: TableName, rows: Mapping[Any, Any]) -> tuple[Rows, Rows]:
        return pack_keys(table, self._family, list(rows)), pack_values(table, self._family, list(rows.values()))

    def _update(self, table: TableName, keys: Sequence[Any], packed: tuple[Rows, Rows]) -> list[RowFailure]:
        """Write rows; ``keys`` name those that fail."""
        self._marks.mark(table, *packed)
        errors = self._maps[table].update(*packed)
        self._marks.note_change(table)
        if table is TableName.BACKENDS and self._max_generation is not None:
            self._max_generation = max(self._max_generation, int(packed[1]["generation"].max(initial=0)))
        return _failures("put", table, keys, errors)

    def _remove(self, table: TableName, keys: Sequence[Any]) -> list[RowFailure]:
        packed = pack_keys(table, self._family, keys)
        if table in _ARRAYS:
            errors = self._maps[table].update(packed, self._cleared(table, packed))
        else:
            errors = self._maps[table].delete(packed)
        self._marks.note_change(table)
        return _failures("delete", table, keys, errors)

    def _cleared(self, table: TableName, keys: Rows) -> Rows:
        """Return what is left of an array's rows: of backends all but their state (``lb_slot_lookup`` says why)."""
        values = self._maps[table].lookup_rows(keys)[1]
        if table is TableName.BACKENDS:
            values["state"] = BackendState.NONE
            return values
        return np.zeros_like(values)

    def _refused(self, table: TableName, keys: Iterable[Any], rows: Mapping[Any, Any]) -> dict[Any, RowFailure]:
        """Return the rows (the keys, where there are no values) that do not fit their fields."""
        failures: dict[Any, RowFailure] = {}
        for key in keys:
            try:
                if key in rows:
                    check_row(self._family, table, key, rows[key])
                else:
                    check_key(self._family, table, key)
            except MapError as error:
                failures[key] = RowFailure(table, key, error)
        return failures


def _parts(rows: Mapping[Any, Any]) -> Iterator[Mapping[Any, Any]]:
    """Yield rows in parts that are not too many to be packed at a time."""
    if len(rows) <= _MOST_ROWS:
        yield rows
        return
    items = iter(rows.items())
    while part := dict(islice(items, _MOST_ROWS)):
        yield part


def _failures(operation: str, table: TableName, keys: Sequence[Any], errors: Iterable[RowError]) -> list[RowFailure]:
    return [
        RowFailure(table, key, libbpf.map_error(operation, f"{table.value} {describe_key(table, key)}", error.errno))
        for error in errors
        for key in (keys[error.index],)
    ]
