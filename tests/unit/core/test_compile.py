from dataclasses import replace

import numpy as np
import pytest

from ebpflb.core.abi import (
    Algorithm,
    BackendFlag,
    BackendState,
    ConfigFlag,
    Family,
    FrontendFlag,
    FrontendKind,
    MemberSet,
    Protocol,
)
from ebpflb.core.compile import Allocation, Compiled, Limits, compile_tables
from ebpflb.core.diff import diff
from ebpflb.core.model import (
    EndpointPort,
    EndpointSlice,
    Service,
    ServicePort,
    ServiceType,
    Snapshot,
    parse_address,
)
from ebpflb.core.tables import (
    CONFIG_KEY,
    EMPTY_RANGE,
    Backend,
    ConfigRow,
    Frontend,
    FrontendKey,
    MemberKey,
    Prefix,
    Range,
    Tables,
)
from tests.unit.core.factories import (
    HERE,
    HTTP,
    NODE_HTTP,
    ROOMY,
    backend,
    dialled,
    endpoint,
    endpoint_slice,
    frontend,
    service,
    snapshot,
)

V4 = Family.IPV4
NODE_PORT = frontend("0.0.0.0", 30080)
CLUSTER_IP = frontend("10.96.0.1")
OWN_ADDRESS = FrontendFlag.HAS_BACKENDS | FrontendFlag.CLUSTER_ADDRESS


def compiled(state: Snapshot, previous: Allocation | None = None, limits: Limits = ROOMY) -> Compiled:
    return compile_tables(state, V4, previous or Allocation(), limits)


def ids_at(tables: Tables, where: Range) -> list[int]:
    return [int(number) for number in tables.slots[where]]


def test_a_cluster_ip_is_a_list_with_local_backends_first() -> None:
    state = snapshot(service(), endpoint_slice(endpoint("10.0.0.1"), endpoint("10.0.0.2", HERE)))
    result = compiled(state)
    assert result.tables == Tables(
        family=V4,
        frontends={
            CLUSTER_IP: Frontend(
                1, FrontendKind.CLUSTER_IP, Algorithm.RANDOM, FrontendFlag.HAS_BACKENDS, 0, Range(16, 2), EMPTY_RANGE
            ),
            FrontendKey(parse_address("10.96.0.1"), 0, Protocol.ANY): Frontend(
                0, FrontendKind.ADDRESS, Algorithm.RANDOM, OWN_ADDRESS, 0, EMPTY_RANGE, EMPTY_RANGE
            ),
        },
        backends={
            1: Backend(backend("10.0.0.2"), BackendState.ACTIVE, BackendFlag.LOCAL, 1),
            2: Backend(backend("10.0.0.1"), BackendState.ACTIVE, BackendFlag(0), 2),
        },
        services={1: "shop/web:http/TCP"},
        config={
            CONFIG_KEY: ConfigRow(
                ConfigFlag.WRITTEN | ConfigFlag.LOOPBACK_NODE_PORTS,
                Prefix(bytes(4), 0),
                Prefix(parse_address("10.96.0.1"), 32),
            )
        },
        slots=result.tables.slots,
    )
    assert ids_at(result.tables, Range(16, 2)) == [1, 2]
    assert result.refused == ()


def test_a_node_port_is_a_maglev_table() -> None:
    state = snapshot(
        service(ports=[NODE_HTTP], type=ServiceType.NODE_PORT),
        endpoint_slice(*(endpoint(f"10.0.0.{host}") for host in range(1, 4))),
    )
    tables = compiled(state).tables
    row = tables.frontends[NODE_PORT]
    assert row.algorithm is Algorithm.MAGLEV
    assert row.cluster.length == 509
    counts = np.bincount(tables.slots[row.cluster])
    assert counts.tolist() == [0, *counts[1:]]
    assert counts[1:].max() - counts[1:].min() <= 1


