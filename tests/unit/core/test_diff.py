from typing import Any

import numpy as np

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
)
from ebpflb.core.diff import diff
from ebpflb.core.tables import (
    CONFIG_KEY,
    EMPTY_RANGE,
    Backend,
    ConfigRow,
    Delete,
    DeviceRow,
    Frontend,
    LocalBackendKey,
    MemberKey,
    Plan,
    Prefix,
    Put,
    Range,
    SourceRangeKey,
    Step,
    TableName,
    Tables,
    WriteSlots,
)
from tests.unit.core.factories import backend, frontend


def tables_of(number: int, state: BackendState = BackendState.ACTIVE) -> Tables:
    """A table with one row everywhere, and nothing in common with the tables of another number."""
    where = Range(16 * number, 2)
    guard = Prefix(bytes([10, 96, number, 0]), 24)
    return Tables(
        Family.IPV4,
        frontends={
            frontend(f"10.96.0.{number}"): Frontend(
                number,
                FrontendKind.CLUSTER_IP,
                Algorithm.RANDOM,
                FrontendFlag.HAS_BACKENDS,
                0,
                where,
                EMPTY_RANGE,
            )
        },
        backends={number: Backend(backend(f"10.0.0.{number}"), state, BackendFlag(0), number)},
        services={number: f"shop/{number}/TCP"},
        members={MemberKey(number, number): MemberSet.CLUSTER},
        node_addrs={bytes([10, 9, 0, number]): NodeAddrFlag.NODE_PORTS},
        local_backends={LocalBackendKey(number, bytes([10, 0, 0, number])): number},
        source_ranges={SourceRangeKey(number, bytes([192, 0, 2, 0]), 24): 0},
        devices={number: DeviceRow(bytes([10, 9, 0, number]), 1500, DeviceFlag(0))},
        opt_outs={number: 0},
        service_cidrs={guard: 0},
        config={CONFIG_KEY: ConfigRow(ConfigFlag.WRITTEN, Prefix(bytes(4), 0), guard)},
        slots={where: np.array([number, number], dtype=np.uint32)},
    )


def names(plan: Plan) -> list[tuple[type[Step], str]]:
    return [(type(step), "slots" if isinstance(step, WriteSlots) else step.table.value) for step in plan.steps]


def test_equal_tables_need_no_plan() -> None:
    assert diff(tables_of(1), tables_of(1)) == Plan()
    assert not diff(tables_of(1), tables_of(1))


def test_steps_come_in_the_one_safe_order() -> None:
    plan = diff(tables_of(2), tables_of(1))
    assert names(plan) == [
        (Delete, "frontends"),
        (Put, "services"),
        (Put, "backends"),
        (Put, "members"),
        (Put, "local_backends"),
        (Put, "source_ranges"),
        (Put, "node_addrs"),
        (Put, "devices"),
        (Put, "opt_outs"),
        (Put, "service_cidrs"),
        (Put, "config"),
        (WriteSlots, "slots"),
        (Put, "frontends"),
        (Delete, "members"),
        (Delete, "local_backends"),
        (Delete, "source_ranges"),
        (Delete, "backends"),
        (Delete, "services"),
        (Delete, "node_addrs"),
        (Delete, "devices"),
        (Delete, "opt_outs"),
        (Delete, "service_cidrs"),
    ]
    assert plan.steps[0] == Delete(TableName.FRONTENDS, (frontend("10.96.0.1"),))
    assert plan.steps[2] == Put(TableName.BACKENDS, tables_of(2).backends)


def test_only_changed_rows_are_put() -> None:
    desired = tables_of(1)
    actual = Tables(Family.IPV4, **{**_fields(desired), "services": {1: "another"}})
    assert diff(desired, actual) == Plan((Put(TableName.SERVICES, {1: "shop/1/TCP"}),))


def _fields(tables: Tables) -> dict[str, Any]:
    return {name: getattr(tables, name) for name in (*[table.value for table in TableName], "slots")}


def test_ranges_that_hold_their_contents_are_not_written() -> None:
    desired = tables_of(1)
    stale = Tables(Family.IPV4, **{**_fields(desired), "slots": {Range(16, 2): np.array([1, 9], dtype=np.uint32)}})
    more = Tables(Family.IPV4, **{**_fields(desired), "slots": {**desired.slots, Range(64, 1): np.array([1])}})
    assert names(diff(desired, stale)) == [(WriteSlots, "slots")]
    assert not diff(desired, more)


def test_a_backend_drains_after_the_frontends_have_left_it() -> None:
    active, draining = tables_of(1), tables_of(1, BackendState.DRAINING)
    moved = Tables(Family.IPV4, **{**_fields(draining), "frontends": tables_of(2).frontends})
    assert names(diff(moved, active)) == [(Delete, "frontends"), (Put, "frontends"), (Put, "backends")]
    back = Tables(Family.IPV4, **{**_fields(active), "frontends": tables_of(2).frontends})
    assert names(diff(back, draining)) == [(Delete, "frontends"), (Put, "backends"), (Put, "frontends")]


def test_a_new_draining_backend_or_a_new_user_of_an_id_is_put_first() -> None:
    draining = tables_of(1, BackendState.DRAINING)
    other = Tables(Family.IPV4, **{**_fields(tables_of(1)), "backends": {1: tables_of(2).backends[2]}})
    none = Tables(Family.IPV4, **{**_fields(tables_of(1)), "backends": {}})
    for actual in (other, none):
        moved = Tables(Family.IPV4, **{**_fields(draining), "frontends": tables_of(2).frontends})
        assert names(diff(moved, actual)) == [(Delete, "frontends"), (Put, "backends"), (Put, "frontends")]


def test_the_guard_is_lifted_before_the_ranges_behind_it_go() -> None:
    nothing = Tables(Family.IPV4)
    assert names(diff(nothing, tables_of(1)))[-2:] == [(Delete, "config"), (Delete, "service_cidrs")]
