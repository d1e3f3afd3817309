"""Which backends belong to a service port, by what their endpoints' conditions and other Services say."""

from dataclasses import replace
from typing import Any

from ebpflb.core.abi import Family, MemberSet, Protocol
from ebpflb.core.compile import Allocation, Compiled, Limits, compile_tables
from ebpflb.core.diff import diff
from ebpflb.core.model import Endpoint, EndpointPort, EndpointSlice, Service, ServicePort, Snapshot
from ebpflb.core.tables import ELSEWHERE, MemberKey, Tables
from tests.unit.core.factories import HERE, ROOMY, endpoint, endpoint_slice, service, snapshot


def compiled(state: Snapshot, previous: Allocation | None = None, limits: Limits = ROOMY) -> Compiled:
    return compile_tables(state, Family.IPV4, previous or Allocation(), limits)


DNS = ServicePort("dns", Protocol.UDP, 53)


def dns(*endpoints: Endpoint, name: str = "dns", ip: str = "10.96.0.53", **rest: Any) -> list[Service | EndpointSlice]:
    """A Service of UDP."""
    ports = (EndpointPort("dns", Protocol.UDP, 5353),)
    return [
        service(name, ip=ip, ports=[DNS], **rest),
        endpoint_slice(*endpoints, name=f"{name}-1", of=name, ports=ports),
    ]


def sets_by_host(tables: Tables, of: str = "shop/dns:dns/UDP") -> dict[int, MemberSet]:
    """The members of a service port by the last byte of their address."""
    return {
        tables.backends[key.backend_id].key.address[-1]: sets
        for key, sets in tables.members.items()
        if tables.services[key.service_id] == of
    }


def test_members_are_written_for_udp() -> None:
    tables = compiled(snapshot(*dns(endpoint("10.0.0.1"), endpoint("10.0.0.2", HERE), internal_local=True))).tables
    assert sets_by_host(tables) == {2: MemberSet.LOCAL | MemberSet.SERVING}  # the other one cannot have any flow
    tables = compiled(snapshot(*dns(endpoint("10.0.0.1"), endpoint("10.0.0.2", HERE)))).tables
    assert sets_by_host(tables) == dict.fromkeys((1, 2), MemberSet.CLUSTER | MemberSet.SERVING)


def test_a_service_that_only_others_serve_says_so_in_one_row() -> None:
    """Its flows leave a backend of this node that serves no more, as if conntrack had forgotten them."""
    here, there = endpoint("10.0.0.1", HERE), endpoint("10.0.0.2")
    first = compiled(snapshot(*dns(here, there, internal_local=True)))
    assert sets_by_host(first.tables) == {1: MemberSet.LOCAL | MemberSet.SERVING}
    unready = replace(here, ready=False, serving=False)
    second = compiled(snapshot(*dns(unready, there, internal_local=True)), first.allocation)
    assert second.tables.members == {MemberKey(1, ELSEWHERE): MemberSet.SERVING}
    assert second.tables.backends.keys() == {1}, "its row stays: TCP of another Service may drain there"
    nobody = compiled(snapshot(*dns(unready, internal_local=True)), first.allocation)
    assert nobody.tables.members == {}, "flows stay where nobody serves"
    assert not diff(
        compiled(snapshot(*dns(unready, there, internal_local=True)), second.allocation).tables, second.tables
    )


def test_the_row_for_those_elsewhere_is_kept_with_a_service_that_cannot_be_read() -> None:
    state = snapshot(*dns(endpoint("10.0.0.2"), internal_local=True))
    adopted = compiled(state).tables
    restored = Allocation.from_tables(adopted, 0)
    again = compile_tables(snapshot(), Family.IPV4, restored, ROOMY, adopted).tables
    assert again.members == adopted.members == {MemberKey(1, ELSEWHERE): MemberSet.SERVING}


def test_those_that_may_finish_their_flows_are_members_and_in_no_set() -> None:
    leaving = endpoint("10.0.0.2", ready=False, terminating=True)
    gone = endpoint("10.0.0.3", ready=False, serving=False, terminating=True)
    tables = compiled(snapshot(*dns(endpoint("10.0.0.1"), leaving, gone))).tables
    assert sets_by_host(tables) == {1: MemberSet.CLUSTER | MemberSet.SERVING, 2: MemberSet.SERVING}


def test_a_backend_that_hints_leave_out_stays_a_member_while_it_has_a_row() -> None:
    near, far = endpoint("10.0.0.1", for_nodes=(HERE,)), endpoint("10.0.0.2", for_nodes=("n2",))
    before = compiled(snapshot(*dns(endpoint("10.0.0.1"), endpoint("10.0.0.2"))))
    after = compiled(snapshot(*dns(near, far)), before.allocation)
    assert sets_by_host(after.tables) == {1: MemberSet.CLUSTER | MemberSet.SERVING, 2: MemberSet.SERVING}
    assert not diff(compiled(snapshot(*dns(near, far)), after.allocation).tables, after.tables)
    assert sets_by_host(compiled(snapshot(*dns(near, far))).tables).keys() == {1}


def test_a_backend_leaves_one_service_and_stays_with_another() -> None:
    one, other = endpoint("10.0.0.1"), endpoint("10.0.0.2")
    green = dns(one, other, name="green", ip="10.96.0.54")
    first = compiled(snapshot(*dns(one, other), *green))
    second = compiled(snapshot(*dns(one), *green), first.allocation)
    assert second.tables.backends == first.tables.backends
    assert sets_by_host(second.tables).keys() == {1}
    assert sets_by_host(second.tables, "shop/green:dns/UDP").keys() == {1, 2}


def test_the_same_members_whatever_compiles_first() -> None:
    """A backend that only a later Service gives a row is a member of the earlier one, too."""
    near, far = endpoint("10.0.0.1", for_nodes=(HERE,)), endpoint("10.0.0.2", for_nodes=("n2",))
    tables = compiled(snapshot(*dns(near, far), *dns(endpoint("10.0.0.2"), name="zoo", ip="10.96.0.54"))).tables
    assert sets_by_host(tables) == {1: MemberSet.CLUSTER | MemberSet.SERVING, 2: MemberSet.SERVING}


def test_a_service_whose_members_do_not_fit_is_refused() -> None:
    state = snapshot(*dns(endpoint("10.0.0.1"), endpoint("10.0.0.2")))
    result = compiled(state, limits=replace(ROOMY, members=1))
    (refusal,) = result.refused
    assert (refusal.field, "map members has room for 1" in refusal.reason) == ("endpoints", True)
    assert result.tables.frontends == {}
    assert not compiled(state, limits=replace(ROOMY, members=2)).refused


def test_a_refused_service_has_no_members() -> None:
    result = compiled(snapshot(*dns(endpoint("10.0.0.1"), endpoint("10.0.0.2"))), limits=replace(ROOMY, backends=2))
    assert result.refused
    assert result.tables.members == {}
