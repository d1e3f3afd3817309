"""Which backends this node's stack delivers to."""

import pytest

from ebpflb.core.abi import BackendFlag, Family, Protocol
from ebpflb.core.compile import compile_tables
from ebpflb.core.ids import Allocation
from ebpflb.core.model import (
    Endpoint,
    EndpointPort,
    EndpointSlice,
    Host,
    Node,
    Service,
    ServicePort,
    ServiceType,
    Snapshot,
    parse_address,
)
from ebpflb.core.placement import Placement
from tests.unit.core.factories import ROOMY, dialled

NODE = Node("n", pod_cidrs=("10.244.1.0/24", "fd00:1::/64"))
HOST = Host(frozenset({parse_address("192.168.0.1"), parse_address("fd00::1")}))


@pytest.mark.parametrize(
    ("family", "text", "is_here"),
    [
        (Family.IPV4, "192.168.0.1", True),
        (Family.IPV4, "192.168.0.2", False),
        (Family.IPV4, "10.244.1.0", True),
        (Family.IPV4, "10.244.1.255", True),
        (Family.IPV4, "10.244.2.0", False),
        (Family.IPV6, "fd00::1", True),
        (Family.IPV6, "fd00:1::ff", True),
        (Family.IPV6, "fd00:2::1", False),
    ],
)
def test_addresses_of_the_node_and_of_its_pods_are_here(family: Family, text: str, is_here: bool) -> None:
    assert Placement.of(NODE, HOST, family).is_here(parse_address(text)) is is_here


def test_a_node_without_pod_networks_has_its_addresses_only() -> None:
    placement = Placement.of(Node("n"), HOST, Family.IPV4)
    assert placement.is_here(parse_address("192.168.0.1"))
    assert not placement.is_here(parse_address("10.244.1.1"))


def test_an_endpoint_without_a_node_name_is_delivered_here_but_is_not_local() -> None:
    """`default/kubernetes` on a control-plane node; policy Local still goes by nodeName."""
    endpoints = (Endpoint(parse_address("192.168.0.1")), Endpoint(parse_address("192.168.0.2")))
    ports = (EndpointPort("https", Protocol.TCP, 6443),)
    service = Service(
        "default",
        "kubernetes",
        ServiceType.CLUSTER_IP,
        (ServicePort("https", Protocol.TCP, 443),),
        (parse_address("10.96.0.1"),),
    )
    snapshot = Snapshot(
        NODE,
        {service.key: service},
        {("default", "s"): EndpointSlice("default", "s", "kubernetes", Family.IPV4, ports, endpoints)},
        HOST,
    )
    tables = compile_tables(snapshot, Family.IPV4, Allocation(), ROOMY).tables
    flags = {backend.key.address: backend.flags for backend in tables.backends.values()}
    assert flags == {endpoints[0].address: BackendFlag.LOCAL, endpoints[1].address: BackendFlag(0)}
    (frontend,) = dialled(tables).values()
    assert frontend.local.length == 0
