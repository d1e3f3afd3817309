import pytest

from ebpflb.core.abi import Family, FrontendKind, Protocol
from ebpflb.core.expand import (
    Claim,
    merge_candidates,
    settle_claims,
    slices_by_service,
)
from ebpflb.core.model import EndpointPort, Service, ServicePort, ServiceType, parse_address
from ebpflb.core.refusal import Refusal
from tests.unit.core.factories import (
    HERE,
    HTTP,
    NODE_HTTP,
    backend,
    endpoint,
    endpoint_slice,
    expanded,
    frontend,
    service,
)

V4, V6 = Family.IPV4, Family.IPV6
VIP = parse_address("192.0.2.1")
EXTERNAL = parse_address("203.0.113.1")


def test_a_service_has_one_frontend_for_each_way_in() -> None:
    full = service(
        ports=[NODE_HTTP],
        type=ServiceType.LOAD_BALANCER,
        load_balancer_ips=(VIP, parse_address("fd00::1")),
        external_ips=(EXTERNAL, parse_address("fd00::2")),
    )
    (exposure,) = expanded(full, V4)
    assert exposure.name == "shop/web:http/TCP"
    assert exposure.claims == (
        Claim(frontend("10.96.0.1"), FrontendKind.CLUSTER_IP),
        Claim(frontend("192.0.2.1"), FrontendKind.LOAD_BALANCER),
        Claim(frontend("203.0.113.1"), FrontendKind.EXTERNAL_IP),
        Claim(frontend("0.0.0.0", 30080), FrontendKind.NODE_PORT),
    )


def test_each_port_stands_alone() -> None:
    ports = [
        ServicePort("", Protocol.TCP, 53),
        ServicePort("dns", Protocol.UDP, 53),
        ServicePort("dns", Protocol.UDP, 54),
    ]
    exposures = expanded(service(ports=ports), V4)
    assert [exposure.name for exposure in exposures] == ["shop/web/TCP", "shop/web:dns/UDP"]
    assert [exposure.port.port for exposure in exposures] == [53, 53]


def test_an_address_that_is_listed_twice_is_one_frontend() -> None:
    (exposure,) = expanded(service(external_ips=(parse_address("10.96.0.1"), EXTERNAL, EXTERNAL)), V4)
    assert [claim.kind for claim in exposure.claims] == [FrontendKind.CLUSTER_IP, FrontendKind.EXTERNAL_IP]


def test_a_dual_stack_service_has_frontends_of_both_families() -> None:
    dual = Service(
        "shop", "web", ServiceType.NODE_PORT, (NODE_HTTP,), (parse_address("10.96.0.1"), parse_address("fd00::1"))
    )
    assert [claim.key.address for claim in expanded(dual, V6)[0].claims] == [parse_address("fd00::1"), bytes(16)]


def test_without_a_cluster_ip_of_the_family_there_is_nothing() -> None:
    assert expanded(service(), V6) == ()
    assert expanded(service(type=ServiceType.EXTERNAL_NAME), V4) == ()


@pytest.mark.parametrize(
    ("kind_of_service", "external_ips", "expected"),
    [
        (ServiceType.CLUSTER_IP, (), False),
        (ServiceType.CLUSTER_IP, (EXTERNAL,), True),
        (ServiceType.NODE_PORT, (), True),
        (ServiceType.LOAD_BALANCER, (), True),
    ],
)
def test_each_policy_governs_its_own_frontends(
    kind_of_service: ServiceType, external_ips: tuple[bytes, ...], expected: bool
) -> None:
    outside = service(type=kind_of_service, external_ips=external_ips, external_local=True)
    (exposure,) = expanded(outside, V4)
    assert exposure.is_local_policy(FrontendKind.NODE_PORT) is expected
    assert exposure.is_local_policy(FrontendKind.CLUSTER_IP) is False
    (exposure,) = expanded(service(type=kind_of_service, internal_local=True), V4)
    assert exposure.is_local_policy(FrontendKind.CLUSTER_IP) is True
    assert exposure.is_local_policy(FrontendKind.EXTERNAL_IP) is False


def claimants() -> list[Service]:
    return [service("zoo", ip="10.96.0.2", external_ips=(EXTERNAL,)), service("ant", external_ips=(EXTERNAL,))]


def test_of_two_newcomers_the_first_name_keeps_a_frontend() -> None:
    exposures = [exposure for each in claimants() for exposure in expanded(each, V4)]
    settled, refused = settle_claims(exposures, {}, {})
    assert {exposure.name: len(exposure.claims) for exposure in settled} == {
        "shop/ant:http/TCP": 2,
        "shop/zoo:http/TCP": 1,
    }
    assert refused == [
        Refusal(
            "shop/zoo",
            "spec.externalIPs",
            "203.0.113.1:80/TCP belongs to shop/ant:http/TCP",
            "give one of the two another address or port",
        )
    ]


def test_the_owner_keeps_a_frontend_whatever_its_name() -> None:
    exposures = [exposure for each in claimants() for exposure in expanded(each, V4)]
    settled, refused = settle_claims(exposures, {frontend("203.0.113.1"): "shop/zoo:http/TCP"}, {})
    assert {exposure.name: len(exposure.claims) for exposure in settled} == {
        "shop/ant:http/TCP": 1,
        "shop/zoo:http/TCP": 2,
    }
    assert [refusal.service for refusal in refused] == ["shop/ant"]


def test_a_port_left_without_frontends_is_dropped() -> None:
    exposures = [*expanded(service("ant"), V4), *expanded(service("zoo"), V4)]
    settled, refused = settle_claims(exposures, {}, {})
    assert [exposure.name for exposure in settled] == ["shop/ant:http/TCP"]
    assert [refusal.field for refusal in refused] == ["spec.clusterIPs"]


def test_slices_are_indexed_by_family_service_and_name() -> None:
    second, first = endpoint_slice(name="b"), endpoint_slice(name="a")
    other = endpoint_slice(name="c", family=V6)
    assert slices_by_service([second, other, first], V4) == {("shop", "web"): [first, second]}


def test_slices_match_by_port_name_and_protocol() -> None:
    ports = (
        EndpointPort("http", Protocol.UDP, 1),
        EndpointPort("metrics", Protocol.TCP, 2),
        EndpointPort("http", Protocol.TCP, 3),
    )
    odd = endpoint_slice(endpoint("10.0.0.2"), endpoint("fd00::1"), name="web-2", ports=ports)
    plain = endpoint_slice(endpoint("10.0.0.1"))
    merged = merge_candidates(HTTP, [plain, odd], V4, HERE)
    assert [candidate.key for candidate in merged] == [backend("10.0.0.1"), backend("10.0.0.2", 3)]


def test_an_endpoint_in_several_slices_is_one_and_the_local_one_wins() -> None:
    there, here = endpoint("10.0.0.9"), endpoint("10.0.0.9", HERE, ready=False)
    also_here = endpoint("10.0.0.9", HERE)
    listed = [
        endpoint_slice(each, endpoint("10.0.0.1"), name=str(index))
        for index, each in enumerate([there, here, also_here])
    ]
    merged = merge_candidates(HTTP, listed, V4, HERE)
    assert [(candidate.key, candidate.is_local) for candidate in merged] == [
        (backend("10.0.0.9"), True),
        (backend("10.0.0.1"), False),
    ]
    assert merged[0].endpoint is here


def test_a_node_without_a_name_has_no_local_endpoints() -> None:
    (merged,) = merge_candidates(HTTP, [endpoint_slice(endpoint("10.0.0.1", ""))], V4, "")
    assert merged.is_local is False
