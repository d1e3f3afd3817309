"""Names rows in words, so that a failure, a dump and ``status`` show the same text for the same row.

Knows the shapes of keys and values, not what they mean.

    (table, key[, value]) --> "10.96.0.1:80/TCP", "service 3 backend 7", ...
"""

from collections.abc import Callable, Mapping
from enum import IntFlag
from typing import Any

from ebpflb.core.model import format_address, format_endpoint
from ebpflb.core.tables import EMPTY_RANGE, Backend, Frontend, Range, Slots, TableName


def describe_key(table: TableName, key: Any) -> str:
    """Return the key of a row in words."""
    return _KEYS.get(table, str)(key)


def describe_value(table: TableName, value: Any, slots: Mapping[Range, Slots]) -> str:
    """Return the value of a row in words; ``slots`` gives the contents of the ranges that a frontend names."""
    if table is TableName.FRONTENDS:
        return _describe_frontend(value, slots)
    return _VALUES.get(table, str)(value)


def _describe_frontend(frontend: Frontend, slots: Mapping[Range, Slots]) -> str:
    cluster, local = (_describe_range(span, slots) for span in (frontend.cluster, frontend.local))
    return (
        f"service {frontend.service_id} {_name(frontend.kind)} {_name(frontend.algorithm)} "
        f"flags {_flags(frontend.flags)} affinity {frontend.affinity_timeout_s}s cluster {cluster} local {local}"
    )


def _describe_backend(backend: Backend) -> str:
    address = f"{format_endpoint(backend.key.address, backend.key.port)}/{_name(backend.key.protocol)}"
    return f"{address} {_name(backend.state)} flags {_flags(backend.flags)} generation {backend.generation}"


def _describe_range(span: Range, slots: Mapping[Range, Slots]) -> str:
    if span == EMPTY_RANGE:
        return "none"
    contents = slots.get(span)
    ids = "outside the map" if contents is None else " ".join(map(str, contents.tolist()))
    return f"{span.offset}+{span.length} [{ids}]"


def _flags(value: int) -> str:
    if isinstance(value, IntFlag):
        return value.name or "0"
    return str(int(value))


def _name(value: int) -> str:
    """Return the name of an enum member, or the number when a map holds one that this version does not know."""
    return str(getattr(value, "name", value))


def _prefix(address: bytes, length: int) -> str:
    return f"{format_address(address)}/{length}"


_KEYS: Mapping[TableName, Callable[[Any], str]] = {
    TableName.FRONTENDS: lambda key: f"{format_endpoint(key.address, key.port)}/{_name(key.protocol)}",
    TableName.MEMBERS: lambda key: f"service {key.service_id} backend {key.backend_id}",
    TableName.LOCAL_BACKENDS: lambda key: f"service {key.service_id} {format_address(key.address)}",
    TableName.SOURCE_RANGES: lambda key: f"service {key.service_id} {_prefix(key.address, key.prefix_length)}",
    TableName.NODE_ADDRS: format_address,
    TableName.SERVICE_CIDRS: lambda key: _prefix(*key),
}
_VALUES: Mapping[TableName, Callable[[Any], str]] = {
    TableName.BACKENDS: _describe_backend,
    TableName.MEMBERS: _flags,
    TableName.NODE_ADDRS: _flags,
    TableName.DEVICES: lambda value: (
        f"{format_address(value.snat_address)} mtu {value.mtu} flags {_flags(value.flags)}"
    ),
    TableName.LOCAL_BACKENDS: lambda value: f"backend {value}",
    TableName.CONFIG: lambda value: f"{_flags(value.flags)} pods {_prefix(*value.pods)} guard {_prefix(*value.guard)}",
}
