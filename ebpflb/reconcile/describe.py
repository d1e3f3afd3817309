"""Names rows in words, so that a failure, a dump and ``status`` show the same text for the same row.

Knows the shapes of keys and values, not what they mean.

    (table, key[, value]) --> "10.96.0.1:80/TCP", "service 3 backend 7", ...
"""

from collections.abc import Mapping
from enum import IntFlag
from typing import Any

from ebpflb.core.model import format_address, format_endpoint
from ebpflb.core.tables import EMPTY_RANGE, Backend, Frontend, Range, Slots, TableName


def describe_key(table: TableName, key: Any) -> str:
    """Return the key of a row in words."""
    match table:
        case TableName.FRONTENDS:
            return f"{format_endpoint(key.address, key.port)}/{_name(key.protocol)}"
        case TableName.MEMBERS:
            return f"service {key.service_id} backend {key.backend_id}"
        case TableName.LOCAL_BACKENDS:
            return f"service {key.service_id} {format_address(key.address)}"
        case TableName.SOURCE_RANGES:
            return f"service {key.service_id} {format_address(key.address)}/{key.prefix_length}"
        case TableName.NODE_ADDRS:
            return format_address(key)
        case TableName.BACKENDS | TableName.SERVICES | TableName.DEVICES | TableName.OPT_OUTS:
            return str(key)


def describe_value(table: TableName, value: Any, slots: Mapping[Range, Slots]) -> str:
    """Return the value of a row in words; ``slots`` gives the contents of the ranges that a frontend names."""
    match table:
        case TableName.FRONTENDS:
            return _describe_frontend(value, slots)
        case TableName.BACKENDS:
            return _describe_backend(value)
        case TableName.MEMBERS | TableName.NODE_ADDRS:
            return _flags(value)
        case TableName.DEVICES:
            return f"{format_address(value.snat_address)} mtu {value.mtu} flags {_flags(value.flags)}"
        case TableName.LOCAL_BACKENDS:
            return f"backend {value}"
        case TableName.SERVICES | TableName.SOURCE_RANGES | TableName.OPT_OUTS:
            return str(value)


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
