from dataclasses import replace

import numpy as np
import pytest

from ebpflb.core.abi import (
    Algorithm,
    BackendFlag,
    BackendState,
    DeviceFlag,
    Family,
    FrontendFlag,
    FrontendKind,
    MemberSet,
    NodeAddrFlag,
    Protocol,
)
from ebpflb.core.diff import diff
from ebpflb.core.tables import (
    EMPTY_RANGE,
    Backend,
    BackendKey,
    DeviceRow,
    Frontend,
    FrontendKey,
    LocalBackendKey,
    MemberKey,
    Range,
    Slots,
    SourceRangeKey,
    TableName,
    Tables,
)
from ebpflb.reconcile.apply import Applied, apply
from ebpflb.reconcile.fake import SLOTS, Capacities, FakeMapStore, Operation

WEB, API = (FrontendKey(bytes([10, 96, 0, number]), 80, Protocol.TCP) for number in (1, 2))


def frontend(service_id: int, cluster: Range, local: Range = EMPTY_RANGE) -> Frontend:
    return Frontend(service_id, FrontendKind.CLUSTER_IP, Algorithm.RANDOM, FrontendFlag.HAS_BACKENDS, 0, cluster, local)


def backend(number: int, state: BackendState = BackendState.ACTIVE) -> Backend:
    return Backend(BackendKey(bytes([10, 0, 0, number]), 8080, Protocol.TCP), state, BackendFlag(0), number)


def ids(*backend_ids: int) -> Slots:
    return np.array(backend_ids, dtype=np.uint32)


WEB_RANGE, API_RANGE, NEW_RANGE = Range(16, 2), Range(32, 1), Range(48, 2)
BEFORE = Tables(
    Family.IPV4,
    frontends={WEB: frontend(1, WEB_RANGE, Range(16, 1)), API: frontend(2, API_RANGE)},
    backends={1: backend(1), 2: backend(2), 3: backend(3)},
    services={1: "default/web:http/TCP", 2: "default/api:http/TCP"},
    members={MemberKey(1, 1): MemberSet.CLUSTER},
    node_addrs={bytes([192, 168, 0, 1]): NodeAddrFlag.NODE_PORTS},
    devices={2: DeviceRow(bytes([192, 168, 0, 1]), 1500, DeviceFlag(0))},
    slots={WEB_RANGE: ids(1, 2), Range(16, 1): ids(1), API_RANGE: ids(3)},
)
AFTER = Tables(
    Family.IPV4,
    frontends={WEB: frontend(1, NEW_RANGE)},
    backends={1: backend(1, BackendState.DRAINING), 2: backend(2), 4: backend(4)},
    services={1: "default/web:http/TCP"},
    slots={NEW_RANGE: ids(2, 4)},
)


def assert_same(tables: Tables, other: Tables) -> None:
    for table in TableName:
        assert tables.rows(table) == other.rows(table)
    assert {span: contents.tolist() for span, contents in tables.slots.items()} == {
        span: contents.tolist() for span, contents in other.slots.items()
    }


@pytest.fixture(name="store")
def _store() -> FakeMapStore:
    store = FakeMapStore(Family.IPV4)
    assert apply(diff(BEFORE, Tables(Family.IPV4)), store, Tables(Family.IPV4)).failures == ()
    return store


def go(store: FakeMapStore, desired: Tables = AFTER, actual: Tables = BEFORE) -> Applied:
    """Apply; whatever failed, the result must be what the store holds."""
    applied = apply(diff(desired, actual), store, actual)
    assert_same(applied.actual, store.read())
    return applied


def heals(store: FakeMapStore, applied: Applied, desired: Tables = AFTER) -> bool:
    """Whether the next round, without faults, asks for what failed and reaches the desired rows."""
    store.heal()
    assert go(store, desired, applied.actual).failures == ()
    assert_same(store.read(), desired)
    return True


def messages(applied: Applied) -> list[str]:
    return [str(failure.error) for failure in applied.failures]


def test_a_plan_turns_the_maps_into_what_is_desired(store: FakeMapStore) -> None:
    applied = go(store)
    assert applied.failures == ()
    assert_same(applied.actual, AFTER)


def test_an_empty_plan_touches_nothing(store: FakeMapStore) -> None:
    before = store.operations
    assert_same(go(store, BEFORE).actual, BEFORE)
    assert store.operations == before


def test_tables_that_did_not_change_are_not_copied(store: FakeMapStore) -> None:
    desired = Tables(**{name: getattr(BEFORE, name) for name in Tables.__slots__} | {"devices": {}})
    assert go(store, desired).actual.frontends is BEFORE.frontends


