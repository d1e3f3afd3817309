"""Rows of ``core.tables`` <-> numpy arrays as the maps hold them. Pure, and by columns: no Python call for a field.

Knows how a row is packed; not which rows there should be, nor how arrays reach the kernel.

    rows --pack_keys, pack_values--> keys, values (ValueError when one does not fit: see reconcile.layout.check_row)
    keys, values --unpack--> rows
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from enum import IntEnum, IntFlag
from itertools import starmap
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from ebpflb.core.abi import (
    SERVICE_NAME_BYTES,
    Algorithm,
    BackendFlag,
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
from ebpflb.core.tables import (
    Backend,
    BackendKey,
    ConfigRow,
    DeviceRow,
    Frontend,
    FrontendKey,
    LocalBackendKey,
    MemberKey,
    Prefix,
    Range,
    SourceRangeKey,
    TableName,
)
from ebpflb.datapath.layout import layout_of
from ebpflb.datapath.maps import Rows
from ebpflb.errors import MapError

_Enum = TypeVar("_Enum", bound=IntEnum)
_Flag = TypeVar("_Flag", bound=IntFlag)
_SERVICE_ID_BITS = 32
_COOKIE_BYTES = 8


def pack_keys(table: TableName, family: Family, keys: Collection[Any]) -> Rows:
    """Return the keys as an array; raises ``ValueError`` when one does not fit its fields."""
    rows = np.zeros(len(keys), layout_of(table, family).key)
    match table:
        case TableName.FRONTENDS:
            _put_addresses(rows["address"], [key.address for key in keys], family)
            _put_numbers(rows["port"], [key.port for key in keys])
            _put_numbers(rows["protocol"], [key.protocol for key in keys])
        case TableName.MEMBERS:
            _put_numbers(rows["service_id"], [key.service_id for key in keys])
            _put_numbers(rows["backend_id"], [key.backend_id for key in keys])
        case TableName.LOCAL_BACKENDS | TableName.SOURCE_RANGES:
            _put_numbers(rows["service_id"], [key.service_id for key in keys])
            _put_addresses(rows["address"], [key.address for key in keys], family)
            if table is TableName.SOURCE_RANGES:
                _put_numbers(rows["prefix_length"], [_SERVICE_ID_BITS + key.prefix_length for key in keys])
        case TableName.NODE_ADDRS:
            _put_addresses(rows, list(keys), family)
        case TableName.SERVICE_CIDRS:
            _put_addresses(rows["address"], [key.address for key in keys], family)
            _put_numbers(rows["prefix_length"], [key.length for key in keys])
        case TableName.BACKENDS | TableName.SERVICES | TableName.DEVICES | TableName.OPT_OUTS | TableName.CONFIG:
            _put_numbers(rows, keys)
    return rows


def pack_values(table: TableName, family: Family, values: Collection[Any]) -> Rows:
    """Return the values as an array; raises ``ValueError`` when one does not fit its fields."""
    rows = np.zeros(len(values), layout_of(table, family).value)
    match table:
        case TableName.FRONTENDS:
            _pack_frontends(rows, values)
        case TableName.BACKENDS:
            _put_addresses(rows["address"], [value.key.address for value in values], family)
            _put_numbers(rows["port"], [value.key.port for value in values])
            _put_numbers(rows["protocol"], [value.key.protocol for value in values])
            for name in ("state", "flags", "generation"):
                _put_numbers(rows[name], [getattr(value, name) for value in values])
        case TableName.SERVICES:
            _put_names(rows["name"], values)
        case TableName.MEMBERS:
            _put_numbers(rows["sets"], values)
        case TableName.NODE_ADDRS:
            _put_numbers(rows["flags"], values)
        case TableName.DEVICES:
            _put_addresses(rows["snat_address"], [value.snat_address for value in values], family)
            _put_numbers(rows["mtu"], [value.mtu for value in values])
            _put_numbers(rows["flags"], [value.flags for value in values])
        case TableName.CONFIG:
            _pack_config(rows, values, family)
        case TableName.LOCAL_BACKENDS | TableName.SOURCE_RANGES | TableName.OPT_OUTS | TableName.SERVICE_CIDRS:
            _put_numbers(rows, values)
    return rows


def unpack(table: TableName, keys: Rows, values: Rows) -> dict[Any, Any]:
    """Return the rows of a table; raises ``MapError`` for an enum's value that this version does not know."""
    return _UNPACK[table](keys, values)


def addresses_of(rows: Rows) -> list[bytes]:
    """Return a column of ``addr_t`` as bytes."""
    packed = np.ascontiguousarray(rows)
    return packed.view(np.dtype(("V", rows.dtype.itemsize))).tolist()  # type: ignore[no-any-return]


def _put_numbers(column: Rows, numbers: Collection[int]) -> None:
    wide = np.fromiter(numbers, np.uint64 if column.dtype.itemsize == _COOKIE_BYTES else np.int64, len(numbers))
    limit = np.iinfo(column.dtype).max
    if len(wide) and (wide.min() < 0 or wide.max() > limit):
        raise ValueError(f"a number lies outside 0 to {limit}")
    column[:] = wide


def _put_addresses(column: Rows, addresses: list[bytes], family: Family) -> None:
    if {*map(len, addresses)} - {family.address_bytes}:
        raise ValueError(f"an address is not {family.address_bytes} bytes long")
    column["word"] = np.frombuffer(b"".join(addresses), ">u4").reshape(len(addresses), -1) if addresses else 0


