"""Rows of ``core.tables`` <-> numpy arrays as the maps hold them. Pure, and by columns: no Python call for a field.

Knows how a row is packed; not which rows there should be, nor how arrays reach the kernel.

    rows --pack_keys, pack_values--> keys, values (ValueError when one does not fit: see reconcile.layout.check_row)
    keys, values --unpack--> rows
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import starmap
from typing import Any

import numpy as np

from ebpflb.core.abi import (
    Algorithm,
    BackendState,
    ConfigFlag,
    DeviceFlag,
    Family,
    FrontendFlag,
    FrontendKind,
    MemberSet,
    NodeAddrFlag,
    Protocol,
)
from ebpflb.core.backend_rows import BackendColumns, BackendRows
from ebpflb.core.tables import (
    BackendKey,
    ConfigRow,
    DeviceRow,
    Frontend,
    FrontendKey,
    LocalBackendKey,
    MemberKey,
    Prefix,
    SourceRangeKey,
    TableName,
)
from ebpflb.datapath.arrays import Rows
from ebpflb.datapath.columns import (
    addresses_of,
    enums_of,
    flags_of,
    prefixes_of,
    put_addresses,
    put_names,
    put_numbers,
    ranges_of,
)
from ebpflb.datapath.layout import layout_of

_SERVICE_ID_BITS = 32


def pack_keys(table: TableName, family: Family, keys: Collection[Any]) -> Rows:
    """Return the keys as an array; raises ``ValueError`` when one does not fit its fields."""
    rows = np.zeros(len(keys), layout_of(table, family).key)
    match table:
        case TableName.FRONTENDS:
            put_addresses(rows["address"], [key.address for key in keys], family)
            put_numbers(rows["port"], [key.port for key in keys])
            put_numbers(rows["protocol"], [key.protocol for key in keys])
        case TableName.MEMBERS:
            put_numbers(rows["service_id"], [key.service_id for key in keys])
            put_numbers(rows["backend_id"], [key.backend_id for key in keys])
        case TableName.LOCAL_BACKENDS | TableName.SOURCE_RANGES:
            put_numbers(rows["service_id"], [key.service_id for key in keys])
            put_addresses(rows["address"], [key.address for key in keys], family)
            if table is TableName.SOURCE_RANGES:
                put_numbers(rows["prefix_length"], [_SERVICE_ID_BITS + key.prefix_length for key in keys])
        case TableName.NODE_ADDRS:
            put_addresses(rows, list(keys), family)
        case TableName.SERVICE_CIDRS:
            put_addresses(rows["address"], [key.address for key in keys], family)
            put_numbers(rows["prefix_length"], [key.length for key in keys])
        case TableName.BACKENDS | TableName.SERVICES | TableName.DEVICES | TableName.OPT_OUTS | TableName.CONFIG:
            put_numbers(rows, keys)
    return rows


def pack_values(table: TableName, family: Family, values: Collection[Any]) -> Rows:
    """Return the values as an array; raises ``ValueError`` when one does not fit its fields."""
    rows = np.zeros(len(values), layout_of(table, family).value)
    match table:
        case TableName.FRONTENDS:
            _pack_frontends(rows, values)
        case TableName.BACKENDS:
            _pack_backend_keys(rows, [value.key for value in values], family)
            for name in ("state", "flags", "generation"):
                put_numbers(rows[name], [getattr(value, name) for value in values])
        case TableName.SERVICES:
            put_names(rows["name"], values)
        case TableName.MEMBERS:
            put_numbers(rows["sets"], values)
        case TableName.NODE_ADDRS:
            put_numbers(rows["flags"], values)
        case TableName.DEVICES:
            put_addresses(rows["snat_address"], [value.snat_address for value in values], family)
            put_numbers(rows["mtu"], [value.mtu for value in values])
            put_numbers(rows["flags"], [value.flags for value in values])
        case TableName.CONFIG:
            _pack_config(rows, values, family)
        case TableName.LOCAL_BACKENDS | TableName.SOURCE_RANGES | TableName.OPT_OUTS | TableName.SERVICE_CIDRS:
            put_numbers(rows, values)
    return rows


def pack_backends(columns: BackendColumns, family: Family) -> tuple[Rows, Rows]:
    """Return rows of ``backends`` as keys and values; raises as ``pack_values`` does."""
    keys = np.zeros(len(columns.numbers), layout_of(TableName.BACKENDS, family).key)
    values = np.zeros(len(columns.numbers), layout_of(TableName.BACKENDS, family).value)
    keys[:] = columns.numbers
    _pack_backend_keys(values, columns.keys, family)
    values["state"], values["flags"] = columns.states, columns.flags
    put_numbers(values["generation"], columns.generations.tolist())
    return keys, values


def unpack(table: TableName, keys: Rows, values: Rows) -> Mapping[Any, Any]:
    """Return the rows of a table; raises ``MapError`` for an enum's value that this version does not know."""
    return _UNPACK[table](keys, values)


def _pack_frontends(rows: Rows, values: Collection[Frontend]) -> None:
    for name in ("service_id", "kind", "algorithm", "flags"):
        put_numbers(rows[name], [getattr(value, name) for value in values])
    put_numbers(rows["affinity_timeout"], [value.affinity_timeout_s for value in values])
    for name in ("cluster", "local"):
        spans = [getattr(value, name) for value in values]
        put_numbers(rows[name]["offset"], [span.offset for span in spans])
        put_numbers(rows[name]["length"], [span.length for span in spans])


