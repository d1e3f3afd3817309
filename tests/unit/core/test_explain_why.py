"""Every reason for which an endpoint is not chosen, and what is said of hints."""

from dataclasses import replace
from typing import Any

import pytest

from ebpflb.core.abi import Family, Protocol
from ebpflb.core.explain import Flow, Hook, decide
from ebpflb.core.explain_snapshot import index_of
from ebpflb.core.explain_why import Weighing, weigh
from ebpflb.core.model import (
    EndpointPort,
    EndpointSlice,
    Node,
    Service,
    ServicePort,
    ServiceType,
    Snapshot,
    parse_address,
)
from ebpflb.core.options import DEFAULTS
from tests.unit.core.factories import HERE, HTTP, endpoint, endpoint_slice, service, snapshot

LEAVING: dict[str, Any] = {"ready": False, "serving": True, "terminating": True}
GONE: dict[str, Any] = {"ready": False, "serving": False, "terminating": True}


def weighed(*objects: Service | EndpointSlice, target: str = "10.96.0.1", port: int = 80, zone: str = "a") -> Weighing:
    known = snapshot(*objects, node=Node(HERE, zone=zone))
    return weighing(known, target, port)


def weighing(known: Snapshot, target: str, port: int = 80) -> Weighing:
    flow = Flow(parse_address("198.51.100.1"), parse_address(target), port, Protocol.TCP)
    decision = decide(index_of(known, Family.IPV4, DEFAULTS).index, flow, Hook.PACKET)
    return weigh(known, decision, Family.IPV4)


def reasons(found: Weighing) -> dict[str, str]:
    """What is said of each; the chosen ones have a star."""
    return {("*" if each.is_chosen else "") + each.who: each.reason for each in found.endpoints}


def test_an_ordinary_service() -> None:
    found = weighed(service(), endpoint_slice(endpoint("10.0.0.1", HERE), endpoint("10.0.0.2")))
    assert reasons(found) == {"*10.0.0.1:8080": "", "*10.0.0.2:8080": ""}
    assert [each.node_name for each in found.endpoints] == [HERE, "n2"]
    assert found.topology == "no hints"


def test_conditions() -> None:
    found = weighed(
        service(),
        endpoint_slice(
            endpoint("10.0.0.1"),
            endpoint("10.0.0.2", ready=False),
            endpoint("10.0.0.3", **LEAVING),
            endpoint("10.0.0.4", **GONE),
        ),
    )
    assert reasons(found) == {
        "*10.0.0.1:8080": "",
        "10.0.0.2:8080": "not ready",
        "10.0.0.3:8080": "terminating: it would stand in if none was ready",
        "10.0.0.4:8080": "terminating, and it serves no more",
    }


def test_standing_in() -> None:
    found = weighed(service(), endpoint_slice(endpoint("10.0.0.3", **LEAVING), endpoint("10.0.0.2", ready=False)))
    assert reasons(found) == {
        "*10.0.0.3:8080": "terminating: it stands in, as none is ready",
        "10.0.0.2:8080": "not ready",
    }
    assert found.topology == "no endpoint is ready, so those that terminate and still serve stand in"


@pytest.mark.parametrize("flags", [{"internal_local": True}, {}])
def test_policy_local(flags: dict[str, Any]) -> None:
    external = {"type": ServiceType.LOAD_BALANCER, "external_local": True}
    each = service(**(flags or external), load_balancer_ips=(parse_address("203.0.113.1"),))
    found = weighed(
        each,
        endpoint_slice(
            endpoint("10.0.0.1", HERE),
            endpoint("10.0.0.2"),
            endpoint("10.0.0.3", ""),
            endpoint("10.0.0.4", HERE, **LEAVING),
            endpoint("10.0.0.5", **LEAVING),
        ),
        target="10.96.0.1" if flags else "203.0.113.1",
    )
    assert reasons(found) == {
        "*10.0.0.1:8080": "",
        "10.0.0.4:8080": "terminating: it would stand in if none was ready",
        "10.0.0.2:8080": "not on this node: it is on n2",
        "10.0.0.3:8080": "not on this node: it names no node",
        "10.0.0.5:8080": "not on this node: it is on n2",
    }
    assert found.topology == ""


def test_none_on_this_node() -> None:
    found = weighed(service(internal_local=True), endpoint_slice(endpoint("10.0.0.2")))
    assert reasons(found) == {"10.0.0.2:8080": "not on this node: it is on n2"}


