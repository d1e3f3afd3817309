"""Which endpoints stand behind a frontend: every sentence about slices, categories and hints, on compiled tables."""

from dataclasses import replace
from typing import Any

import pytest

from ebpflb.core.abi import BackendFlag, Family, FrontendKind, Protocol
from tests.unit.core.cluster import (
    CLUSTER_IP,
    HERE,
    NODE,
    POD,
    THERE,
    Cluster,
    Manifest,
    endpoint,
    endpoint_slice,
    everywhere,
    service,
)

A, B, C, D = (f"10.244.9.{number}" for number in (1, 2, 3, 4))
OUT_OF_USE: Manifest = {"ready": False, "serving": False}
TERMINATING: Manifest = {"ready": False, "serving": True, "terminating": True}
DYING: Manifest = {"ready": False, "serving": False, "terminating": True}
ODD: Manifest = {"ready": False, "serving": True, "terminating": False}
TOLERANT: Manifest = {"ready": True, "serving": True, "terminating": True}
"""As ``publishNotReadyAddresses`` has it."""
LOCAL_POLICIES = {"internalTrafficPolicy": "Local", "externalTrafficPolicy": "Local"}


def hosts(*addresses: str, port: int = 8080) -> set[str]:
    return {f"{address}:{port}" for address in addresses}


# -- categories ------------------------------------------------------------------------------------------------------

CATEGORIES: list[tuple[str, list[Manifest], set[str], set[str], bool]] = [
    # what it says, endpoints, cluster set, local set, whether there is any
    ("nothing", [], set(), set(), False),
    ("ready here and there", [endpoint(A, HERE), endpoint(B)], hosts(A, B), hosts(A), True),
    ("ready elsewhere", [endpoint(B)], hosts(B), set(), True),
    ("conditions left out are the usual ones", [{"addresses": [A], "nodeName": HERE}], hosts(A), hosts(A), True),
    ("a null condition is the usual one", [endpoint(A, HERE, ready=None, serving=None)], hosts(A), hosts(A), True),
    ("who is not ready is not used", [endpoint(A, HERE, **OUT_OF_USE), endpoint(B)], hosts(B), set(), True),
    ("not even when nobody else is there", [endpoint(A, HERE, **OUT_OF_USE)], set(), set(), False),
    ("who serves, is not ready and does not leave is not used", [endpoint(A, HERE, **ODD)], set(), set(), False),
    ("who terminates and serves no more is not used", [endpoint(A, HERE, **DYING)], set(), set(), False),
    (
        "who terminates is not used while somebody is ready",
        [endpoint(A, HERE, **TERMINATING), endpoint(B, HERE)],
        *(hosts(B), hosts(B), True),
    ),
    ("who terminates stands in when nobody is ready", [endpoint(B, **TERMINATING)], hosts(B), set(), True),
    (
        "of those who terminate all stand in",
        [endpoint(A, HERE, **TERMINATING), endpoint(B, **TERMINATING), endpoint(C, **DYING)],
        *(hosts(A, B), hosts(A), True),
    ),
    (
        "here they stand in although somebody is ready elsewhere",
        [endpoint(A, HERE, **TERMINATING), endpoint(B)],
        *(hosts(B), hosts(A), True),
    ),
    (
        "those elsewhere never stand in for the local set",
        [endpoint(A, HERE, **OUT_OF_USE), endpoint(B, **TERMINATING)],
        *(hosts(B), set(), True),
    ),
    ("who is published although it terminates is ready", [endpoint(A, HERE, **TOLERANT)], hosts(A), hosts(A), True),
    ("who names no node is on none", [endpoint(A, None)], hosts(A), set(), True),
    ("who names another node is not here", [endpoint(A, "N1")], hosts(A), set(), True),
]


