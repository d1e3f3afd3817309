"""Packing and unpacking of rows, without a kernel."""

from typing import Any

import numpy as np
import pytest

from ebpflb.core.abi import Algorithm, Family, FrontendFlag, FrontendKind, Protocol
from ebpflb.core.tables import EMPTY_RANGE, Frontend, FrontendKey, MemberKey, Prefix, Range, TableName
from ebpflb.datapath.codec import pack_keys, pack_values, unpack
from ebpflb.datapath.columns import addresses_of
from ebpflb.errors import MapError
from tests.contract.map_store import extremes, row

ROW = Frontend(7, FrontendKind.CLUSTER_IP, Algorithm.MAGLEV, FrontendFlag(2), 10_800, Range(16, 3), EMPTY_RANGE)


@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize("table", TableName)
def test_rows_survive_packing(family: Family, table: TableName) -> None:
    rows = {**extremes(family)[table], **dict(row(family, table, number) for number in range(1, 9))}
    assert unpack(table, pack_keys(table, family, rows), pack_values(table, family, list(rows.values()))) == rows


@pytest.mark.parametrize("table", TableName)
def test_no_rows_are_no_special_case(table: TableName) -> None:
    assert unpack(table, pack_keys(table, Family.IPV4, []), pack_values(table, Family.IPV4, [])) == {}


def test_the_bytes_are_those_of_the_wire() -> None:
    keys = pack_keys(TableName.FRONTENDS, Family.IPV4, [FrontendKey(b"\x0a\x60\0\x01", 80, Protocol.TCP)])
    assert keys.tobytes() == b"\x0a\x60\0\x01" + b"\0\x50" + b"\x06" + b"\0"
    values = pack_values(TableName.FRONTENDS, Family.IPV4, [ROW])
    numbers = np.array([10_800, 16, 3, 0, 0], "=u4").tobytes()
    assert values.tobytes() == np.uint32(7).tobytes() + bytes([1, 2, 2, 0]) + numbers


MISFITS: list[tuple[TableName, Any]] = [
    (TableName.FRONTENDS, FrontendKey(bytes(4), 1 << 16, Protocol.TCP)),
    (TableName.FRONTENDS, FrontendKey(bytes(4), -1, Protocol.TCP)),
    (TableName.FRONTENDS, FrontendKey(bytes(16), 80, Protocol.TCP)),
    (TableName.NODE_ADDRS, bytes(3)),
    (TableName.MEMBERS, MemberKey(1 << 32, 1)),
    (TableName.SERVICE_CIDRS, Prefix(bytes(16), 24)),
    (TableName.CONFIG, 1 << 32),
    (TableName.DEVICES, 1 << 64),
]


@pytest.mark.parametrize(("table", "key"), MISFITS)
def test_a_key_that_does_not_fit_is_refused(table: TableName, key: Any) -> None:
    with pytest.raises((ValueError, OverflowError)):
        pack_keys(table, Family.IPV4, [row(Family.IPV4, table, 1)[0], key])


@pytest.mark.parametrize("name", ["n" * 200, "a\0b", "é" * 100])
def test_a_name_that_would_not_be_read_back_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        pack_values(TableName.SERVICES, Family.IPV4, ["default/web/TCP", name])


def test_addresses_of_mixed_lengths_are_refused_even_if_their_sum_fits() -> None:
    with pytest.raises(ValueError, match="4 bytes"):
        pack_keys(TableName.NODE_ADDRS, Family.IPV4, [bytes(3), bytes(5)])


def test_an_unknown_enum_is_named_with_a_remedy() -> None:
    values = pack_values(TableName.FRONTENDS, Family.IPV4, [ROW])
    values["algorithm"] = 77
    keys = pack_keys(TableName.FRONTENDS, Family.IPV4, [FrontendKey(bytes(4), 80, Protocol.TCP)])
    with pytest.raises(MapError, match=r"Algorithm 77.*cleanup"):
        unpack(TableName.FRONTENDS, keys, values)


def test_addresses_keep_their_trailing_zeros() -> None:
    rows = pack_keys(TableName.NODE_ADDRS, Family.IPV4, [b"\x0a\0\0\0", bytes(4)])
    assert addresses_of(rows) == [b"\x0a\0\0\0", bytes(4)]