def test_the_service_s_algorithm_applies_to_all_its_frontends() -> None:
    listed = endpoint_slice(endpoint("10.0.0.1"))
    for algorithm in Algorithm:
        web = service(ports=[NODE_HTTP], type=ServiceType.NODE_PORT, algorithm=algorithm)
        rows = dialled(compiled(snapshot(web, listed)).tables)
        assert {row.algorithm for row in rows.values()} == {algorithm}
        assert rows[NODE_PORT].cluster == rows[CLUSTER_IP].cluster


def test_ports_on_the_same_pods_share_one_maglev_computation() -> None:
    ports = [NODE_HTTP, ServicePort("more", HTTP.protocol, 81, 30081)]
    more = endpoint_slice(endpoint("10.0.0.1"), endpoint("10.0.0.2"), name="web-2", ports=(_named("more", 9090),))
    state = snapshot(
        service(ports=ports, type=ServiceType.NODE_PORT),
        endpoint_slice(endpoint("10.0.0.1"), endpoint("10.0.0.2")),
        more,
    )
    tables = compiled(state).tables
    one, other = (
        [tables.backends[number].key.address for number in ids_at(tables, tables.frontends[key].cluster)]
        for key in (NODE_PORT, frontend("0.0.0.0", 30081))
    )
    assert one == other


def _named(name: str, port: int) -> EndpointPort:
    return EndpointPort(name, HTTP.protocol, port)


def test_two_ports_of_one_address_are_two_backends_of_a_table() -> None:
    state = snapshot(
        service(ports=[NODE_HTTP], type=ServiceType.NODE_PORT),
        endpoint_slice(endpoint("10.0.0.1")),
        endpoint_slice(endpoint("10.0.0.1"), name="web-2", port=9090),
    )
    tables = compiled(state).tables
    assert set(ids_at(tables, tables.frontends[NODE_PORT].cluster)) == {1, 2}


@pytest.mark.parametrize("algorithm", Algorithm)
def test_an_external_policy_local_has_both_sets(algorithm: Algorithm) -> None:
    web = service(ports=[NODE_HTTP], type=ServiceType.NODE_PORT, external_local=True, algorithm=algorithm)
    state = snapshot(web, endpoint_slice(endpoint("10.0.0.1"), endpoint("10.0.0.2", HERE)))
    tables = compiled(state).tables
    row = tables.frontends[NODE_PORT]
    assert row.flags == FrontendFlag.HAS_BACKENDS | FrontendFlag.LOCAL_POLICY
    if algorithm is Algorithm.RANDOM:
        assert row.local == Range(row.cluster.offset, 1)
        assert ids_at(tables, row.cluster)[0] == 1
        assert row.local not in tables.slots
    else:
        assert set(ids_at(tables, row.local)) == {1}
        assert set(ids_at(tables, row.cluster)) == {1, 2}
    assert tables.frontends[CLUSTER_IP].local == EMPTY_RANGE


def test_a_local_set_that_is_no_prefix_has_its_own_range() -> None:
    web = service(ports=[NODE_HTTP], type=ServiceType.NODE_PORT, external_local=True, algorithm=Algorithm.RANDOM)
    leaving = endpoint("10.0.0.1", HERE, ready=False, terminating=True)
    tables = compiled(snapshot(web, endpoint_slice(leaving, endpoint("10.0.0.2")))).tables
    row = tables.frontends[NODE_PORT]
    assert [tables.backends[number].key for number in ids_at(tables, row.local)] == [backend("10.0.0.1")]
    assert [tables.backends[number].key for number in ids_at(tables, row.cluster)] == [backend("10.0.0.2")]
    assert tables.backends[ids_at(tables, row.local)[0]].state is BackendState.ACTIVE


def test_an_internal_policy_local_has_only_the_local_set() -> None:
    state = snapshot(service(internal_local=True), endpoint_slice(endpoint("10.0.0.1"), endpoint("10.0.0.2", HERE)))
    tables = compiled(state).tables
    row = tables.frontends[CLUSTER_IP]
    assert row.cluster == EMPTY_RANGE
    assert ids_at(tables, row.local) == [1]
    assert {each.key for each in tables.backends.values()} == {backend("10.0.0.2")}


