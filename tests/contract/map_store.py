"""What every ``MapStore`` must do, written once: run against the fake in ``unit``, against BPF maps in ``prog``.

A subclass named ``Test...`` provides the fixture ``store``: an empty store of either family with the capacities
below. Addresses are built from ``store.family``.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from ebpflb.core.abi import (
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
    EMPTY_RANGE,
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
    Slots,
    SourceRangeKey,
    TableName,
    Tables,
)
from ebpflb.errors import MapError, MapFullError
from ebpflb.reconcile.ports import MapStore

CAPACITIES: Mapping[TableName, int] = {
    TableName.FRONTENDS: 64,
    TableName.BACKENDS: 64,
    TableName.SERVICES: 64,
    TableName.MEMBERS: 64,
    TableName.NODE_ADDRS: 16,
    TableName.DEVICES: 16,
    TableName.LOCAL_BACKENDS: 64,
    TableName.SOURCE_RANGES: 64,
    TableName.OPT_OUTS: 16,
    TableName.SERVICE_CIDRS: 16,
    TableName.CONFIG: 1,
}
SLOT_CAPACITY = 1024
U16_MAX = (1 << 16) - 1
U32_MAX = (1 << 32) - 1
U64_MAX = (1 << 64) - 1
OF_MANY = [table for table in TableName if table is not TableName.CONFIG]
ARRAYS = (TableName.BACKENDS, TableName.CONFIG)
TRIES = (TableName.SOURCE_RANGES, TableName.SERVICE_CIDRS)
HASH_TABLES = [table for table in OF_MANY if table is not TableName.BACKENDS]


def address(family: Family, number: int) -> bytes:
    return number.to_bytes(family.address_bytes, "big")


def frontend(service_id: int = 1, cluster: Range = EMPTY_RANGE, local: Range = EMPTY_RANGE) -> Frontend:
    return Frontend(service_id, FrontendKind.CLUSTER_IP, Algorithm.RANDOM, FrontendFlag(0), 0, cluster, local)


def backend(family: Family, number: int, generation: int = 1) -> Backend:
    key = BackendKey(address(family, number), 8080, Protocol.TCP)
    return Backend(key, BackendState.ACTIVE, BackendFlag(0), generation)


def config(family: Family, flags: ConfigFlag = ConfigFlag.WRITTEN) -> ConfigRow:
    nowhere = Prefix(bytes(family.address_bytes), 8 * family.address_bytes)
    return ConfigRow(flags, nowhere, nowhere)


def row(family: Family, table: TableName, number: int) -> tuple[Any, Any]:
    """The ``number``-th row of a table, each with another key."""
    at = address(family, number)
    rows: Mapping[TableName, tuple[Any, Any]] = {
        TableName.FRONTENDS: (FrontendKey(at, 80, Protocol.TCP), frontend(number)),
        TableName.BACKENDS: (number, backend(family, number)),
        TableName.SERVICES: (number, f"default/web-{number}:http/TCP"),
        TableName.MEMBERS: (MemberKey(1, number), MemberSet.CLUSTER),
        TableName.LOCAL_BACKENDS: (LocalBackendKey(1, at), number),
        TableName.SOURCE_RANGES: (SourceRangeKey(1, at, 8 * family.address_bytes), 0),
        TableName.NODE_ADDRS: (at, NodeAddrFlag.NODE_PORTS),
        TableName.DEVICES: (number, DeviceRow(at, 1500, DeviceFlag.XDP)),
        TableName.OPT_OUTS: (number, 0),
        TableName.SERVICE_CIDRS: (Prefix(at, 8 * family.address_bytes), 0),
        TableName.CONFIG: (number - 1, config(family)),
    }
    return rows[table]


def trie_key(table: TableName, at: bytes, bits: int) -> SourceRangeKey | Prefix:
    return Prefix(at, bits) if table is TableName.SERVICE_CIDRS else SourceRangeKey(1, at, bits)


def extremes(family: Family) -> Mapping[TableName, Mapping[Any, Any]]:
    """Rows whose fields hold their least and greatest values."""
    least, greatest = bytes(family.address_bytes), b"\xff" * family.address_bytes
    all_flags = ~FrontendFlag(0)
    return {
        TableName.FRONTENDS: {
            FrontendKey(least, 0, Protocol.ANY): Frontend(
                0, FrontendKind.ADDRESS, Algorithm.RANDOM, FrontendFlag(0), 0, EMPTY_RANGE, EMPTY_RANGE
            ),
            FrontendKey(greatest, U16_MAX, Protocol.SCTP): Frontend(
                U32_MAX,
                FrontendKind.EXTERNAL_IP,
                Algorithm.MAGLEV,
                all_flags,
                U32_MAX,
                Range(0, SLOT_CAPACITY),
                Range(SLOT_CAPACITY - 1, 1),
            ),
        },
        TableName.BACKENDS: {
            1: Backend(BackendKey(least, 1, Protocol.UDP), BackendState.ACTIVE, BackendFlag(0), 1),
            CAPACITIES[TableName.BACKENDS] - 1: Backend(
                BackendKey(greatest, U16_MAX, Protocol.SCTP), BackendState.DRAINING, BackendFlag.LOCAL, U32_MAX
            ),
        },
        TableName.SERVICES: {0: "a/b/TCP", U32_MAX: "n" * 199},
        TableName.MEMBERS: {
            MemberKey(0, 0): MemberSet.LOCAL,
            MemberKey(U32_MAX, U32_MAX): MemberSet.CLUSTER | MemberSet.LOCAL,
        },
        TableName.NODE_ADDRS: {least: NodeAddrFlag(0), greatest: NodeAddrFlag(U32_MAX)},
        TableName.DEVICES: {
            1: DeviceRow(least, 0, DeviceFlag(0)),
            U32_MAX: DeviceRow(greatest, U32_MAX, DeviceFlag.XDP),
        },
        TableName.LOCAL_BACKENDS: {LocalBackendKey(0, least): 0, LocalBackendKey(U32_MAX, greatest): U32_MAX},
        TableName.SOURCE_RANGES: {
            SourceRangeKey(0, least, 0): 0,
            SourceRangeKey(U32_MAX, greatest, 8 * family.address_bytes): U32_MAX,
        },
        TableName.OPT_OUTS: {0: 0, U64_MAX: U32_MAX},
        TableName.SERVICE_CIDRS: {Prefix(least, 0): 0, Prefix(greatest, 8 * family.address_bytes): U32_MAX},
        TableName.CONFIG: {
            0: ConfigRow(ConfigFlag(U32_MAX), Prefix(least, 0), Prefix(greatest, 8 * family.address_bytes))
        },
    }


def ids(*backend_ids: int) -> Slots:
    return np.array(backend_ids, dtype=np.uint32)


def is_empty(tables: Tables) -> bool:
    return not tables.slots and not any(tables.rows(table) for table in TableName)


class MapStoreContract:
    """The suite. Every test starts with an empty store."""

    def test_capacities_are_those_of_the_maps(self, store: MapStore) -> None:
        assert {table: store.capacity(table) for table in TableName} == CAPACITIES
        assert store.slot_capacity() == SLOT_CAPACITY

    def test_a_new_store_is_empty(self, store: MapStore) -> None:
        tables = store.read()
        assert tables.family == store.family
        assert is_empty(tables)
        assert store.max_generation() == 0

    def test_empty_inputs_do_nothing(self, store: MapStore) -> None:
        for table in TableName:
            assert store.put(table, {}) == []
            assert store.delete(table, ()) == []
        store.write_slots({})
        assert is_empty(store.read())

    @pytest.mark.parametrize("table", TableName)
    def test_extreme_values_are_read_back(self, store: MapStore, table: TableName) -> None:
        rows = extremes(store.family)[table]
        assert store.put(table, rows) == []
        assert store.read().rows(table) == rows

    def test_enums_are_read_back_as_enums(self, store: MapStore) -> None:
        for table, rows in extremes(store.family).items():
            store.put(table, rows)
        tables = store.read()
        for key, value in tables.frontends.items():
            assert isinstance(key.protocol, Protocol)
            assert isinstance(value.kind, FrontendKind)
            assert isinstance(value.algorithm, Algorithm)
            assert isinstance(value.flags, FrontendFlag)
        for entry in tables.backends.values():
            assert isinstance(entry.key.protocol, Protocol)
            assert isinstance(entry.state, BackendState)
            assert isinstance(entry.flags, BackendFlag)
        assert all(isinstance(sets, MemberSet) for sets in tables.members.values())
        assert all(isinstance(device.flags, DeviceFlag) for device in tables.devices.values())
        assert all(isinstance(flags, NodeAddrFlag) for flags in tables.node_addrs.values())
        assert all(isinstance(each.flags, ConfigFlag) for each in tables.config.values())
        assert all(isinstance(each.guard, Prefix) for each in tables.config.values())
        assert all(isinstance(each, Prefix) for each in tables.service_cidrs)

    @pytest.mark.parametrize("table", OF_MANY)
    def test_many_rows_in_one_call(self, store: MapStore, table: TableName) -> None:
        rows = dict(row(store.family, table, number) for number in range(1, CAPACITIES[table]))
        assert store.put(table, rows) == []
        assert store.read().rows(table) == rows
        assert store.delete(table, rows) == []
        assert is_empty(store.read())

    def test_a_put_replaces(self, store: MapStore) -> None:
        key, value = row(store.family, TableName.FRONTENDS, 1)
        store.put(TableName.FRONTENDS, {key: value})
        assert store.put(TableName.FRONTENDS, {key: value._replace(service_id=9)}) == []
        assert store.read().frontends == {key: value._replace(service_id=9)}

    @pytest.mark.parametrize("table", TRIES)
    def test_what_lies_behind_a_prefix_is_no_part_of_it(self, store: MapStore, table: TableName) -> None:
        bits = 8 * store.family.address_bytes - 8
        one, other = (trie_key(table, address(store.family, 0x0A00 + last), bits) for last in (0, 7))
        longer = trie_key(table, address(store.family, 0x0A00), bits + 1)
        assert store.put(table, {other: 1}) == []
        assert store.put(table, {one: 2, longer: 3}) == []
        assert store.read().rows(table) == {one: 2, longer: 3}
        assert store.delete(table, [other]) == []
        assert store.read().rows(table) == {longer: 3}

    @pytest.mark.parametrize("table", TRIES)
    def test_a_prefix_that_is_full_takes_an_equal_one(self, store: MapStore, table: TableName) -> None:
        capacity, bits = CAPACITIES[table], 8 * store.family.address_bytes - 8
        keys = [trie_key(table, address(store.family, number << 8), bits) for number in range(capacity + 1)]
        assert store.put(table, dict.fromkeys(keys[:-1], 0)) == []
        again = trie_key(table, address(store.family, 1), bits)
        assert [failure.key for failure in store.put(table, {keys[-1]: 0, again: 9})] == [keys[-1]]
        assert list(store.read().rows(table).values()).count(9) == 1
        assert len(store.read().rows(table)) == capacity

    @pytest.mark.parametrize("table", TRIES)
    def test_a_prefix_longer_than_an_address_fails_alone(self, store: MapStore, table: TableName) -> None:
        key, value = row(store.family, table, 1)
        too_long = trie_key(table, key.address, 8 * store.family.address_bytes + 1)
        assert [failure.key for failure in store.put(table, {too_long: 0, key: value})] == [too_long]
        assert store.read().rows(table) == {key: value}

    def test_config_is_there_once_it_is_written_and_until_it_is_removed(self, store: MapStore) -> None:
        first = config(store.family, ConfigFlag.WRITTEN | ConfigFlag.MASQUERADE_ALL)
        other = config(store.family)._replace(pods=Prefix(bytes(store.family.address_bytes), 0))
        assert store.delete(TableName.CONFIG, [0]) == []
        assert store.put(TableName.CONFIG, {0: first}) == []
        assert store.read().config == {0: first}
        assert store.put(TableName.CONFIG, {0: other}) == []
        assert store.read().config == {0: other}
        assert store.delete(TableName.CONFIG, [0]) == []
        assert store.read().config == {}
        assert store.put(TableName.CONFIG, {0: first}) == []
        assert store.read().config == {0: first}

    def test_config_that_nobody_signed_is_not_there(self, store: MapStore) -> None:
        """The kernel has no empty place in an array: only a flag tells a row from none."""
        assert store.put(TableName.CONFIG, {0: config(store.family, ConfigFlag.MASQUERADE_ALL)}) == []
        assert store.read().config == {}

    def test_config_with_a_prefix_that_is_none_is_refused(self, store: MapStore) -> None:
        bits = 8 * store.family.address_bytes
        for length in (-1, bits + 1):
            for broken in (
                config(store.family)._replace(pods=Prefix(bytes(bits // 8), length)),
                config(store.family)._replace(guard=Prefix(bytes(bits // 8), length)),
            ):
                assert [failure.key for failure in store.put(TableName.CONFIG, {0: broken})] == [0]
        assert is_empty(store.read())

    @pytest.mark.parametrize("table", ARRAYS)
    def test_nothing_lies_beyond_an_array(self, store: MapStore, table: TableName) -> None:
        beyond = CAPACITIES[table]
        (full,) = store.put(table, {beyond: row(store.family, table, 1)[1]})
        assert isinstance(full.error, MapFullError)
        assert [failure.key for failure in store.delete(table, [beyond])] == [beyond]
        assert [failure.key for failure in store.delete(table, [-1])] == [-1]
        assert is_empty(store.read())

    def test_a_shorter_name_leaves_nothing_of_the_longer_one(self, store: MapStore) -> None:
        store.put(TableName.SERVICES, {1: "n" * 199})
        store.put(TableName.SERVICES, {1: "a/b/TCP"})
        assert store.read().services == {1: "a/b/TCP"}

    @pytest.mark.parametrize("table", OF_MANY)
    def test_deleting_what_is_missing_is_no_failure(self, store: MapStore, table: TableName) -> None:
        rows = dict(row(store.family, table, number) for number in (1, 2, 3))
        store.put(table, rows)
        missing = row(store.family, table, 9)[0]
        first, *others = rows
        assert store.delete(table, [missing, first, missing]) == []
        assert list(store.read().rows(table)) == others or set(store.read().rows(table)) == set(others)

    @pytest.mark.parametrize("table", HASH_TABLES)
    def test_a_full_map_refuses_new_keys_only(self, store: MapStore, table: TableName) -> None:
        capacity = CAPACITIES[table]
        rows = dict(row(store.family, table, number) for number in range(1, capacity + 1))
        assert store.put(table, rows) == []
        first, extra = row(store.family, table, 1), row(store.family, table, capacity + 1)
        failures = store.put(table, dict([extra, first]))
        assert [(failure.table, failure.key) for failure in failures] == [(table, extra[0])]
        assert isinstance(failures[0].error, MapFullError)
        assert store.read().rows(table) == rows
        store.delete(table, [first[0]])
        assert store.put(table, dict([extra])) == []

    def test_a_backend_beyond_the_array_fails_alone(self, store: MapStore) -> None:
        beyond = CAPACITIES[TableName.BACKENDS]
        failures = store.put(
            TableName.BACKENDS, {beyond: backend(store.family, 1), beyond - 1: backend(store.family, 2)}
        )
        assert [failure.key for failure in failures] == [beyond]
        assert isinstance(failures[0].error, MapError)
        assert store.read().backends == {beyond - 1: backend(store.family, 2)}

    def test_a_name_that_does_not_fit_fails_alone(self, store: MapStore) -> None:
        failures = store.put(TableName.SERVICES, {1: "n" * 200, 2: "default/web/TCP"})
        assert [failure.key for failure in failures] == [1]
        assert store.read().services == {2: "default/web/TCP"}

    def test_a_deleted_backend_keeps_its_generation(self, store: MapStore) -> None:
        store.put(TableName.BACKENDS, {3: backend(store.family, 1, generation=7)})
        store.put(TableName.BACKENDS, {4: backend(store.family, 2, generation=5)})
        assert store.max_generation() == 7
        assert store.delete(TableName.BACKENDS, [3]) == []
        assert store.read().backends == {4: backend(store.family, 2, generation=5)}
        assert store.max_generation() == 7

    def test_slots_are_read_back_through_the_ranges_of_frontends(self, store: MapStore) -> None:
        whole, last = Range(0, SLOT_CAPACITY), Range(SLOT_CAPACITY - 1, 1)
        within, across = Range(3, 2), Range(14, 5)
        store.write_slots({whole: np.arange(SLOT_CAPACITY, dtype=np.uint32)})
        store.write_slots({within: ids(U32_MAX, 0), across: ids(101, 102, 103, 104, 105), last: ids(7)})
        keys = [FrontendKey(address(store.family, number), 80, Protocol.TCP) for number in (1, 2)]
        store.put(TableName.FRONTENDS, {keys[0]: frontend(1, within, across), keys[1]: frontend(2, last)})
        slots = store.read().slots
        assert {span: contents.tolist() for span, contents in slots.items()} == {
            within: [U32_MAX, 0],
            across: [101, 102, 103, 104, 105],
            last: [7],
        }
        store.put(TableName.FRONTENDS, {keys[0]: frontend(1, whole)})
        expected = np.arange(SLOT_CAPACITY, dtype=np.uint32)
        expected[3:5], expected[14:19], expected[-1] = (U32_MAX, 0), range(101, 106), 7
        assert np.array_equal(store.read().slots[whole], expected)

    def test_what_was_read_does_not_change_with_the_map(self, store: MapStore) -> None:
        span = Range(0, 2)
        store.write_slots({span: ids(1, 2)})
        store.put(TableName.FRONTENDS, {FrontendKey(address(store.family, 1), 80, Protocol.TCP): frontend(1, span)})
        before = store.read()
        store.write_slots({span: ids(3, 4)})
        assert before.slots[span].tolist() == [1, 2]

    @pytest.mark.parametrize("span", [Range(SLOT_CAPACITY - 1, 2), Range(SLOT_CAPACITY, 1), Range(U32_MAX, 1)])
    def test_slots_outside_the_map_are_refused(self, store: MapStore, span: Range) -> None:
        with pytest.raises(MapError):
            store.write_slots({span: np.ones(span.length, dtype=np.uint32)})