def test_a_frontend_waits_for_its_backend_and_keeps_what_it_had(store: FakeMapStore) -> None:
    store.fail_when(lambda operation, target, key: (operation, target, key) == (Operation.PUT, "backends", 4))
    applied = go(store)
    assert messages(applied) == [
        "put backends 4: injected fault",
        "frontends 10.96.0.1:80/TCP: not written: backend 4 could not be written",
    ]
    assert applied.actual.frontends == {WEB: BEFORE.frontends[WEB]}
    assert applied.actual.backends[1].state is BackendState.ACTIVE  # the old entry still sends it new flows
    assert set(applied.actual.backends) == {1, 2}  # of the frontend that went, nothing stays
    assert set(applied.actual.services) == {1}
    assert set(applied.actual.members) == {MemberKey(1, 1)}
    assert heals(store, applied)


def test_a_frontend_waits_for_its_slots(store: FakeMapStore) -> None:
    store.fail_when(lambda _, target, __: target == SLOTS)
    applied = go(store)
    assert len(applied.failures) == 1
    assert messages(applied)[0].startswith("frontends 10.96.0.1:80/TCP: not written: its slots could not be written")
    assert applied.actual.frontends == {WEB: BEFORE.frontends[WEB]}
    assert heals(store, applied)


def test_a_frontend_of_a_local_prefix_waits_for_the_whole_range(store: FakeMapStore) -> None:
    desired = Tables(
        Family.IPV4,
        frontends={WEB: frontend(1, NEW_RANGE), API: frontend(2, EMPTY_RANGE, Range(48, 1))},
        backends=BEFORE.backends,
        services=BEFORE.services,
        slots={NEW_RANGE: ids(1, 2)},
    )
    store.fail_when(lambda _, target, __: target == SLOTS)
    applied = apply(diff(desired, BEFORE), store, BEFORE)
    assert {failure.key for failure in applied.failures} == {WEB, API}
    assert store.read().frontends == BEFORE.frontends


def test_of_several_ranges_only_the_bad_one_holds_its_frontend_back(store: FakeMapStore) -> None:
    desired = Tables(
        Family.IPV4,
        frontends={WEB: frontend(1, NEW_RANGE), API: frontend(2, Range(64, 1))},
        backends=BEFORE.backends,
        services=BEFORE.services,
        slots={NEW_RANGE: ids(1, 2), Range(64, 1): ids(3)},
    )
    store.fail_when(lambda _, target, key: (target, key) == (SLOTS, NEW_RANGE))
    applied = go(store, desired)
    assert [failure.key for failure in applied.failures] == [WEB]
    assert applied.actual.frontends == {WEB: BEFORE.frontends[WEB], API: desired.frontends[API]}
    assert heals(store, applied, desired)


def test_a_frontend_waits_for_the_name_of_its_service(store: FakeMapStore) -> None:
    new = FrontendKey(bytes([10, 96, 0, 3]), 80, Protocol.TCP)
    desired = Tables(
        Family.IPV4,
        frontends={**BEFORE.frontends, new: frontend(3, EMPTY_RANGE)},
        backends=BEFORE.backends,
        services={1: "renamed/web:http/TCP", 2: BEFORE.services[2], 3: "default/new:http/TCP"},
        slots=BEFORE.slots,
    )
    store.fail_next(TableName.SERVICES, 2)
    applied = go(store, desired)
    assert [failure.key for failure in applied.failures] == [1, 3, new]
    assert "the name of service 3" in messages(applied)[2]
    assert heals(store, applied, desired)


def test_what_a_frontend_names_stays_while_the_frontend_cannot_go(store: FakeMapStore) -> None:
    store.fail_when(lambda operation, target, _: (operation, target) == (Operation.DELETE, "frontends"))
    applied = go(store, Tables(Family.IPV4))
    assert {failure.key for failure in applied.failures} == {WEB, API}
    assert applied.actual.frontends == BEFORE.frontends
    assert applied.actual.backends == BEFORE.backends
    assert applied.actual.services == BEFORE.services
    assert applied.actual.members == BEFORE.members
    assert applied.actual.node_addrs == {}
    assert heals(store, applied, Tables(Family.IPV4))


def test_a_full_map_does_not_stop_the_others() -> None:
    store = FakeMapStore(Family.IPV4, Capacities(node_addrs=1, frontends=1))
    desired = Tables(
        Family.IPV4,
        frontends=BEFORE.frontends,
        backends=BEFORE.backends,
        services=BEFORE.services,
        node_addrs=dict.fromkeys((bytes([192, 168, 0, 1]), bytes([192, 168, 0, 2])), NodeAddrFlag(0)),
        slots=BEFORE.slots,
    )
    applied = apply(diff(desired, Tables(Family.IPV4)), store, Tables(Family.IPV4))
    assert [(failure.table, failure.key) for failure in applied.failures] == [
        (TableName.NODE_ADDRS, bytes([192, 168, 0, 2])),
        (TableName.FRONTENDS, API),
    ]
    assert set(store.read().frontends) == {WEB}
    assert set(applied.actual.slots) == {WEB_RANGE, Range(16, 1)}


