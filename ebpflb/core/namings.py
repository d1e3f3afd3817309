"""The rows that name service ports and backends of theirs, Service by Service, and who must be looked at again.

Knows rows of ``members``, ``local_backends`` and ``source_ranges``; knows nothing of how a Service's come about.

    Members of a Service, its rows --replace--> rows that changed, keys that are gone
    backends whose rows came or went --whose--> Services that list them, and have rows here
"""

from collections.abc import Iterable, Mapping
from typing import Any, cast

from ebpflb.core.model import ObjectKey
from ebpflb.core.service_rows import NOT_NAMED, Member, Naming, names_backends
from ebpflb.core.tables import BackendKey, TableName, Tables

NAMING_TABLES = (TableName.MEMBERS, TableName.LOCAL_BACKENDS, TableName.SOURCE_RANGES)
"""In the order of ``Naming``."""


class Namings:
    """Of all Services that have any such rows: few, unless affinity, UDP or DSR is the rule."""

    def __init__(self, tables: Tables, services: Mapping[str, int], members: Iterable[Member]) -> None:
        """Take down the rows of ``tables``; all of them are of ``members``. ``services``: their ids."""
        self._rows: dict[ObjectKey, Naming] = {}
        self._listing: dict[BackendKey, set[ObjectKey]] = {}
        owners: dict[int, ObjectKey] = {}
        for member in members:
            service = member.exposure.service.key
            owners[services[member.exposure.name]] = service
            self.list(service, (), [member])
        for place, table in enumerate(NAMING_TABLES):
            for key, row in tables.rows(table).items():
                rows = self._rows.setdefault(owners[key.service_id], Naming({}, {}, {}))
                cast("dict[Any, Any]", rows[place])[key] = row

    def rows_of(self, service: ObjectKey) -> Naming:
        """Return a Service's rows."""
        return self._rows.get(service, NOT_NAMED)

    def keep(self, service: ObjectKey, rows: Naming) -> None:
        """Take down a Service's rows."""
        if any(rows):
            self._rows[service] = rows
        else:
            self._rows.pop(service, None)

    def list(self, service: ObjectKey, before: Iterable[Member], after: Iterable[Member]) -> None:
        """Hear which backends a Service lists now instead of which."""
        for key in _listed(before):
            services = self._listing[key]
            services.discard(service)
            if not services:
                del self._listing[key]
        for key in _listed(after):
            self._listing.setdefault(key, set()).add(service)

    def whose(self, backends: Iterable[BackendKey]) -> set[ObjectKey]:
        """Return the Services whose rows depend on whether one of these backends has a row."""
        return {service for key in backends for service in self._listing.get(key, ())}


def _listed(members: Iterable[Member]) -> set[BackendKey]:
    return {candidate.key for member in members if names_backends(member) for candidate in member.candidates}