def test_no_local_backend_is_told_from_no_backend() -> None:
    remote = snapshot(service(internal_local=True), endpoint_slice(endpoint("10.0.0.1")))
    nowhere = snapshot(service(internal_local=True))
    for state, flags in ((remote, FrontendFlag.HAS_BACKENDS), (nowhere, FrontendFlag(0))):
        row = compiled(state).tables.frontends[CLUSTER_IP]
        assert row.flags == flags | FrontendFlag.LOCAL_POLICY
        assert row.cluster == row.local == EMPTY_RANGE


def test_members_are_written_for_affinity() -> None:
    listed = endpoint_slice(endpoint("10.0.0.1"), endpoint("10.0.0.2", HERE))
    plain = service(ports=[NODE_HTTP], type=ServiceType.NODE_PORT, external_local=True)
    sticky = service(ports=[NODE_HTTP], type=ServiceType.NODE_PORT, external_local=True, affinity_timeout_s=60)
    assert compiled(snapshot(plain, listed)).tables.members == {}
    tables = compiled(snapshot(sticky, listed)).tables
    assert tables.members == {
        MemberKey(1, 1): MemberSet.CLUSTER | MemberSet.LOCAL | MemberSet.SERVING,
        MemberKey(1, 2): MemberSet.CLUSTER | MemberSet.SERVING,
    }
    assert {row.affinity_timeout_s for row in dialled(tables).values()} == {60}


def test_terminating_backends_drain_while_they_serve() -> None:
    both = snapshot(service(), endpoint_slice(endpoint("10.0.0.1"), endpoint("10.0.0.2")))
    first = compiled(both)
    leaving = endpoint("10.0.0.2", ready=False, terminating=True)
    second = compiled(snapshot(service(), endpoint_slice(endpoint("10.0.0.1"), leaving)), first.allocation)
    assert second.tables.backends[2] == first.tables.backends[2]._replace(state=BackendState.DRAINING)
    assert ids_at(second.tables, second.tables.frontends[CLUSTER_IP].cluster) == [1]
    third = compiled(snapshot(service(), endpoint_slice(endpoint("10.0.0.1"))), second.allocation)
    assert third.tables.backends.keys() == {1}


@pytest.mark.parametrize("terminating", [False, True])
def test_a_backend_that_stops_serving_keeps_its_row_while_a_slice_lists_it(terminating: bool) -> None:
    """What has no row is gone, and its TCP sockets are closed: a failed readiness probe must not do that."""
    both = snapshot(service(), endpoint_slice(endpoint("10.0.0.1"), endpoint("10.0.0.2")))
    first = compiled(both)
    dumb = endpoint("10.0.0.2", ready=False, serving=False, terminating=terminating)
    second = compiled(snapshot(service(), endpoint_slice(endpoint("10.0.0.1"), dumb)), first.allocation)
    assert second.tables.backends[2] == first.tables.backends[2]._replace(state=BackendState.DRAINING)
    assert ids_at(second.tables, second.tables.frontends[CLUSTER_IP].cluster) == [1]
    assert compiled(both, second.allocation).tables.backends == first.tables.backends
    assert compiled(snapshot(service(), endpoint_slice(dumb))).tables.backends == {}