def _put_names(column: Rows, names: Collection[str]) -> None:
    texts = [name.encode() for name in names]
    # numpy would cut a name that is too long, and a NUL would end it: neither would be read back.
    if any(len(text) >= SERVICE_NAME_BYTES or b"\0" in text for text in texts):
        raise ValueError(f"a name is longer than {SERVICE_NAME_BYTES - 1} bytes or holds a NUL")
    column[:] = texts


def _pack_frontends(rows: Rows, values: Collection[Frontend]) -> None:
    for name in ("service_id", "kind", "algorithm", "flags"):
        _put_numbers(rows[name], [getattr(value, name) for value in values])
    _put_numbers(rows["affinity_timeout"], [value.affinity_timeout_s for value in values])
    for name in ("cluster", "local"):
        spans = [getattr(value, name) for value in values]
        _put_numbers(rows[name]["offset"], [span.offset for span in spans])
        _put_numbers(rows[name]["length"], [span.length for span in spans])


def _pack_config(rows: Rows, values: Collection[ConfigRow], family: Family) -> None:
    for name, prefixes in (("pod", [value.pods for value in values]), ("guard", [value.guard for value in values])):
        _put_addresses(rows[f"{name}_network"], [prefix.address for prefix in prefixes], family)
        _put_addresses(rows[f"{name}_mask"], [prefix.mask for prefix in prefixes], family)
    _put_numbers(rows["flags"], [value.flags for value in values])


def _unpack_frontends(keys: Rows, values: Rows) -> dict[FrontendKey, Frontend]:
    names = zip(
        addresses_of(keys["address"]),
        keys["port"].tolist(),
        _enums(Protocol, keys["protocol"]),
        strict=True,
    )
    contents = zip(
        values["service_id"].tolist(),
        _enums(FrontendKind, values["kind"]),
        _enums(Algorithm, values["algorithm"]),
        _flags(FrontendFlag, values["flags"]),
        values["affinity_timeout"].tolist(),
        _ranges(values["cluster"]),
        _ranges(values["local"]),
        strict=True,
    )
    return dict(zip(starmap(FrontendKey, names), starmap(Frontend, contents), strict=True))


def _unpack_backends(keys: Rows, values: Rows) -> dict[int, Backend]:
    live = values["state"] != BackendState.NONE
    keys, values = keys[live], values[live]
    names = zip(
        addresses_of(values["address"]),
        values["port"].tolist(),
        _enums(Protocol, values["protocol"]),
        strict=True,
    )
    contents = zip(
        starmap(BackendKey, names),
        _enums(BackendState, values["state"]),
        _flags(BackendFlag, values["flags"]),
        values["generation"].tolist(),
        strict=True,
    )
    return dict(zip(keys.tolist(), starmap(Backend, contents), strict=True))


def _unpack_services(keys: Rows, values: Rows) -> dict[int, str]:
    names = [name.decode(errors="replace") for name in values["name"].tolist()]
    return dict(zip(keys.tolist(), names, strict=True))


def _unpack_members(keys: Rows, values: Rows) -> dict[MemberKey, MemberSet]:
    names = zip(keys["service_id"].tolist(), keys["backend_id"].tolist(), strict=True)
    return dict(zip(starmap(MemberKey, names), _flags(MemberSet, values["sets"]), strict=True))


def _unpack_node_addrs(keys: Rows, values: Rows) -> dict[bytes, NodeAddrFlag]:
    return dict(zip(addresses_of(keys), _flags(NodeAddrFlag, values["flags"]), strict=True))


def _unpack_devices(keys: Rows, values: Rows) -> dict[int, DeviceRow]:
    contents = zip(
        addresses_of(values["snat_address"]),
        values["mtu"].tolist(),
        _flags(DeviceFlag, values["flags"]),
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
        _flags(ConfigFlag, values["flags"]),
        _prefixes(values["pod_network"], values["pod_mask"]),
        _prefixes(values["guard_network"], values["guard_mask"]),
        strict=True,
    )
    return dict(zip(keys.tolist(), starmap(ConfigRow, contents), strict=True))


_UNPACK: Mapping[TableName, Callable[[Rows, Rows], dict[Any, Any]]] = {
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


def _prefixes(networks: Rows, masks: Rows) -> Iterable[Prefix]:
    lengths = (int.from_bytes(mask).bit_count() for mask in addresses_of(masks))
    return starmap(Prefix, zip(addresses_of(networks), lengths, strict=True))


def _ranges(column: Rows) -> Iterable[Range]:
    return starmap(Range, zip(column["offset"].tolist(), column["length"].tolist(), strict=True))


def _enums(kind: type[_Enum], column: npt.NDArray[Any]) -> Iterable[_Enum]:
    members = {member.value: member for member in kind}
    unknown = set(np.unique(column).tolist()) - members.keys()
    if unknown:
        raise MapError(
            f"a map holds {kind.__name__} {min(unknown)}, which this version does not know",
            remedy="run the version that wrote it, or remove the state with `ebpflb cleanup`",
        )
    return map(members.__getitem__, column.tolist())


def _flags(kind: type[_Flag], column: npt.NDArray[Any]) -> Iterable[_Flag]:
    members = {number: kind(number) for number in np.unique(column).tolist()}
    return map(members.__getitem__, column.tolist())