@pytest.mark.parametrize(
    ("endpoints", "cluster_set", "local_set", "has_any"),
    [pytest.param(*row[1:], id=row[0]) for row in CATEGORIES],
)
def test_categories(endpoints: list[Manifest], cluster_set: set[str], local_set: set[str], has_any: bool) -> None:
    cluster = Cluster.of(everywhere(externalTrafficPolicy="Local"), endpoint_slice(*endpoints))
    assert cluster.sets(FrontendKind.NODE_PORT) == (cluster_set, local_set, has_any)
    assert cluster.sets(FrontendKind.LOAD_BALANCER) == (cluster_set, local_set, has_any)
    assert cluster.sets(FrontendKind.EXTERNAL_IP) == (cluster_set, local_set, has_any)
    assert cluster.sets(FrontendKind.CLUSTER_IP) == (cluster_set, set(), has_any)
    inside = Cluster.of(everywhere(internalTrafficPolicy="Local"), endpoint_slice(*endpoints))
    assert inside.sets(FrontendKind.CLUSTER_IP) == (set(), local_set, has_any)
    assert inside.sets(FrontendKind.NODE_PORT) == (cluster_set, set(), has_any)


def test_no_set_is_made_that_no_frontend_reads() -> None:
    """Only iTP Local needs no cluster set; only a policy Local needs a local one."""
    slices = endpoint_slice(endpoint(A, HERE), endpoint(B))
    inside = Cluster.of(service(internalTrafficPolicy="Local"), slices)
    assert {row.key.address for row in inside.tables.backends.values()} == {bytes([10, 244, 9, 1])}
    assert Cluster.of(service(), slices).sets(FrontendKind.CLUSTER_IP) == (hosts(A, B), set(), True)


# -- hints -----------------------------------------------------------------------------------------------------------

HINTS: list[tuple[str, list[Manifest], set[str]]] = [
    ("no hints: all", [endpoint(A), endpoint(B)], hosts(A, B)),
    ("forNodes, all hinted: those for this node", [endpoint(A, nodes="n1"), endpoint(B, nodes="n2")], hosts(A)),
    ("forNodes may name several", [endpoint(A, nodes="n2 n1"), endpoint(B, nodes="n2")], hosts(A)),
    (
        "forNodes go before forZones",
        [endpoint(A, nodes="n1", zones="z9"), endpoint(B, nodes="n2", zones="z1")],
        hosts(A),
    ),
    (
        "none for this node: by zone",
        [endpoint(A, nodes="n3", zones="z1"), endpoint(B, nodes="n2", zones="z2")],
        hosts(A),
    ),
    (
        "one without forNodes: by zone",
        [endpoint(A, nodes="n1", zones="z2"), endpoint(B, zones="z1")],
        hosts(B),
    ),
    ("forZones, all hinted: those for this zone", [endpoint(A, zones="z1"), endpoint(B, zones="z2")], hosts(A)),
    ("forZones may name several", [endpoint(A, zones="z2 z1"), endpoint(B, zones="z2")], hosts(A)),
    ("none for this zone: all", [endpoint(A, zones="z2"), endpoint(B, zones="z3")], hosts(A, B)),
    ("one ready endpoint without a hint: all", [endpoint(A, zones="z1"), endpoint(B)], hosts(A, B)),
    ("one without any hint: all", [endpoint(A, nodes="n1"), endpoint(B)], hosts(A, B)),
    (
        "who is not ready needs no hint",
        [endpoint(A, zones="z1"), endpoint(B, zones="z2"), endpoint(C, **OUT_OF_USE), endpoint(D, **TERMINATING)],
        hosts(A),
    ),
    (
        "hints bind ready endpoints, not those that stand in",
        [endpoint(A, zones="z1", **TERMINATING), endpoint(B, zones="z2", **TERMINATING)],
        hosts(A, B),
    ),
    (
        "who is hinted but not ready does not count as one for us",
        [endpoint(A, zones="z1", **OUT_OF_USE), endpoint(B, zones="z2")],
        hosts(B),
    ),
]


@pytest.mark.parametrize(("endpoints", "expected"), [pytest.param(*row[1:], id=row[0]) for row in HINTS])
def test_hints(endpoints: list[Manifest], expected: set[str]) -> None:
    cluster = Cluster.of(everywhere(), endpoint_slice(*endpoints))
    for kind in (FrontendKind.CLUSTER_IP, FrontendKind.NODE_PORT, FrontendKind.LOAD_BALANCER, FrontendKind.EXTERNAL_IP):
        assert cluster.sets(kind)[0] == expected


@pytest.mark.parametrize("zone", ["", "z9"])
def test_hints_for_zones_need_a_node_in_one_of_them(zone: str) -> None:
    slices = endpoint_slice(endpoint(A, zones="z1"), endpoint(B, zones="z2"))
    assert Cluster.of(service(), slices, node=replace(NODE, zone=zone)).sets(FrontendKind.CLUSTER_IP)[0] == hosts(A, B)


