"""Rows of Services that could not be read stay as they are, among those that are compiled."""

from dataclasses import replace

import numpy as np
import pytest

from ebpflb.core.abi import BackendFlag, BackendState, Family, Protocol
from ebpflb.core.compile import Allocation, Compiled, Limits, compile_tables
from ebpflb.core.diff import diff
from ebpflb.core.kept import Unread, rows_to_keep, service_of
from ebpflb.core.model import EndpointPort, EndpointSlice, Service, ServicePort, ServiceType, Snapshot, parse_address
from ebpflb.core.tables import Backend, Tables
from tests.unit.core.factories import (
    HERE,
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
UNKNOWN = Unread(has_unknown=True)
WEB, API = ("shop", "web"), ("shop", "api")


def web() -> list[Service | EndpointSlice]:
    ports = [NODE_HTTP, ServicePort("dns", Protocol.UDP, 53)]
    slice_ports = (EndpointPort("http", Protocol.TCP, 8080), EndpointPort("dns", Protocol.UDP, 5353))
    pods = (endpoint("10.0.0.1"), endpoint("10.0.0.2", HERE), endpoint("10.0.0.3", ready=False, terminating=True))
    return [
        service(ports=ports, type=ServiceType.NODE_PORT, external_local=True),
        endpoint_slice(*pods, ports=slice_ports),
    ]


def api(*pods: str) -> list[Service | EndpointSlice]:
    return [service("api", ip="10.96.0.2"), endpoint_slice(*map(endpoint, pods), name="api-1", of="api")]


def adopted(*objects: Service | EndpointSlice) -> Tables:
    return compile_tables(snapshot(*objects), V4, Allocation(), ROOMY).tables


def compiled(state: Snapshot, tables: Tables, unread: Unread, limits: Limits = ROOMY) -> Compiled:
    kept = rows_to_keep(tables, state, unread)
    return compile_tables(state, V4, Allocation.from_tables(tables, 99), limits, kept)


def test_names_lead_back_to_their_service() -> None:
    assert service_of("shop/web:http/TCP") == service_of("shop/web/UDP") == WEB


@pytest.mark.parametrize("unread", [UNKNOWN, Unread(services=frozenset({WEB}))])
def test_a_service_that_was_not_read_keeps_every_row(unread: Unread) -> None:
    tables = adopted(*web(), *api("10.0.0.9"))
    assert tables.members
    assert {row.state for row in tables.backends.values()} == {BackendState.ACTIVE, BackendState.DRAINING}
    result = compiled(snapshot(*api("10.0.0.9")), tables, unread)
    assert not diff(result.tables, tables)
    assert result.refused == ()


def test_what_is_known_to_be_gone_goes() -> None:
    tables = adopted(*web(), *api("10.0.0.9"))
    for unread in (Unread(), Unread(services=frozenset({WEB})), Unread(slice_namespaces=frozenset({"shop"}))):
        result = compiled(snapshot(), tables, unread)
        assert service_of_rows(result.tables) == ({WEB} if unread.services else set())


def service_of_rows(tables: Tables) -> set[tuple[str, str]]:
    return {service_of(tables.services[row.service_id]) for row in dialled(tables).values()}


def test_a_service_none_of_whose_slices_was_read_keeps_its_backends() -> None:
    tables = adopted(*web(), *api("10.0.0.9"))
    without_slice = snapshot(web()[0], *api("10.0.0.9"))
    for unread in (UNKNOWN, Unread(slice_namespaces=frozenset({"shop"}))):
        assert not diff(compiled(without_slice, tables, unread).tables, tables)
    elsewhere = compiled(without_slice, tables, Unread(slice_namespaces=frozenset({"other"}))).tables
    assert {row.key for row in elsewhere.backends.values() if row.state is BackendState.ACTIVE} == {backend("10.0.0.9")}


def test_the_others_change_beside_it_and_share_its_backends() -> None:
    tables = adopted(*web(), *api("10.0.0.9"))
    result = compiled(snapshot(*api("10.0.0.1")), tables, UNKNOWN)
    before, after = (
        {key: row for key, row in each.frontends.items() if key != frontend("10.96.0.2")}
        for each in (tables, result.tables)
    )
    assert before == after
    row = result.tables.frontends[frontend("10.96.0.2")]
    assert [result.tables.backends[number].key for number in result.tables.slots[row.cluster].tolist()] == [
        backend("10.0.0.1")
    ]


def test_a_newcomer_cannot_take_a_frontend_of_it() -> None:
    tables = adopted(*web())
    result = compiled(snapshot(service("ant", ports=[NODE_HTTP], type=ServiceType.NODE_PORT)), tables, UNKNOWN)
    assert {refusal.service for refusal in result.refused} == {"shop/ant"}
    assert not diff(result.tables, tables)


def test_a_broken_row_is_not_kept() -> None:
    tables = adopted(*api("10.0.0.9"))
    for broken in (replace(tables, slots={}), replace(tables, backends={})):
        kept = rows_to_keep(broken, snapshot(), UNKNOWN)
        result = compile_tables(snapshot(), V4, Allocation.from_tables(tables, 9), ROOMY, kept)
        assert result.tables.frontends == {}
        assert result.allocation.services == {}


def test_members_without_a_row_or_a_frontend_are_not_kept() -> None:
    tables = adopted(*web())
    result = compiled(snapshot(), replace(tables, backends={}), UNKNOWN)
    assert result.tables.members == {}
    result = compiled(snapshot(), replace(tables, slots={}), UNKNOWN)
    assert result.tables.members == {}


def restricted() -> list[Service | EndpointSlice]:
    """A Service whose clients are known and answered directly, with a backend on this node and a draining one."""
    pods = (endpoint("10.0.0.1", HERE), endpoint("10.0.0.2", HERE, ready=False, terminating=True))
    vips, ranges = (parse_address("203.0.113.9"),), ("192.0.2.0/24",)
    balanced = service(type=ServiceType.LOAD_BALANCER, load_balancer_ips=vips, source_ranges=ranges, forwarding="dsr")
    return [balanced, endpoint_slice(*pods)]


def test_who_may_connect_and_what_is_sent_here_whole_are_kept() -> None:
    tables = adopted(*restricted(), *api("10.0.0.9"))
    assert (len(tables.source_ranges), len(tables.local_backends)) == (1, 2)
    assert not diff(compiled(snapshot(*api("10.0.0.9")), tables, UNKNOWN).tables, tables)
    gone = compiled(snapshot(*api("10.0.0.9")), tables, Unread()).tables
    assert (gone.source_ranges, gone.local_backends) == ({}, {})


def test_they_follow_their_service_and_backend_to_other_ids() -> None:
    before = adopted(*restricted())
    renamed = replace(
        before,
        services={1: before.services[1], 7: before.services[1]},
        frontends={key: row._replace(service_id=row.service_id and 7) for key, row in before.frontends.items()},
        source_ranges={key._replace(service_id=1): row for key, row in before.source_ranges.items()},
        local_backends={key._replace(service_id=1): row for key, row in before.local_backends.items()},
    )
    kept = compiled(snapshot(), renamed, UNKNOWN).tables
    assert kept.services == {7: before.services[1]}
    assert {key.service_id for key in kept.source_ranges} == {key.service_id for key in kept.local_backends} == {7}
    assert len(kept.local_backends) == 2


def test_they_are_not_kept_without_service_or_backend() -> None:
    before = adopted(*restricted())
    broken = replace(before, slots={})
    kept = compiled(snapshot(), broken, UNKNOWN).tables
    assert (kept.source_ranges, kept.local_backends) == ({}, {})
    draining = {key: row for key, row in before.backends.items() if row.state is BackendState.ACTIVE}
    kept = compiled(snapshot(), replace(before, backends=draining), UNKNOWN).tables
    assert list(kept.local_backends.values()) == list(draining)


def twice(tables: Tables) -> Tables:
    """The frontend names backend 7, and an older row of the same backend is there, as a crash may leave it."""
    (row,) = tables.backends.values()
    (where,) = tables.slots
    ids = np.full(where.length, 7, dtype=np.uint32)
    older = Backend(row.key, BackendState.ACTIVE, BackendFlag(0), row.generation + 1)
    return replace(tables, backends={7: row, 1: older}, slots={where: ids})


def test_of_two_ids_of_one_backend_the_chosen_one_stands() -> None:
    result = compiled(snapshot(), twice(adopted(*api("10.0.0.9"))), UNKNOWN)
    (row,) = dialled(result.tables).values()
    assert result.tables.slots[row.cluster].tolist() == [1]
    assert result.tables.backends.keys() == {1}


def test_a_row_that_must_move_and_has_no_room_is_not_kept() -> None:
    full = replace(ROOMY, slots=32)
    assert compiled(snapshot(), twice(adopted(*api("10.0.0.9"))), UNKNOWN, full).tables.frontends == {}
