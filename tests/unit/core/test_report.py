"""What an operator reads when Services and endpoints change: kube-proxy's words, each change once."""

from dataclasses import replace
from typing import Any

import pytest

from ebpflb.core.abi import Family, Protocol
from ebpflb.core.changes import changes_between
from ebpflb.core.model import Endpoint, EndpointPort, EndpointSlice, Service, ServicePort, ServiceType, Snapshot
from ebpflb.core.model import parse_address as packed
from ebpflb.core.report import Misplaced, misplaced_addresses, service_lines
from tests.unit.core.factories import snapshot

BOTH = (Family.IPV4, Family.IPV6)
EMPTY = snapshot()
PORT = ServicePort("default", Protocol.TCP, 80)


def hostnames(*ports: ServicePort, ips: tuple[str, ...] = ("10.0.1.175",), **rest: Any) -> Service:
    addresses = tuple(packed(ip) for ip in ips)
    return Service("default", "hostnames", ServiceType.CLUSTER_IP, ports or (PORT,), addresses, **rest)


def pods(*ips: str, name: str = "hostnames-1", port: str = "default", **rest: Any) -> EndpointSlice:
    endpoints = tuple(Endpoint(packed(ip), **rest) for ip in ips)
    family = Family.IPV6 if ips and ":" in ips[0] else Family.IPV4
    return EndpointSlice("default", name, "hostnames", family, (EndpointPort(port, Protocol.TCP, 9376),), endpoints)


THREE = pods("10.244.0.6", "10.244.0.5", "10.244.0.7")
SERVED = snapshot(hostnames(), THREE)


def lines(before: Snapshot, after: Snapshot, **rest: Any) -> list[str]:
    return list(service_lines(changes_between(before, after).touched(), before, after, BOTH, **rest))


def misplaced(before: Snapshot, after: Snapshot) -> list[Misplaced]:
    return list(misplaced_addresses(changes_between(before, after).slices))


def test_a_new_service_and_its_endpoints() -> None:
    assert lines(EMPTY, SERVED) == [
        'Adding new service port "default/hostnames:default" at 10.0.1.175:80/TCP',
        "Setting endpoints for default/hostnames:default to [10.244.0.5:9376 10.244.0.6:9376 10.244.0.7:9376]",
    ]


def test_nothing_is_said_when_nothing_changed() -> None:
    assert lines(SERVED, SERVED) == []


def test_a_service_that_is_gone() -> None:
    assert lines(SERVED, EMPTY) == ['Removing service port "default/hostnames:default"']


@pytest.mark.parametrize(
    ("now", "shown"),
    [
        (pods("10.244.0.5"), "10.244.0.5:9376"),
        (pods(), ""),
        (pods("10.244.0.5", ready=False), ""),
        (pods("10.244.0.5", ready=False, serving=True, terminating=True), "10.244.0.5:9376"),
        (replace(THREE, ports=(EndpointPort("other", Protocol.TCP, 1),)), ""),
    ],
)
def test_endpoints_that_change(now: EndpointSlice, shown: str) -> None:
    after = snapshot(hostnames(), now)
    assert lines(replace(SERVED, services=after.services), after) == [
        f"Setting endpoints for default/hostnames:default to [{shown}]"
    ]


def test_what_moves_between_slices_is_no_change() -> None:
    moved = snapshot(pods("10.244.0.5"), pods("10.244.0.6", "10.244.0.7", name="hostnames-2"))
    assert lines(SERVED, replace(moved, services=SERVED.services)) == []


def test_hints_and_the_node_make_no_difference() -> None:
    hinted = tuple(replace(each, for_nodes=("n1",), node_name="n1") for each in THREE.endpoints[:1])
    after = replace(SERVED, slices={THREE.key: replace(THREE, endpoints=(*hinted, *THREE.endpoints[1:]))})
    assert lines(SERVED, after) == []


def test_each_family_has_its_lines() -> None:
    dual = snapshot(hostnames(ips=("10.0.1.175", "fd00::af")), THREE, pods("fd00::1", name="hostnames-6"))
    assert lines(EMPTY, dual)[2:] == [
        'Adding new service port "default/hostnames:default" at [fd00::af]:80/TCP',
        "Setting endpoints for default/hostnames:default to [[fd00::1]:9376]",
    ]
    only = list(service_lines(changes_between(EMPTY, dual).touched(), EMPTY, dual, [Family.IPV6]))
    assert only == lines(EMPTY, dual)[2:]


def test_a_port_without_a_name_and_one_that_changes_its_protocol() -> None:
    unnamed = ServicePort("", Protocol.TCP, 80)
    before = snapshot(hostnames(unnamed), pods("10.244.0.5", port=""))
    assert lines(EMPTY, before) == [
        'Adding new service port "default/hostnames" at 10.0.1.175:80/TCP',
        "Setting endpoints for default/hostnames to [10.244.0.5:9376]",
    ]
    after = replace(before, services={("default", "hostnames"): hostnames(replace(unnamed, protocol=Protocol.UDP))})
    assert lines(before, after) == [
        'Removing service port "default/hostnames"',
        'Adding new service port "default/hostnames" at 10.0.1.175:80/UDP',
    ]


def test_a_service_that_changes() -> None:
    changed = hostnames(replace(PORT, port=8080), ServicePort("more", Protocol.UDP, 53))
    after = replace(SERVED, services={changed.key: changed})
    assert lines(SERVED, after) == [
        'Updating existing service port "default/hostnames:default" at 10.0.1.175:8080/TCP',
        'Adding new service port "default/hostnames:more" at 10.0.1.175:53/UDP',
    ]
    external = replace(hostnames(), type=ServiceType.EXTERNAL_NAME)
    outside = replace(SERVED, services={external.key: external})
    assert lines(SERVED, outside) == ['Removing service port "default/hostnames:default"']
    assert lines(outside, SERVED) == lines(EMPTY, SERVED)


def test_a_line_shows_so_many_endpoints_and_the_number_of_the_rest() -> None:
    expected = "Setting endpoints for default/hostnames:default to [10.244.0.5:9376 and 2 more]"
    assert lines(EMPTY, SERVED, most=1)[1] == expected
    assert lines(EMPTY, SERVED, most=3)[1].endswith("10.244.0.7:9376]")


def test_endpoints_of_a_service_that_nobody_has_are_not_told() -> None:
    assert lines(EMPTY, snapshot(THREE)) == []


def test_addresses_of_the_other_family_are_found_once() -> None:
    wrong = pods("10.244.0.5", "fd00::2", "fd00::1")
    before, after = snapshot(hostnames(), THREE), snapshot(hostnames(), wrong)
    found = Misplaced(("default", "hostnames"), "hostnames-1", "fd00::1")
    assert misplaced(before, after) == [found]
    assert misplaced(EMPTY, after) == [found]
    less = snapshot(hostnames(), pods("10.244.0.5", "fd00::2"))
    assert misplaced(after, less) == misplaced(after, EMPTY) == []
    assert misplaced(less, after) == [found]