def test_a_node_that_moves_to_another_zone_has_other_endpoints() -> None:
    slices = endpoint_slice(endpoint(A, zones="z1"), endpoint(B, zones="z2"))
    moved = Cluster.of(service(), slices, node=replace(NODE, zone="z2"))
    assert moved.sets(FrontendKind.CLUSTER_IP)[0] == hosts(B)


def test_hints_never_narrow_the_local_set() -> None:
    slices = endpoint_slice(endpoint(A, HERE, nodes="n2", zones="z2"), endpoint(B, nodes="n1", zones="z1"))
    cluster = Cluster.of(everywhere(**LOCAL_POLICIES), slices)
    assert cluster.sets(FrontendKind.NODE_PORT) == (hosts(B), hosts(A), True)
    assert cluster.sets(FrontendKind.CLUSTER_IP) == (set(), hosts(A), True)


def test_what_asks_for_hints_is_not_read() -> None:
    """The slice controller writes hints; a proxy follows them, whatever the Service says that it wishes."""
    wishes = service(trafficDistribution="PreferSameNode")
    wishes["metadata"]["annotations"] = {"service.kubernetes.io/topology-mode": "Auto"}
    cluster = Cluster.of(wishes, endpoint_slice(endpoint(A, HERE), endpoint(B)))
    assert cluster.sets(FrontendKind.CLUSTER_IP)[0] == hosts(A, B)


# -- slices ----------------------------------------------------------------------------------------------------------


def cluster_set(*slices: Manifest, **spec: Any) -> set[str]:
    return Cluster.of(service(**spec), *slices).sets(FrontendKind.CLUSTER_IP)[0]


def test_slices_of_one_service_are_one_set() -> None:
    assert cluster_set(endpoint_slice(endpoint(A)), endpoint_slice(endpoint(B), name="web-2")) == hosts(A, B)


def test_a_slice_belongs_to_the_service_that_its_label_names_in_its_namespace() -> None:
    assert cluster_set(endpoint_slice(endpoint(A), of="other")) == set()
    elsewhere = endpoint_slice(endpoint(A))
    elsewhere["metadata"]["namespace"] = "office"
    assert cluster_set(elsewhere) == set()
    nobodys = endpoint_slice(endpoint(A))
    nobodys["metadata"]["labels"] = {}
    assert cluster_set(nobodys) == set()


def test_slices_may_be_split_and_moved_without_a_change() -> None:
    one = Cluster.of(service(), endpoint_slice(endpoint(A), endpoint(B)))
    split = one.then(service(), endpoint_slice(endpoint(B), name="web-9"), endpoint_slice(endpoint(A), name="web-8"))
    assert split.tables.frontends == one.tables.frontends
    assert split.tables.backends == one.tables.backends
    moving = one.then(service(), endpoint_slice(endpoint(A), endpoint(B)), endpoint_slice(endpoint(A), name="web-2"))
    assert moving.tables.backends == one.tables.backends


def test_an_endpoint_of_several_slices_is_one_and_a_local_one_wins() -> None:
    slices = (endpoint_slice(endpoint(A, THERE)), endpoint_slice(endpoint(A, HERE), name="web-2"))
    for order in (slices, slices[::-1]):
        cluster = Cluster.of(everywhere(externalTrafficPolicy="Local"), *order)
        assert cluster.sets(FrontendKind.NODE_PORT) == (hosts(A), hosts(A), True)
        assert [row.flags for row in cluster.tables.backends.values()] == [BackendFlag.LOCAL]


def test_only_the_first_address_of_an_endpoint_counts() -> None:
    assert cluster_set(endpoint_slice({"addresses": [A, B]})) == hosts(A)


def test_a_slice_of_the_other_family_or_of_names_is_passed_over() -> None:
    six = endpoint_slice(endpoint("fd00::1"), name="web-6", addressType="IPv6")
    names = endpoint_slice(endpoint("example.org"), name="web-n", addressType="FQDN")
    assert cluster_set(endpoint_slice(endpoint(A)), six, names) == hosts(A)