def test_the_last_backend_s_removal_empties_everything() -> None:
    web = service(ports=[NODE_HTTP], type=ServiceType.NODE_PORT, external_local=True, affinity_timeout_s=60)
    first = compiled(snapshot(web, endpoint_slice(endpoint("10.0.0.1", HERE))))
    assert {row.algorithm for row in dialled(first.tables).values()} == set(Algorithm)
    leaving = endpoint("10.0.0.1", HERE, ready=False, serving=False, terminating=True)
    states = {BackendState.DRAINING}
    for slices, left in (([], set()), ([endpoint_slice()], set()), ([endpoint_slice(leaving)], states)):
        tables = compiled(snapshot(web, *slices), first.allocation).tables
        assert tables.frontends.keys() == first.tables.frontends.keys()
        for row in dialled(tables).values():
            assert row.cluster == row.local == EMPTY_RANGE
            assert not row.flags & FrontendFlag.HAS_BACKENDS
        assert (tables.slots, tables.members) == ({}, {})
        assert {row.state for row in tables.backends.values()} == left


def test_a_last_backend_that_drains_takes_no_new_flows() -> None:
    web = service(ports=[NODE_HTTP], type=ServiceType.NODE_PORT, affinity_timeout_s=60)
    near, far = endpoint("10.0.0.1", for_nodes=(HERE,)), endpoint("10.0.0.1", ready=False)
    first = compiled(snapshot(web, endpoint_slice(near)))
    tables = compiled(snapshot(web, endpoint_slice(far)), first.allocation).tables
    assert {row.state for row in tables.backends.values()} == {BackendState.DRAINING}
    assert set(tables.members.values()) == {MemberSet.SERVING}
    assert tables.slots == {}
    assert {row.cluster for row in dialled(tables).values()} == {EMPTY_RANGE}
    assert not any(row.flags & FrontendFlag.HAS_BACKENDS for row in dialled(tables).values())


def test_one_service_s_draining_backend_is_another_s_active_one() -> None:
    leaving = endpoint("10.0.0.2", ready=False, terminating=True)
    state = snapshot(
        service("old"),
        endpoint_slice(endpoint("10.0.0.1"), leaving, name="old-1", of="old"),
        service("twin", ip="10.96.0.3"),
        endpoint_slice(endpoint("10.0.0.1"), leaving, name="twin-1", of="twin"),
        service("young", ip="10.96.0.2"),
        endpoint_slice(endpoint("10.0.0.2"), name="young-1", of="young"),
    )
    states = {each.key: each.state for each in compiled(state).tables.backends.values()}
    assert states == {backend("10.0.0.1"): BackendState.ACTIVE, backend("10.0.0.2"): BackendState.ACTIVE}


def test_a_draining_backend_without_room_is_left_out() -> None:
    leaving = endpoint("10.0.0.2", ready=False, terminating=True)
    state = snapshot(service(), endpoint_slice(endpoint("10.0.0.1"), leaving))
    result = compiled(state, limits=replace(ROOMY, backends=2))
    assert result.tables.backends.keys() == {1}
    assert result.refused == ()


def test_a_serving_backend_that_hints_leave_out_keeps_the_row_it_has() -> None:
    near, far = endpoint("10.0.0.1", for_nodes=(HERE,)), endpoint("10.0.0.2", for_nodes=("n2",))
    hinted = snapshot(service(), endpoint_slice(near, far))
    cold = compiled(hinted)
    assert {each.key for each in cold.tables.backends.values()} == {backend("10.0.0.1")}
    before = compiled(snapshot(service(), endpoint_slice(endpoint("10.0.0.1"), endpoint("10.0.0.2"))))
    after = compiled(hinted, before.allocation)
    assert after.tables.backends[2].state is BackendState.DRAINING
    assert not diff(compiled(hinted, after.allocation).tables, after.tables)


def test_ids_stay_and_new_backends_get_new_generations() -> None:
    first = compiled(snapshot(service(), endpoint_slice(endpoint("10.0.0.1"), endpoint("10.0.0.2"))))
    second = compiled(snapshot(service(), endpoint_slice(endpoint("10.0.0.2"), endpoint("10.0.0.3"))), first.allocation)
    assert {each.key: (number, each.generation) for number, each in second.tables.backends.items()} == {
        backend("10.0.0.2"): (2, 2),
        backend("10.0.0.3"): (3, 3),
    }
    freed = second.allocation.release(second.allocation.epoch)
    third = compiled(snapshot(service(), endpoint_slice(endpoint("10.0.0.4"))), freed)
    assert {number: each.generation for number, each in third.tables.backends.items()} == {1: 4}


