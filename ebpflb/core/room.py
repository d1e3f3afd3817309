"""Decides whether the rows that one more Service needs still fit into the maps whose rows have no id of their own.

Knows counts and limits; knows nothing of what rows say, nor of ids and ranges (``holdings.py``).

    Need of a Service --check--> FullError, or room: --take--> ... the next Service
"""

from collections.abc import Mapping
from typing import NamedTuple

from ebpflb.core.holdings import FullError, Limits
from ebpflb.core.tables import TableName

COUNTED = (TableName.FRONTENDS, TableName.MEMBERS, TableName.LOCAL_BACKENDS, TableName.SOURCE_RANGES)
"""The maps that are counted here."""


def limits_by_table(limits: Limits) -> Mapping[TableName, int]:
    """Return how much the counted maps hold."""
    return {
        TableName.FRONTENDS: limits.frontends,
        TableName.MEMBERS: limits.members,
        TableName.LOCAL_BACKENDS: limits.local_backends,
        TableName.SOURCE_RANGES: limits.source_ranges,
    }


class Need(NamedTuple):
    """How many rows at most; a frontend's address has a row, too, which all frontends at it share."""

    rows: Mapping[TableName, int]
    addresses: frozenset[bytes]


class Room:
    """What the Services of a compilation have taken so far."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits_by_table(limits)
        self._used = dict.fromkeys(self._limits, 0)
        self._addresses: set[bytes] = set()

    @property
    def used(self) -> Mapping[TableName, int]:
        """How many rows are taken; the rows of addresses left out."""
        return {**self._used, TableName.FRONTENDS: self._used[TableName.FRONTENDS] - len(self._addresses)}

    def check(self, need: Need) -> None:
        """Raise ``FullError`` unless everything fits."""
        for table, limit in self._limits.items():
            count = need.rows.get(table, 0)
            if table is TableName.FRONTENDS:
                count += len(need.addresses - self._addresses)
            if self._used[table] + count > limit:
                raise FullError(table, limit)

    def take(self, need: Need) -> None:
        """Count what a Service got."""
        self._used[TableName.FRONTENDS] += len(need.addresses - self._addresses)
        self._addresses |= need.addresses
        for table, count in need.rows.items():
            self._used[table] += count