def test_an_address_of_the_other_family_is_passed_over_alone() -> None:
    assert cluster_set(endpoint_slice(endpoint("fd00::1"), endpoint(A))) == hosts(A)


def test_each_family_of_a_service_has_its_own_endpoints() -> None:
    dual = service(clusterIP=CLUSTER_IP, clusterIPs=[CLUSTER_IP, "fd00:96::1"], ipFamilies=["IPv4", "IPv6"])
    slices = (endpoint_slice(endpoint(A)), endpoint_slice(endpoint("fd00::1"), name="web-6", addressType="IPv6"))
    assert Cluster.of(dual, *slices).sets(FrontendKind.CLUSTER_IP)[0] == hosts(A)
    six = Cluster.of(dual, *slices, family=Family.IPV6)
    assert six.sets(FrontendKind.CLUSTER_IP)[0] == {"[fd00::1]:8080"}


def test_endpoints_anywhere_will_do_where_no_selector_chose_them() -> None:
    assert cluster_set(endpoint_slice(endpoint("198.51.100.77", None))) == hosts("198.51.100.77")


def test_a_slice_with_the_headless_label_is_passed_over() -> None:
    assert cluster_set(endpoint_slice(endpoint(A), labels={"service.kubernetes.io/headless": ""})) == set()


# -- ports -----------------------------------------------------------------------------------------------------------


def test_ports_are_matched_by_name_and_target_ports_are_not_read() -> None:
    ports = [{"name": "http", "port": 80, "targetPort": 9}, {"name": "metrics", "port": 90, "targetPort": "http"}]
    listed = endpoint_slice(endpoint(A), ports=[{"name": "metrics", "port": 9090}, {"name": "http", "port": 8080}])
    cluster = Cluster.of(service(ports=ports), listed)
    assert cluster.sets(FrontendKind.CLUSTER_IP, 80)[0] == hosts(A)
    assert cluster.sets(FrontendKind.CLUSTER_IP, 90)[0] == hosts(A, port=9090)


def test_one_name_may_be_two_numbers() -> None:
    old = endpoint_slice(endpoint(A), ports=[{"name": "http", "port": 8080}])
    new = endpoint_slice(endpoint(B), name="web-2", ports=[{"name": "http", "port": 9090}])
    assert cluster_set(old, new) == hosts(A) | hosts(B, port=9090)


def test_two_numbers_at_one_address_are_two_endpoints() -> None:
    other = endpoint_slice(endpoint(A), name="web-2", ports=[{"name": "http", "port": 9090}])
    assert cluster_set(endpoint_slice(endpoint(A)), other) == hosts(A) | hosts(A, port=9090)


def test_a_port_without_a_name_matches_one_without_a_name() -> None:
    unnamed = {"ports": [{"port": 80}]}
    assert cluster_set(endpoint_slice(endpoint(A), ports=[{"name": "", "port": 8080}]), **unnamed) == hosts(A)
    assert cluster_set(endpoint_slice(endpoint(A)), **unnamed) == set()


def test_a_port_without_a_number_is_passed_over() -> None:
    listed = endpoint_slice(endpoint(A), ports=[{"name": "http"}, {"name": "http", "port": 8080}])
    assert cluster_set(listed) == hosts(A)
    assert cluster_set(endpoint_slice(endpoint(A), ports=[{"name": "http", "port": None}])) == set()
    assert cluster_set(endpoint_slice(endpoint(A), ports=None)) == set()


def test_one_number_on_two_protocols_is_two_ports() -> None:
    ports = [{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53, "protocol": "TCP"}]
    listed = endpoint_slice(
        endpoint(A),
        ports=[
            {"name": "dns", "port": 5353, "protocol": "UDP"},
            {"name": "dns-tcp", "port": 5354, "protocol": "TCP"},
        ],
    )
    cluster = Cluster.of(service(ports=ports), listed)
    assert cluster.ask(POD, CLUSTER_IP, 53, Protocol.UDP).backends == (f"{A}:5353",)
    assert cluster.ask(POD, CLUSTER_IP, 53, Protocol.TCP).backends == (f"{A}:5354",)


def test_the_protocol_of_a_slice_s_port_counts() -> None:
    assert cluster_set(endpoint_slice(endpoint(A), ports=[{"name": "http", "port": 8080, "protocol": "UDP"}])) == set()