def test_a_frontend_waits_for_its_members(store: FakeMapStore) -> None:
    """UDP that a frontend sends to a backend without a member row would be swept from it."""
    store.fail_when(lambda operation, table, key: (operation, table, key) == (Operation.PUT, "members", (1, 2)))
    members = {MemberKey(1, 1): MemberSet.CLUSTER, MemberKey(1, 2): MemberSet.CLUSTER}
    desired = replace(BEFORE, frontends={**BEFORE.frontends, WEB: frontend(1, NEW_RANGE)}, members=members)
    desired = replace(desired, slots={API_RANGE: ids(3), NEW_RANGE: ids(1, 2)})
    applied = apply(diff(desired, BEFORE), store, BEFORE)
    assert store.read().frontends == BEFORE.frontends
    assert [(failure.table, failure.key) for failure in applied.failures] == [
        (TableName.MEMBERS, MemberKey(1, 2)),
        (TableName.FRONTENDS, WEB),
    ]
    assert "member 2 could not be written" in str(applied.failures[1].error)
    assert heals(store, applied, desired)


def test_a_damaged_range_that_cannot_be_repaired_is_a_failure_of_its_frontend(store: FakeMapStore) -> None:
    damaged = Tables(
        Family.IPV4,
        frontends=BEFORE.frontends,
        backends=BEFORE.backends,
        services=BEFORE.services,
        members=BEFORE.members,
        node_addrs=BEFORE.node_addrs,
        devices=BEFORE.devices,
        slots={**BEFORE.slots, API_RANGE: ids(9)},
    )
    store.write_slots({API_RANGE: ids(9)})
    store.fail_when(lambda _, target, __: target == SLOTS)
    applied = apply(diff(BEFORE, damaged), store, damaged)
    assert [failure.key for failure in applied.failures] == [API]
    assert API_RANGE not in applied.actual.slots
    store.heal()
    applied = apply(diff(BEFORE, applied.actual), store, applied.actual)
    assert applied.failures == ()
    assert_same(store.read(), BEFORE)


def test_a_row_that_could_not_be_deleted_stays_in_what_is_believed(store: FakeMapStore) -> None:
    store.fail_next(TableName.DEVICES)
    applied = go(store)
    assert [failure.table for failure in applied.failures] == [TableName.DEVICES]
    assert applied.actual.devices == BEFORE.devices
    assert heals(store, applied)


POD = LocalBackendKey(1, bytes([10, 0, 0, 1]))
RANGE = SourceRangeKey(1, bytes([192, 0, 2, 0]), 24)
DIRECT = replace(BEFORE, local_backends={POD: 1}, source_ranges={RANGE: 0})


def test_a_packet_is_never_unwrapped_for_a_backend_that_could_not_be_written(store: FakeMapStore) -> None:
    """The old row stays instead, and so does the backend that it names."""
    go(store, DIRECT)
    desired = replace(AFTER, local_backends={POD: 4})
    store.fail_when(lambda operation, target, key: (operation, target, key) == (Operation.PUT, "backends", 4))
    applied = apply(diff(desired, DIRECT), store, DIRECT)
    assert applied.actual.local_backends == {POD: 1}
    assert store.read().local_backends == {POD: 1}
    assert heals(store, applied, desired)


def test_a_backend_stays_while_a_row_that_names_it_cannot_go(store: FakeMapStore) -> None:
    go(store, DIRECT)
    store.fail_when(lambda operation, target, _: (operation, target) == (Operation.DELETE, "local_backends"))
    applied = apply(diff(Tables(Family.IPV4), DIRECT), store, DIRECT)
    assert [failure.key for failure in applied.failures] == [POD]
    assert applied.actual.backends.keys() == {1}
    assert store.read().backends.keys() == {1}
    assert heals(store, applied, Tables(Family.IPV4))


def test_ranges_stay_while_the_frontend_that_reads_them_cannot_change(store: FakeMapStore) -> None:
    go(store, DIRECT)
    open_to_all = replace(
        BEFORE, frontends={**BEFORE.frontends, WEB: BEFORE.frontends[WEB]._replace(flags=FrontendFlag(0))}
    )
    store.fail_when(lambda operation, target, _: (operation, target) == (Operation.PUT, "frontends"))
    applied = apply(diff(open_to_all, DIRECT), store, DIRECT)
    assert (applied.actual.source_ranges, applied.actual.local_backends) == ({RANGE: 0}, {POD: 1})
    assert heals(store, applied, open_to_all)


def test_a_range_that_could_not_be_written_closes_and_does_not_hold_its_frontend_back(store: FakeMapStore) -> None:
    restricted = BEFORE.frontends[WEB]._replace(flags=FrontendFlag.SOURCE_RANGES)
    desired = replace(DIRECT, frontends={**BEFORE.frontends, WEB: restricted})
    store.fail_next(TableName.SOURCE_RANGES)
    applied = apply(diff(desired, BEFORE), store, BEFORE)
    assert [failure.table for failure in applied.failures] == [TableName.SOURCE_RANGES]
    assert store.read().frontends[WEB] == restricted
    assert heals(store, applied, desired)
