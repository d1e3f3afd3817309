"""Which frontends a Service has: every sentence about objects, labels, types and addresses, on compiled tables."""

from typing import Any

import pytest

from ebpflb.core.abi import Family, FrontendKind, MemberSet, Protocol
from tests.unit.core.cluster import (
    BOTH,
    CLUSTER_IP,
    EXTERNAL_IP,
    LOCAL,
    NODE_IP,
    ONLY_REMOTE,
    OUTSIDE,
    POD,
    REMOTE,
    VIP,
    Answer,
    Cluster,
    Manifest,
    endpoint,
    endpoint_slice,
    everywhere,
    service,
)

PROXY_NAME, HEADLESS = "service.kubernetes.io/service-proxy-name", "service.kubernetes.io/headless"
EVERYWHERE = {
    "CLUSTER_IP 10.96.0.1:80/TCP",
    "LOAD_BALANCER 203.0.113.9:80/TCP",
    "EXTERNAL_IP 198.51.100.9:80/TCP",
    "NODE_PORT 30080/TCP",
}
HERE_ONLY = (f"{LOCAL}:8080",)


def frontends(*manifests: Manifest, family: Family = Family.IPV4) -> set[str]:
    return Cluster.of(*manifests, family=family).frontends()


# -- which Services there are ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["", "true", "cilium"])
@pytest.mark.parametrize("label", [PROXY_NAME, HEADLESS])
def test_a_label_hides_a_service_when_it_appears_and_shows_it_when_it_goes(label: str, value: str) -> None:
    hidden = everywhere()
    hidden["metadata"]["labels"] = {label: value}
    seen = Cluster.of(everywhere(), BOTH)
    assert seen.frontends() == EVERYWHERE
    gone = seen.then(hidden, BOTH)
    assert (gone.frontends(), gone.tables.backends, gone.tables.services) == (set(), {}, {})
    back = gone.then(everywhere(), BOTH)
    assert back.frontends() == EVERYWHERE
    assert back.ask(POD, CLUSTER_IP).verdict == "forward"


@pytest.mark.parametrize(
    "spec",
    [
        {"clusterIP": "None"},
        {"clusterIP": "None", "clusterIPs": ["None"]},
        {"clusterIP": ""},
        {"type": "ExternalName", "externalName": "example.org"},
        {"type": "ExternalName", "externalName": "example.org", "clusterIP": CLUSTER_IP},
    ],
)
def test_without_a_cluster_ip_of_its_own_a_service_is_not_served(spec: dict[str, Any]) -> None:
    assert frontends(everywhere(**spec), BOTH) == set()


CHAIN: dict[str, tuple[Manifest, set[str]]] = {
    "ExternalName": (service(type="ExternalName", externalName="example.org", clusterIP=""), set()),
    "ClusterIP": (service(), {"CLUSTER_IP 10.96.0.1:80/TCP"}),
    "NodePort": (
        service(type="NodePort", ports=[{"name": "http", "port": 80, "nodePort": 30080}]),
        {"CLUSTER_IP 10.96.0.1:80/TCP", "NODE_PORT 30080/TCP"},
    ),
    "LoadBalancer": (everywhere(externalIPs=[]), EVERYWHERE - {"EXTERNAL_IP 198.51.100.9:80/TCP"}),
}


@pytest.mark.parametrize("before", CHAIN)
@pytest.mark.parametrize("after", CHAIN)
def test_a_type_may_become_any_other(before: str, after: str) -> None:
    one = Cluster.of(CHAIN[before][0], BOTH)
    assert one.frontends() == CHAIN[before][1]
    other = one.then(CHAIN[after][0], BOTH)
    assert other.frontends() == CHAIN[after][1]
    assert other.compiled.refused == ()
    if CHAIN[after][1]:
        assert other.ask(POD, CLUSTER_IP).verdict == "forward"


# -- addresses and ports ---------------------------------------------------------------------------------------------


def test_every_address_takes_every_port_and_a_node_port_its_own() -> None:
    ports = [
        {"name": "http", "port": 80, "nodePort": 30080},
        {"name": "dns", "port": 53, "protocol": "UDP", "nodePort": 30053},
        {"name": "sig", "port": 38412, "protocol": "SCTP", "nodePort": 30412},
    ]
    assert frontends(everywhere(ports=ports)) == {
        f"{kind} {address}:{port}"
        for kind, address in (("CLUSTER_IP", CLUSTER_IP), ("LOAD_BALANCER", VIP), ("EXTERNAL_IP", EXTERNAL_IP))
        for port in ("80/TCP", "53/UDP", "38412/SCTP")
    } | {"NODE_PORT 30080/TCP", "NODE_PORT 30053/UDP", "NODE_PORT 30412/SCTP"}


