import pytest

from ebpflb.core.abi import Family
from ebpflb.core.tables import FrontendKey, Range, TableName
from ebpflb.errors import MapError
from ebpflb.reconcile.fake import SLOTS, Capacities, FakeMapStore, Operation, SimulatedCrash
from tests.contract.map_store import MapStoreContract, backend, extremes, frontend, ids, row


@pytest.fixture(name="store", params=Family, ids=lambda family: family.name)
def _store(request: pytest.FixtureRequest) -> FakeMapStore:
    return FakeMapStore(request.param, Capacities())


class TestContract(MapStoreContract):
    """The fake does what BPF maps do."""


def test_values_that_do_not_fit_their_field_fail_alone(store: FakeMapStore) -> None:
    key, value = row(store.family, TableName.FRONTENDS, 1)
    too_large = value._replace(service_id=1 << 32)
    failures = store.put(TableName.FRONTENDS, {key: too_large, key._replace(port=1 << 16): value})
    assert [str(failure.error) for failure in failures] == [
        f"frontends {describe(key)}: service_id: 4294967296 does not fit u32",
        "frontends: key: port: 65536 does not fit u16",
    ]


def describe(key: FrontendKey) -> str:
    return "0.0.0.1:80/TCP" if len(key.address) == 4 else "[::1]:80/TCP"


def test_an_address_of_the_other_family_is_refused(store: FakeMapStore) -> None:
    other = Family.IPV6 if store.family is Family.IPV4 else Family.IPV4
    for table in set(TableName) - {TableName.SERVICES, TableName.MEMBERS, TableName.OPT_OUTS}:
        assert len(store.put(table, dict([row(other, table, 1)]))) == 1
    assert store.dump() == ""


def test_fail_next_counts_operations_of_one_target(store: FakeMapStore) -> None:
    rows = dict(row(store.family, TableName.SERVICES, number) for number in (1, 2, 3))
    store.fail_next(TableName.SERVICES, 2)
    assert store.put(TableName.NODE_ADDRS, dict([row(store.family, TableName.NODE_ADDRS, 1)])) == []
    assert [failure.key for failure in store.put(TableName.SERVICES, rows)] == [1, 2]
    store.fail_next(SLOTS)
    with pytest.raises(MapError):
        store.write_slots({Range(0, 1): ids(1)})
    store.write_slots({Range(0, 1): ids(1)})


def test_fail_when_lasts_until_healed(store: FakeMapStore) -> None:
    store.fail_when(lambda operation, target, key: (operation, target, key) == (Operation.PUT, "backends", 2))
    rows = {1: backend(store.family, 1), 2: backend(store.family, 2)}
    assert [failure.key for failure in store.put(TableName.BACKENDS, rows)] == [2]
    assert [failure.key for failure in store.put(TableName.BACKENDS, rows)] == [2]
    store.heal()
    assert store.put(TableName.BACKENDS, rows) == []


def test_a_crash_leaves_what_was_done_before(store: FakeMapStore) -> None:
    rows = dict(row(store.family, TableName.SERVICES, number) for number in (1, 2, 3))
    store.crash_after(2)
    with pytest.raises(SimulatedCrash):
        store.put(TableName.SERVICES, rows)
    assert set(store.read().services) == {1, 2}
    store.heal()
    assert store.put(TableName.SERVICES, rows) == []
    assert store.operations == 5


def test_a_crash_within_a_range_leaves_half_of_it(store: FakeMapStore) -> None:
    span = Range(4, 4)
    key, _ = row(store.family, TableName.FRONTENDS, 1)
    store.put(TableName.FRONTENDS, {key: frontend(1, span)})
    store.crash_after(0)
    with pytest.raises(SimulatedCrash):
        store.write_slots({span: ids(1, 2, 3, 4)})
    assert store.read().slots[span].tolist() == [1, 2, 0, 0]


def test_dump_shows_every_row_in_words() -> None:
    store = FakeMapStore(Family.IPV4)
    for table, rows in extremes(Family.IPV4).items():
        store.put(table, rows)
    store.write_slots({Range(1023, 1): ids(1)})
    key = row(Family.IPV4, TableName.FRONTENDS, 1)[0]
    store.delete(TableName.FRONTENDS, [FrontendKey(b"\xff" * 4, 65535, 132)])  # type: ignore[arg-type]
    store.put(TableName.FRONTENDS, {key: frontend(1, Range(1023, 1), Range(1023, 2))})
    store.delete(TableName.BACKENDS, [63])
    store.delete(TableName.SERVICES, [(1 << 32) - 1])
    assert store.dump().splitlines() == [
        "frontends 0.0.0.0:0/ANY: service 0 ADDRESS RANDOM flags 0 affinity 0s cluster none local none",
        (
            "frontends 0.0.0.1:80/TCP: service 1 CLUSTER_IP RANDOM flags 0 affinity 0s "
            "cluster 1023+1 [1] local 1023+2 [outside the map]"
        ),
        "backends 1: 0.0.0.0:1/UDP ACTIVE flags 0 generation 1",
        "services 0: a/b/TCP",
        "members service 0 backend 0: LOCAL",
        "members service 4294967295 backend 4294967295: CLUSTER|LOCAL",
        "local_backends service 0 0.0.0.0: backend 0",
        "local_backends service 4294967295 255.255.255.255: backend 4294967295",
        "source_ranges service 0 0.0.0.0/0: 0",
        "source_ranges service 4294967295 255.255.255.255/32: 4294967295",
        "node_addrs 0.0.0.0: 0",
        "node_addrs 255.255.255.255: NODE_PORTS|4294967294",
        "devices 1: 0.0.0.0 mtu 0 flags 0",
        "devices 4294967295: 255.255.255.255 mtu 4294967295 flags XDP",
        "opt_outs 0: 0",
        "opt_outs 18446744073709551615: 4294967295",
        "service_cidrs 0.0.0.0/0: 0",
        "service_cidrs 255.255.255.255/32: 4294967295",
        (
            "config 0: MASQUERADE_ALL|DETECT_BY_NETWORK|DETECT_BY_DEVICE|LOOPBACK_NODE_PORTS|WRITTEN|4294967264 "
            "pods 0.0.0.0/0 guard 255.255.255.255/32"
        ),
        "backends 63: deleted, generation 4294967295",
    ]
