"""Checks that rows fit the fields of ``bpf/lb/abi.h``, as packing into the kernel's structs would.

Knows widths only; whether a row makes sense is the compiler's business.

    row --> check_row --> nothing, or MapError naming the field
"""

from collections.abc import Iterator
from typing import Any

from ebpflb.core.abi import SERVICE_NAME_BYTES, Family
from ebpflb.core.tables import Frontend, TableName
from ebpflb.errors import MapError
from ebpflb.reconcile.describe import describe_key

_Field = tuple[str, Any, int]
"""Name, value and width in bits."""
_WITH_ADDRESS = frozenset(
    {TableName.FRONTENDS, TableName.LOCAL_BACKENDS, TableName.SOURCE_RANGES, TableName.SERVICE_CIDRS}
)
"""Their keys hold an address among other things."""


def check_row(family: Family, table: TableName, key: Any, value: Any) -> None:
    """Raise ``MapError`` when a field of the row does not fit its place in the map."""
    check_key(family, table, key)
    for address in _addresses_of_value(table, value):
        _check_address(family, table, address)
    if table is TableName.CONFIG:
        for name, prefix in (("pods", value.pods), ("guard", value.guard)):
            _check_prefix_length(family, f"{table.value} {key}: {name}", prefix.length)
    for name, number, bits in _numbers_of_value(table, value):
        _check_number(f"{table.value} {describe_key(table, key)}: {name}", number, bits)
    if table is TableName.SERVICES:
        length = len(value.encode())
        if length >= SERVICE_NAME_BYTES or "\0" in value:
            raise MapError(f"services {key}: name: {length} bytes, at most {SERVICE_NAME_BYTES - 1} fit")


def check_key(family: Family, table: TableName, key: Any) -> None:
    """Raise ``MapError`` when a field of the key does not fit its place in the map."""
    if table is TableName.NODE_ADDRS:
        _check_address(family, table, key)
    elif table in _WITH_ADDRESS:
        _check_address(family, table, key.address)
    if table is TableName.SOURCE_RANGES:
        _check_prefix_length(family, f"{table.value}: key: prefix_length", key.prefix_length)
    if table is TableName.SERVICE_CIDRS:
        _check_prefix_length(family, f"{table.value}: key: prefix_length", key.length)
    for name, number, bits in _numbers_of_key(table, key):
        _check_number(f"{table.value}: key: {name}", number, bits)


def _numbers_of_key(table: TableName, key: Any) -> Iterator[_Field]:
    match table:
        case TableName.FRONTENDS:
            yield "port", key.port, 16
            yield "protocol", key.protocol, 8
        case TableName.MEMBERS:
            yield "service_id", key.service_id, 32
            yield "backend_id", key.backend_id, 32
        case TableName.LOCAL_BACKENDS:
            yield "service_id", key.service_id, 32
        case TableName.SOURCE_RANGES:
            yield "service_id", key.service_id, 32
        case TableName.BACKENDS | TableName.SERVICES | TableName.DEVICES | TableName.CONFIG:
            yield "id", key, 32
        case TableName.OPT_OUTS:
            yield "cookie", key, 64
        case TableName.NODE_ADDRS | TableName.SERVICE_CIDRS:
            return


def _numbers_of_value(table: TableName, value: Any) -> Iterator[_Field]:
    match table:
        case TableName.FRONTENDS:
            yield from _numbers_of_frontend(value)
        case TableName.BACKENDS:
            yield "port", value.key.port, 16
            yield "protocol", value.key.protocol, 8
            yield "state", value.state, 8
            yield "flags", value.flags, 8
            yield "generation", value.generation, 32
        case TableName.MEMBERS:
            yield "sets", value, 32
        case TableName.NODE_ADDRS:
            yield "flags", value, 32
        case TableName.DEVICES:
            yield "mtu", value.mtu, 32
            yield "flags", value.flags, 32
        case TableName.LOCAL_BACKENDS:
            yield "backend_id", value, 32
        case TableName.SOURCE_RANGES | TableName.OPT_OUTS | TableName.SERVICE_CIDRS:
            yield "value", value, 32
        case TableName.CONFIG:
            yield "flags", value.flags, 32
        case TableName.SERVICES:
            return


def _numbers_of_frontend(frontend: Frontend) -> Iterator[_Field]:
    yield "service_id", frontend.service_id, 32
    yield "kind", frontend.kind, 8
    yield "algorithm", frontend.algorithm, 8
    yield "flags", frontend.flags, 8
    yield "affinity_timeout_s", frontend.affinity_timeout_s, 32
    for name, span in (("cluster", frontend.cluster), ("local", frontend.local)):
        yield f"{name}.offset", span.offset, 32
        yield f"{name}.length", span.length, 32


def _addresses_of_value(table: TableName, value: Any) -> tuple[bytes, ...]:
    match table:
        case TableName.BACKENDS:
            return (value.key.address,)
        case TableName.DEVICES:
            return (value.snat_address,)
        case TableName.CONFIG:
            return (value.pods.address, value.guard.address)
        case _:
            return ()


def _check_number(what: str, number: int, bits: int) -> None:
    if not 0 <= number < 1 << bits:
        raise MapError(f"{what}: {number} does not fit u{bits}")


def _check_prefix_length(family: Family, what: str, bits: int) -> None:
    if not 0 <= bits <= 8 * family.address_bytes:
        raise MapError(f"{what}: {bits} bits are no prefix of an address")


def _check_address(family: Family, table: TableName, address: bytes) -> None:
    if len(address) != family.address_bytes:
        raise MapError(f"{table.value}: address: {len(address)} bytes, {family.address_bytes} expected")
