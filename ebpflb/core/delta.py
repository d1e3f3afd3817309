"""What is not the same in two sets of rows, and how it is gathered row by row.

Knows rows; knows nothing of what they mean, nor of the order in which they must be written (``diff.py``).

    rows of before --DeltaDraft: put, remove, replace--> Delta --> plan_of
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from ebpflb.core.abi import FrontendKind
from ebpflb.core.node_rows import Bounds, bounds_of, wider
from ebpflb.core.tables import Frontend, Range, Slots, TableName, Tables


@dataclass(frozen=True, slots=True)
class Delta:
    """What is not the same in two sets of rows."""

    changed: Mapping[TableName, Mapping[Any, Any]]
    """New and different rows; a table may be left out."""
    gone: Mapping[TableName, Collection[Any]]
    """Keys; a table may be left out."""
    written: Mapping[Range, Slots]
    """The ranges that come into use, or have other contents."""
    unnamed: Collection[Range] = ()
    """The ranges that no frontend names any more, as far as it is known which: their contents are left as they are."""


class DeltaDraft:
    """A change in the making. Rows that are there already are no change."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        """The rows of before."""
        self._changed: dict[TableName, dict[Any, Any]] = {}
        self._gone: dict[TableName, set[Any]] = {}
        self.written: dict[Range, Slots] = {}
        self.unnamed: Collection[Range] = ()

    def put(self, table: TableName, key: Any, row: Any) -> None:
        """Have a row there."""
        if self.tables.rows(table).get(key) != row:
            self._changed.setdefault(table, {})[key] = row

    def remove(self, table: TableName, key: Any) -> None:
        """Have no row there, where one was."""
        self._gone.setdefault(table, set()).add(key)

    def replace(self, table: TableName, before: Mapping[Any, Any], after: Mapping[Any, Any]) -> None:
        """Have some rows instead of others."""
        for key in before.keys() - after.keys():
            self.remove(table, key)
        for key, row in after.items():
            self.put(table, key, row)

    def bounds(self, before: Bounds) -> Bounds:
        """Return between which addresses the ClusterIPs lie now. Only who leaves the edge has all looked at."""
        rows = self.tables.frontends
        gone = self._gone.get(TableName.FRONTENDS, set())
        changed = self._changed.get(TableName.FRONTENDS, {})
        left = {key for key in changed.keys() & rows.keys() if not _is_cluster_ip(changed[key])} | gone
        if before is not None and any(_is_cluster_ip(rows[key]) and key.address in before for key in left):
            before = bounds_of({key: row for key, row in rows.items() if key not in left})
        return wider(before, bounds_of(changed))

    def finish(self) -> Delta:
        """Return the change."""
        return Delta(self._changed, self._gone, self.written, self.unnamed)


def _is_cluster_ip(row: Frontend) -> bool:
    return row.kind is FrontendKind.CLUSTER_IP
