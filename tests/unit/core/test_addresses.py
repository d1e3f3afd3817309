"""The rows of addresses as such: one for each, whoever serves there."""

from dataclasses import replace

from ebpflb.core.abi import Algorithm, Family, FrontendFlag, FrontendKind, Protocol
from ebpflb.core.compile import Allocation, Compiled, Limits, compile_tables
from ebpflb.core.diff import diff
from ebpflb.core.model import Host, Service, ServicePort, ServiceType, Snapshot, format_address, parse_address
from ebpflb.core.tables import EMPTY_RANGE, Frontend, FrontendKey, Tables
from tests.unit.core.factories import HTTP, NODE_HTTP, ROOMY, endpoint, endpoint_slice, service, snapshot

VIP, EXTERNAL = "203.0.113.9", "198.51.100.9"
HAS_BACKENDS = FrontendFlag.HAS_BACKENDS
PORT_81 = ServicePort("more", Protocol.TCP, 81)


def compiled(state: Snapshot, limits: Limits = ROOMY, previous: Allocation | None = None) -> Compiled:
    return compile_tables(state, Family.IPV4, previous or Allocation(), limits)


def answers(tables: Tables) -> dict[str, bool]:
    """Whether an address has backends, by its text."""
    return {
        ".".join(map(str, key.address)): bool(row.flags & HAS_BACKENDS)
        for key, row in tables.frontends.items()
        if row.kind is FrontendKind.ADDRESS
    }


def everywhere(name: str = "web", ip: str = "10.96.0.1", port: ServicePort = NODE_HTTP) -> Service:
    return service(
        name,
        ip=ip,
        ports=[port],
        type=ServiceType.LOAD_BALANCER,
        load_balancer_ips=(parse_address(VIP),),
        external_ips=(parse_address(EXTERNAL), parse_address("2001:db8::9")),
    )


def test_every_address_of_a_service_has_a_row_and_a_node_port_has_none() -> None:
    tables = compiled(snapshot(everywhere())).tables
    assert answers(tables) == {"10.96.0.1": False, VIP: False, EXTERNAL: False}
    assert tables.frontends[FrontendKey(parse_address(VIP), 0, Protocol.ANY)] == Frontend(
        0, FrontendKind.ADDRESS, Algorithm.RANDOM, FrontendFlag(0), 0, EMPTY_RANGE, EMPTY_RANGE
    )


def test_an_address_answers_when_any_service_at_it_has_backends() -> None:
    other = everywhere("other", "10.96.0.2", ServicePort("more", Protocol.TCP, 81))
    listed = endpoint_slice(endpoint("10.0.0.1"))
    tables = compiled(snapshot(everywhere(), listed, other)).tables
    assert answers(tables) == {"10.96.0.1": True, "10.96.0.2": False, VIP: True, EXTERNAL: True}


def test_a_node_answers_for_its_own_address_itself() -> None:
    host = Host(frozenset({parse_address(EXTERNAL)}))
    tables = compiled(snapshot(everywhere(), endpoint_slice(endpoint("10.0.0.1")), host=host)).tables
    assert answers(tables) == {"10.96.0.1": True, VIP: True, EXTERNAL: False}


def test_a_row_of_an_address_belongs_to_nobody_and_costs_no_id() -> None:
    state = snapshot(everywhere(), endpoint_slice(endpoint("10.0.0.1")))
    first = compiled(state)
    restored = Allocation.from_tables(first.tables, first.allocation.max_generation)
    assert restored.retired_services == {}
    assert restored.owners.keys() == {key for key in first.tables.frontends if key.protocol is not Protocol.ANY}
    assert not diff(compiled(state, previous=restored).tables, first.tables)


def test_addresses_count_and_a_shared_one_counts_once() -> None:
    ports = [HTTP, ServicePort("more", Protocol.TCP, 81)]
    two_ports = service(ports=ports)
    assert compiled(snapshot(two_ports), replace(ROOMY, frontends=3)).refused == ()
    (refusal,) = compiled(snapshot(two_ports), replace(ROOMY, frontends=2)).refused
    assert "frontends" in refusal.reason
    shared = everywhere("other", "10.96.0.2", ServicePort("more", Protocol.TCP, 81))
    both = snapshot(everywhere(), shared)
    assert len(compiled(both).tables.frontends) == 4 + 3 + 4
    assert compiled(both, replace(ROOMY, frontends=11)).refused == ()
    assert [each.service for each in compiled(both, replace(ROOMY, frontends=10)).refused] == ["shop/web"]


def cluster_addresses(tables: Tables) -> set[str]:
    """Addresses where nothing but frontends may be dialled."""
    return {
        format_address(key.address)
        for key, row in tables.frontends.items()
        if row.kind is FrontendKind.ADDRESS and FrontendFlag.CLUSTER_ADDRESS in row.flags
    }


def test_a_cluster_ip_is_refused_on_other_ports_and_other_addresses_are_left_alone() -> None:
    state = snapshot(everywhere(), endpoint_slice(endpoint("10.0.0.1")))
    assert cluster_addresses(compiled(state).tables) == {"10.96.0.1"}


def test_an_address_is_a_cluster_ip_if_it_is_any_service_s() -> None:
    borrower = service("other", ip="10.96.0.2", external_ips=(parse_address("10.96.0.1"),), ports=[PORT_81])
    for services in ((service(), borrower), (borrower, service())):
        assert cluster_addresses(compiled(snapshot(*services)).tables) == {"10.96.0.1", "10.96.0.2"}


def test_a_node_s_own_address_is_under_its_own_rules_even_as_a_cluster_ip() -> None:
    host = Host(frozenset({parse_address("10.96.0.1")}))
    assert cluster_addresses(compiled(snapshot(service(), host=host)).tables) == set()
