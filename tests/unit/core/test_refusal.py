"""What is not served yet is refused in words, and the rest of the Service is served."""

from typing import Any

import pytest

from ebpflb.core.abi import Family, FrontendKind, Protocol
from ebpflb.core.compile import Allocation, compile_tables
from ebpflb.core.model import Service, ServicePort, ServiceType, parse_address
from tests.unit.core.factories import HTTP, ROOMY, service, snapshot

V4 = Family.IPV4


def balanced(*ranges: str, **rest: Any) -> Service:
    address = parse_address("203.0.113.9")
    return service(type=ServiceType.LOAD_BALANCER, load_balancer_ips=(address,), source_ranges=ranges, **rest)


def test_an_sctp_port_is_refused_and_the_others_are_served() -> None:
    ports = [HTTP, ServicePort("sig", Protocol.SCTP, 2905)]
    result = compile_tables(snapshot(service(ports=ports)), V4, Allocation(), ROOMY)
    assert [key.protocol for key in result.tables.frontends] == [Protocol.TCP]
    (refusal,) = result.refused
    assert (refusal.service, refusal.field) == ("shop/web", "spec.ports[1].protocol")
    assert refusal.reason == "SCTP is not served yet"


def test_load_balancer_addresses_are_not_open_to_all_when_ranges_are_given() -> None:
    result = compile_tables(snapshot(balanced("192.0.2.0/24")), V4, Allocation(), ROOMY)
    assert [row.kind for row in result.tables.frontends.values()] == [FrontendKind.CLUSTER_IP]
    (refusal,) = result.refused
    assert (refusal.service, refusal.field) == ("shop/web", "spec.loadBalancerSourceRanges")
    assert refusal.reason == "not enforced yet, so its load-balancer IPs are not served"
    assert refusal.remedy == "remove the ranges, or keep such Services with kube-proxy"


@pytest.mark.parametrize("ranges", [(), ("fd00::/8",)])
def test_ranges_of_the_other_family_restrict_nothing(ranges: tuple[str, ...]) -> None:
    result = compile_tables(snapshot(balanced(*ranges)), V4, Allocation(), ROOMY)
    assert FrontendKind.LOAD_BALANCER in {row.kind for row in result.tables.frontends.values()}
    assert result.refused == ()


def test_nothing_is_refused_where_nothing_would_be_served() -> None:
    ranged = service(source_ranges=("192.0.2.0/24",))
    assert compile_tables(snapshot(ranged), V4, Allocation(), ROOMY).refused == ()
    other_family = balanced("fd00::/8", ports=[ServicePort("sig", Protocol.SCTP, 2905)])
    assert compile_tables(snapshot(other_family), Family.IPV6, Allocation(), ROOMY).refused == ()