def test_one_number_on_two_protocols_is_two_frontends_also_as_a_node_port() -> None:
    ports = [
        {"name": "dns", "port": 53, "protocol": "UDP", "nodePort": 30053},
        {"name": "dns-tcp", "port": 53, "protocol": "TCP", "nodePort": 30053},
    ]
    assert frontends(service(type="NodePort", ports=ports)) == {
        "CLUSTER_IP 10.96.0.1:53/UDP",
        "CLUSTER_IP 10.96.0.1:53/TCP",
        "NODE_PORT 30053/UDP",
        "NODE_PORT 30053/TCP",
    }


DUAL: Manifest = {"clusterIP": CLUSTER_IP, "clusterIPs": [CLUSTER_IP, "fd00:96::1"], "ipFamilies": ["IPv4", "IPv6"]}
MIXED: Manifest = {"externalIPs": [EXTERNAL_IP, "2001:db8::e"], "vips": [VIP, "2001:db8::9"]}


def test_each_family_sees_its_own_addresses_and_all_node_ports() -> None:
    ports = [{"name": "http", "port": 80, "nodePort": 30080}]
    dual = service(**DUAL, **MIXED, type="LoadBalancer", ports=ports)
    assert frontends(dual) == EVERYWHERE
    assert frontends(dual, family=Family.IPV6) == {
        "CLUSTER_IP [fd00:96::1]:80/TCP",
        "LOAD_BALANCER [2001:db8::9]:80/TCP",
        "EXTERNAL_IP [2001:db8::e]:80/TCP",
        "NODE_PORT 30080/TCP",
    }


def test_a_service_of_one_family_has_nothing_in_the_other() -> None:
    ports = [{"name": "http", "port": 80, "nodePort": 30080}]
    single = service(**MIXED, type="LoadBalancer", ports=ports)
    assert frontends(single) == EVERYWHERE
    assert frontends(single, family=Family.IPV6) == set()


@pytest.mark.parametrize("text", ["010.096.000.001", "10.96.0.01", " 10.96.0.1 "])
def test_addresses_are_read_with_their_zeros_as_decimal(text: str) -> None:
    assert frontends(service(clusterIP=text)) == {"CLUSTER_IP 10.96.0.1:80/TCP"}
    external = service(externalIPs=[text.replace("10", "20", 1)])
    assert "EXTERNAL_IP 20.96.0.1:80/TCP" in frontends(external)


@pytest.mark.parametrize(
    ("ingress", "is_served"),
    [
        ({"ip": VIP}, True),
        ({"ip": VIP, "ipMode": "VIP"}, True),
        ({"ip": VIP, "ipMode": "Proxy"}, False),
        ({"hostname": "lb.example.org"}, False),
        ({"ip": "", "hostname": "lb.example.org"}, False),
        ({"ip": VIP, "hostname": "lb.example.org"}, True),
    ],
)
def test_a_load_balancer_address_is_served_where_packets_keep_it(ingress: Manifest, is_served: bool) -> None:
    web = everywhere(externalIPs=[])
    web["status"]["loadBalancer"]["ingress"] = [ingress]
    assert ("LOAD_BALANCER 203.0.113.9:80/TCP" in frontends(web)) is is_served
    assert "NODE_PORT 30080/TCP" in frontends(web)


def test_a_load_balancer_needs_no_node_port() -> None:
    web = everywhere(allocateLoadBalancerNodePorts=False, ports=[{"name": "http", "port": 80}])
    assert frontends(web) == EVERYWHERE - {"NODE_PORT 30080/TCP"}
    assert Cluster.of(web, BOTH).ask(OUTSIDE, VIP).verdict == "forward"


@pytest.mark.parametrize("absent", [{}, {"nodePort": 0}, {"nodePort": None}])
def test_a_port_without_a_node_port_is_served_where_the_service_has_other_addresses(absent: Manifest) -> None:
    ports = [{"name": "http", "port": 80, **absent}, {"name": "more", "port": 81, "nodePort": 30081}]
    assert frontends(service(type="NodePort", ports=ports)) == {
        "CLUSTER_IP 10.96.0.1:80/TCP",
        "CLUSTER_IP 10.96.0.1:81/TCP",
        "NODE_PORT 30081/TCP",
    }