def _pack_config(rows: Rows, values: Collection[ConfigRow], family: Family) -> None:
    for name, prefixes in (("pod", [value.pods for value in values]), ("guard", [value.guard for value in values])):
        put_addresses(rows[f"{name}_network"], [prefix.address for prefix in prefixes], family)
        put_addresses(rows[f"{name}_mask"], [prefix.mask for prefix in prefixes], family)
    put_numbers(rows["flags"], [value.flags for value in values])


def _unpack_frontends(keys: Rows, values: Rows) -> dict[FrontendKey, Frontend]:
    names = zip(
        addresses_of(keys["address"]),
        keys["port"].tolist(),
        enums_of(Protocol, keys["protocol"]),
        strict=True,
    )
    contents = zip(
        values["service_id"].tolist(),
        enums_of(FrontendKind, values["kind"]),
        enums_of(Algorithm, values["algorithm"]),
        flags_of(FrontendFlag, values["flags"]),
        values["affinity_timeout"].tolist(),
        ranges_of(values["cluster"]),
        ranges_of(values["local"]),
        strict=True,
    )
    return dict(zip(starmap(FrontendKey, names), starmap(Frontend, contents), strict=True))


def _pack_backend_keys(rows: Rows, keys: Sequence[BackendKey], family: Family) -> None:
    put_addresses(rows["address"], [key.address for key in keys], family)
    put_numbers(rows["port"], [key.port for key in keys])
    put_numbers(rows["protocol"], [key.protocol for key in keys])


def _unpack_backends(keys: Rows, values: Rows) -> BackendRows:
    live = values["state"] != BackendState.NONE
    keys, values = keys[live], values[live]
    names = zip(
        addresses_of(values["address"]),
        values["port"].tolist(),
        enums_of(Protocol, values["protocol"]),
        strict=True,
    )
    enums_of(BackendState, values["state"])
    columns = keys.astype(np.int64), [*starmap(BackendKey, names)], values["state"], values["flags"]
    return BackendRows.of(BackendColumns(*columns, values["generation"]))


def _unpack_services(keys: Rows, values: Rows) -> dict[int, str]:
    names = [name.decode(errors="replace") for name in values["name"].tolist()]
    return dict(zip(keys.tolist(), names, strict=True))


def _unpack_members(keys: Rows, values: Rows) -> dict[MemberKey, MemberSet]:
    names = zip(keys["service_id"].tolist(), keys["backend_id"].tolist(), strict=True)
    return dict(zip(starmap(MemberKey, names), flags_of(MemberSet, values["sets"]), strict=True))


def _unpack_node_addrs(keys: Rows, values: Rows) -> dict[bytes, NodeAddrFlag]:
    return dict(zip(addresses_of(keys), flags_of(NodeAddrFlag, values["flags"]), strict=True))


def _unpack_devices(keys: Rows, values: Rows) -> dict[int, DeviceRow]:
    contents = zip(
        addresses_of(values["snat_address"]),
        values["mtu"].tolist(),
        flags_of(DeviceFlag, values["flags"]),
        strict=True,
    )
    return dict(zip(keys.tolist(), starmap(DeviceRow, contents), strict=True))


def _unpack_local_backends(keys: Rows, values: Rows) -> dict[LocalBackendKey, int]:
    names = zip(keys["service_id"].tolist(), addresses_of(keys["address"]), strict=True)
    return dict(zip(starmap(LocalBackendKey, names), values.tolist(), strict=True))


def _unpack_source_ranges(keys: Rows, values: Rows) -> dict[SourceRangeKey, int]:
    lengths = [bits - _SERVICE_ID_BITS for bits in keys["prefix_length"].tolist()]
    names = zip(keys["service_id"].tolist(), addresses_of(keys["address"]), lengths, strict=True)
    return dict(zip(starmap(SourceRangeKey, names), values.tolist(), strict=True))


def _unpack_service_cidrs(keys: Rows, values: Rows) -> dict[Prefix, int]:
    names = zip(addresses_of(keys["address"]), keys["prefix_length"].tolist(), strict=True)
    return dict(zip(starmap(Prefix, names), values.tolist(), strict=True))


def _unpack_config(keys: Rows, values: Rows) -> dict[int, ConfigRow]:
    written = (values["flags"] & ConfigFlag.WRITTEN) != 0
    keys, values = keys[written], values[written]
    contents = zip(
        flags_of(ConfigFlag, values["flags"]),
        prefixes_of(values["pod_network"], values["pod_mask"]),
        prefixes_of(values["guard_network"], values["guard_mask"]),
        strict=True,
    )
    return dict(zip(keys.tolist(), starmap(ConfigRow, contents), strict=True))


_UNPACK: Mapping[TableName, Callable[[Rows, Rows], Mapping[Any, Any]]] = {
    TableName.FRONTENDS: _unpack_frontends,
    TableName.BACKENDS: _unpack_backends,
    TableName.SERVICES: _unpack_services,
    TableName.MEMBERS: _unpack_members,
    TableName.NODE_ADDRS: _unpack_node_addrs,
    TableName.DEVICES: _unpack_devices,
    TableName.LOCAL_BACKENDS: _unpack_local_backends,
    TableName.SOURCE_RANGES: _unpack_source_ranges,
    TableName.OPT_OUTS: lambda keys, values: dict(zip(keys.tolist(), values.tolist(), strict=True)),
    TableName.SERVICE_CIDRS: _unpack_service_cidrs,
    TableName.CONFIG: _unpack_config,
}