def test_who_is_kept_out_asked_for_no_endpoint() -> None:
    each = service(
        type=ServiceType.LOAD_BALANCER,
        load_balancer_ips=(parse_address("203.0.113.1"),),
        source_ranges=("192.0.2.0/24",),
    )
    endpoints = (endpoint("10.0.0.1"), endpoint("10.0.0.2", ready=False), endpoint("10.0.0.3", **LEAVING))
    found = weighed(each, endpoint_slice(*endpoints), target="203.0.113.1")
    assert set(reasons(found).values()) == {"not asked for: the packet does not get that far"}
    assert (len(found.endpoints), found.topology) == (3, "")


HINTED = [
    ({"for_nodes": (HERE,), "for_zones": ("a",)}, {"for_nodes": ("n2", "n3"), "for_zones": ("a",)}),
    ({"for_zones": ("a",)}, {"for_zones": ("b", "c")}),
]


@pytest.mark.parametrize(
    ("hints", "topology", "reason"),
    [
        (HINTED[0], "hints for node n1", "hinted for node n2, n3"),
        (HINTED[1], "hints for zone a", "hinted for zone b, c"),
    ],
)
def test_hints(hints: tuple[dict[str, Any], dict[str, Any]], topology: str, reason: str) -> None:
    found = weighed(service(), endpoint_slice(endpoint("10.0.0.1", **hints[0]), endpoint("10.0.0.2", **hints[1])))
    assert reasons(found) == {"*10.0.0.1:8080": "", "10.0.0.2:8080": reason}
    assert found.topology == topology


@pytest.mark.parametrize(
    ("second", "zone", "topology"),
    [
        ({}, "a", "hints do not count: 10.0.0.2:8080 has none"),
        ({"for_zones": ("b",)}, "", "hints do not count: the Node has no label topology.kubernetes.io/zone"),
        ({"for_zones": ("b",)}, "c", "hints do not count: not all name zones, or none names c"),
    ],
)
def test_hints_that_do_not_count(second: dict[str, Any], zone: str, topology: str) -> None:
    slices = endpoint_slice(endpoint("10.0.0.1", for_zones=("a",)), endpoint("10.0.0.2", **second))
    found = weighed(service(), slices, zone=zone)
    assert list(reasons(found)) == ["*10.0.0.1:8080", "*10.0.0.2:8080"]
    assert found.topology == topology


def test_slices_that_are_out_of_the_question() -> None:
    other_port = EndpointPort("https", Protocol.TCP, 8443)
    found = weighed(
        service(),
        endpoint_slice(endpoint("10.0.0.1")),
        endpoint_slice(endpoint("10.0.0.2"), endpoint("10.0.0.3"), name="web-2", ports=(other_port,)),
        endpoint_slice(endpoint("fd00::1"), name="web-6", family=Family.IPV6),
    )
    assert reasons(found) == {
        "*10.0.0.1:8080": "",
        "EndpointSlice web-2 (2 endpoints)": "no TCP port named 'http'",
        "EndpointSlice web-6 (1 endpoint)": "IPv6, and the packet is IPv4",
    }


def test_an_unnamed_port() -> None:
    found = weighed(service(ports=(ServicePort("", Protocol.TCP, 80),)), endpoint_slice(endpoint("10.0.0.1")))
    assert reasons(found) == {"EndpointSlice web-1 (1 endpoint)": "no TCP unnamed port"}


def test_the_other_family_asks_the_same() -> None:
    known = snapshot(
        replace(service(), cluster_ips=(parse_address("fd00:96::1"),)),
        endpoint_slice(endpoint("fd00::1"), family=Family.IPV6),
        endpoint_slice(endpoint("10.0.0.1"), name="web-4"),
    )
    flow = Flow(parse_address("fd00::9"), parse_address("fd00:96::1"), 80, Protocol.TCP)
    decision = decide(index_of(known, Family.IPV6, DEFAULTS).index, flow)
    assert reasons(weigh(known, decision, Family.IPV6)) == {
        "*[fd00::1]:8080": "",
        "EndpointSlice web-4 (1 endpoint)": "IPv4, and the packet is IPv6",
    }


def test_what_belongs_to_no_service_port_has_no_endpoints() -> None:
    known = snapshot(service(), endpoint_slice(endpoint("10.0.0.1")))
    assert weighing(known, "10.96.0.1", 81) == Weighing()
    assert weighing(known, "10.96.0.9") == Weighing()
    flow = Flow(parse_address("10.0.0.9"), parse_address("10.96.0.1"), 80, Protocol.TCP)
    decision = decide(index_of(known, Family.IPV4, DEFAULTS).index, flow)
    renamed = replace(service(), ports=(replace(HTTP, name="other"),))
    assert weigh(replace(known, services={renamed.key: renamed}), decision, Family.IPV4) == Weighing()