def test_a_node_port_counts_whatever_the_type_is() -> None:
    inside = service(externalTrafficPolicy="Local", ports=[{"name": "http", "port": 80, "nodePort": 30080}])
    cluster = Cluster.of(inside, BOTH)
    assert cluster.frontends() == {"CLUSTER_IP 10.96.0.1:80/TCP", "NODE_PORT 30080/TCP"}
    assert cluster.ask(OUTSIDE, NODE_IP, 30080).backends == (f"{LOCAL}:8080", f"{REMOTE}:8080"), "no policy Local"


def test_published_endpoints_are_those_that_the_slice_calls_ready() -> None:
    tolerant = service(publishNotReadyAddresses=True)
    starting = endpoint(REMOTE, ready=True, serving=False)
    assert Cluster.of(tolerant, endpoint_slice(starting)).ask(POD, CLUSTER_IP).backends == (f"{REMOTE}:8080",)
    unready = endpoint(REMOTE, ready=False, serving=False)
    assert Cluster.of(tolerant, endpoint_slice(unready)).ask(POD, CLUSTER_IP) == Answer("reject")


# -- policies --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("web", "to", "backends"),
    [
        pytest.param(everywhere(externalTrafficPolicy="Local"), (NODE_IP, 30080), HERE_ONLY, id="LoadBalancer"),
        pytest.param(
            service(
                type="NodePort",
                externalTrafficPolicy="Local",
                ports=[{"name": "http", "port": 80, "nodePort": 30080}],
            ),
            (NODE_IP, 30080),
            HERE_ONLY,
            id="NodePort",
        ),
        pytest.param(
            service(externalIPs=[EXTERNAL_IP], externalTrafficPolicy="Local"),
            (EXTERNAL_IP, 80),
            HERE_ONLY,
            id="a ClusterIP Service with an external IP",
        ),
    ],
)
def test_external_policy_local_counts_where_traffic_comes_from_outside(
    web: Manifest, to: tuple[str, int], backends: tuple[str, ...]
) -> None:
    assert Cluster.of(web, BOTH).ask(OUTSIDE, *to) == Answer("forward", backends)
    assert Cluster.of(web, ONLY_REMOTE).ask(OUTSIDE, *to) == Answer("drop")


def test_external_policy_local_says_nothing_to_a_service_of_the_inside() -> None:
    inside = service(externalTrafficPolicy="Local")
    assert Cluster.of(inside, ONLY_REMOTE).sets(FrontendKind.CLUSTER_IP) == ({f"{REMOTE}:8080"}, set(), True)


@pytest.mark.parametrize(
    ("affinity", "seconds"),
    [
        ({}, 0),
        ({"sessionAffinity": "None", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 5}}}, 0),
        ({"sessionAffinity": "ClientIP"}, 10_800),
        ({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": None}}}, 10_800),
        ({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 1}}}, 1),
        ({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 86_400}}}, 86_400),
    ],
)
def test_affinity_has_a_timeout_which_all_frontends_of_a_port_share(affinity: Manifest, seconds: int) -> None:
    tables = Cluster.of(everywhere(**affinity), BOTH).tables
    rows = [row for row in tables.frontends.values() if row.kind is not FrontendKind.ADDRESS]
    assert {row.affinity_timeout_s for row in rows} == {seconds}
    assert len({row.service_id for row in rows}) == 1


def test_affinity_may_be_switched_on_and_off() -> None:
    sticky = everywhere(sessionAffinity="ClientIP")
    off = Cluster.of(everywhere(), BOTH)
    on = off.then(sticky, BOTH)
    assert {row.affinity_timeout_s for row in on.tables.frontends.values()} == {0, 10_800}
    assert len(on.tables.members) == 2
    assert on.then(everywhere(), BOTH).tables.frontends == off.tables.frontends


# -- UDP leaves with its backend -------------------------------------------------------------------------------------

DNS: list[Manifest] = [{"name": "dns", "port": 53, "protocol": "UDP"}]
DNS_TARGET = [{"name": "dns", "port": 5353, "protocol": "UDP"}]


@pytest.mark.parametrize("policy", ["Cluster", "Local"])
def test_udp_stays_with_whoever_still_serves_whatever_the_policy(policy: str) -> None:
    """Members say where a flow may stay: also with a backend that terminates, or that a policy leaves out by now."""
    listed = endpoint_slice(endpoint(LOCAL, "n1"), endpoint(REMOTE), ports=DNS_TARGET)
    before = Cluster.of(service(ports=DNS), listed)
    after = before.then(service(ports=DNS, internalTrafficPolicy=policy), listed)
    serving = {
        after.tables.backends[key.backend_id].key.address
        for key, sets in after.tables.members.items()
        if MemberSet.SERVING in sets
    }
    assert len(serving) == 2
    assert after.ask(POD, CLUSTER_IP, 53, Protocol.UDP).verdict == "forward"