@pytest.mark.parametrize(
    ("limits", "field", "table"),
    [
        (replace(ROOMY, frontends=2), "spec.ports", "frontends"),
        (replace(ROOMY, backends=3), "endpoints", "backends"),
        (replace(ROOMY, services=1), "spec.ports", "services"),
        (replace(ROOMY, slots=16 + 256), "endpoints", "slots"),
    ],
)
def test_a_service_that_does_not_fit_is_refused_alone(limits: Limits, field: str, table: str) -> None:
    big = service("big", ports=[NODE_HTTP], type=ServiceType.NODE_PORT)
    small = service("small", ip="10.96.0.2")
    listed = endpoint_slice(endpoint("10.0.0.1"), name="small-1", of="small")
    others: list[Service | EndpointSlice] = [] if table == "services" else [small, listed]
    state = snapshot(
        big,
        endpoint_slice(*(endpoint(f"10.0.0.{host}") for host in range(1, 4)), name="big-1", of="big"),
        *others,
    )
    result = compiled(state, limits=limits)
    (refusal,) = result.refused
    assert (refusal.service, refusal.field) == ("shop/big", field)
    assert f"map {table} has room for" in refusal.reason
    assert table in refusal.remedy
    if others:
        alone = compiled(snapshot(small, *state.slices.values())).tables
        assert list(result.tables.frontends) == list(alone.frontends)
        assert [each.key for each in result.tables.backends.values()] == [backend("10.0.0.1")]
        assert [ids.tolist() for ids in result.tables.slots.values()] == [list(result.tables.backends)]
    assert not diff(compiled(state, result.allocation, limits).tables, result.tables)


def test_those_already_programmed_fit_first() -> None:
    tight = replace(ROOMY, frontends=2)
    zoo = snapshot(service("zoo"))
    first = compiled(zoo, limits=tight)
    second = compiled(snapshot(service("ant", ip="10.96.0.2"), service("zoo")), first.allocation, tight)
    assert second.tables.frontends == first.tables.frontends
    assert [refusal.service for refusal in second.refused] == ["shop/ant"]


def test_a_programmed_service_that_outgrows_its_map_gives_nothing_back_twice() -> None:
    tight = replace(ROOMY, backends=3)
    first = compiled(snapshot(service(), endpoint_slice(endpoint("10.0.0.1"))), limits=tight)
    grown = snapshot(service(), endpoint_slice(*(endpoint(f"10.0.0.{host}") for host in range(1, 5))))
    second = compiled(grown, first.allocation, tight)
    assert second.tables.frontends == {}
    assert second.allocation.retired_backends == {1: 2}
    assert second.allocation.retired_services == {1: 2}


def test_conflicts_are_reported_with_what_did_not_fit() -> None:
    state = snapshot(service("ant"), service("zoo"))
    assert [refusal.service for refusal in compiled(state, limits=replace(ROOMY, frontends=0)).refused] == [
        "shop/zoo",
        "shop/ant",
    ]


def test_retired_ids_and_ranges_are_not_used_before_their_release() -> None:
    first = compiled(snapshot(service("old"), endpoint_slice(endpoint("10.0.0.1"), name="old-1", of="old")))
    second = compiled(snapshot(), first.allocation)
    state = snapshot(service("new"), endpoint_slice(endpoint("10.0.0.2"), name="new-1", of="new"))
    early = compiled(state, second.allocation).tables
    assert (set(early.backends), set(early.services), set(early.slots)) == ({2}, {2}, {Range(32, 1)})
    late = compiled(state, second.allocation.release(second.allocation.epoch)).tables
    assert (set(late.backends), set(late.services), set(late.slots)) == ({1}, {1}, {Range(16, 1)})
