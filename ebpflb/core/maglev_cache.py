"""Keeps the Maglev tables that were asked for last: ports and frontends with the same backends share one.

Knows identities and tables; knows nothing of backends' ids or of Services.

    sets of identities --TableCache.prepare--> tables, computed together --TableCache.of--> one of them
"""

from collections import defaultdict
from collections.abc import Iterable

from ebpflb.core.maglev import Indexes, maglev_table, maglev_tables, table_size

Identities = tuple[bytes, ...]


class TableCache:
    """Tables of backends of equal weight, of the size that so many get."""

    def __init__(self, most: int) -> None:
        """Keep so many tables."""
        self._most = most
        self._tables: dict[Identities, Indexes] = {}
        """The one asked for last is the last."""

    def of(self, identities: Identities) -> Indexes:
        """Return the table of a set that is not empty."""
        table = self._tables.pop(identities, None)
        if table is None:
            table = maglev_table(identities, [1] * len(identities), table_size(len(identities)))
        self._tables[identities] = table
        self._shrink()
        return table

    def prepare(self, sets: Iterable[Identities]) -> None:
        """Compute what is missing of the tables that are about to be asked for, no more than are kept."""
        missing: dict[int, list[Identities]] = defaultdict(list)
        for identities in dict.fromkeys(sets):
            if identities and identities not in self._tables:
                missing[table_size(len(identities))].append(identities)
        for size, alike in missing.items():
            self._tables.update(zip(alike, maglev_tables(alike, size), strict=True))
        self._shrink()

    def clear(self) -> None:
        """Keep none."""
        self._tables.clear()

    def _shrink(self) -> None:
        while len(self._tables) > self._most:
            del self._tables[next(iter(self._tables))]
