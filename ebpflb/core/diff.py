"""Decides the steps from the rows that the maps hold to the rows that they should hold.

Knows rows and the order that keeps every frontend whole; knows nothing of what rows mean to a Service, of
syscalls or of failures.

    Tables (desired), Tables (actual) --diff--> Plan --> reconcile/apply
    Delta (of those Services alone that changed) --plan_of--^
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ebpflb.core.abi import BackendState
from ebpflb.core.backend_rows import BackendRows
from ebpflb.core.delta import Delta
from ebpflb.core.tables import Backend, Delete, Plan, Put, Range, Slots, Step, TableName, Tables, WriteSlots

_PUT_FIRST = (
    TableName.SERVICES,
    TableName.BACKENDS,
    TableName.MEMBERS,
    TableName.LOCAL_BACKENDS,
    TableName.SOURCE_RANGES,
    TableName.NODE_ADDRS,
    TableName.DEVICES,
    TableName.OPT_OUTS,
    TableName.SERVICE_CIDRS,
    TableName.CONFIG,
)
_DELETE_LAST = (
    TableName.MEMBERS,
    TableName.LOCAL_BACKENDS,
    TableName.SOURCE_RANGES,
    TableName.BACKENDS,
    TableName.SERVICES,
    TableName.NODE_ADDRS,
    TableName.DEVICES,
    TableName.OPT_OUTS,
    TableName.CONFIG,
    TableName.SERVICE_CIDRS,
)


def diff(desired: Tables, actual: Tables) -> Plan:
    """Return the steps that turn ``actual`` into ``desired``, in the order of ``Plan``.

    Contents of ranges that no frontend names any more are left as they are.
    """
    return plan_of(
        Delta(
            {table: _changed(desired.rows(table), actual.rows(table)) for table in TableName},
            {table: _gone(desired.rows(table), actual.rows(table)) for table in TableName},
            _unwritten(desired.slots, actual.slots),
        ),
        actual.backends,
    )


def plan_of(delta: Delta, backends: Mapping[int, Backend]) -> Plan:
    """Return the steps that make a change in maps that hold ``backends``, in the order of ``Plan``.

    A backend that goes from active to draining is put after the frontends, with the removals: until then some
    frontend may still send it new flows.
    """
    return Plan(tuple(step for step in _steps(delta, backends) if not _is_empty(step)))


def _steps(delta: Delta, backends: Mapping[int, Backend]) -> Iterator[Step]:
    changed, gone = dict(delta.changed), delta.gone
    rows = changed.get(TableName.BACKENDS, {})
    closing = (
        {number: row for number, row in rows.items() if _is_closing(row, backends.get(number))} if backends else {}
    )
    if closing:
        changed[TableName.BACKENDS] = {number: row for number, row in rows.items() if number not in closing}

    yield Delete(TableName.FRONTENDS, tuple(gone.get(TableName.FRONTENDS, ())))
    for table in _PUT_FIRST:
        yield Put(table, changed.get(table, {}))
    yield WriteSlots(delta.written)
    yield Put(TableName.FRONTENDS, changed.get(TableName.FRONTENDS, {}))
    yield Put(TableName.BACKENDS, closing)
    for table in _DELETE_LAST:
        yield Delete(table, tuple(gone.get(table, ())))


def _changed(desired: Mapping[Any, Any], actual: Mapping[Any, Any]) -> Mapping[Any, Any]:
    if not actual:
        return desired  # a first time: all of it, which is not held twice
    if isinstance(desired, BackendRows) and isinstance(actual, BackendRows):
        return desired.changed_from(actual)
    return {key: row for key, row in desired.items() if actual.get(key) != row}


def _gone(desired: Mapping[Any, Any], actual: Mapping[Any, Any]) -> tuple[Any, ...]:
    return tuple(key for key in actual if key not in desired)


def _is_closing(desired: Backend, actual: Backend | None) -> bool:
    return (
        actual is not None
        and actual.state is BackendState.ACTIVE
        and desired == actual._replace(state=BackendState.DRAINING, flags=desired.flags)
    )


def _unwritten(desired: Mapping[Range, Slots], actual: Mapping[Range, Slots]) -> dict[Range, Slots]:
    return {
        where: contents
        for where, contents in desired.items()
        if where not in actual or not np.array_equal(actual[where], contents)
    }


def _is_empty(step: Step) -> bool:
    if isinstance(step, Put):
        return not step.rows
    return not (step.keys if isinstance(step, Delete) else step.ranges)
