"""Semantics §1.1 to §1.3, sentence by sentence: API objects in, and out what a client can dial and who answers.

Documents go the way that a source's do: read, put into the inbox, compiled. Rows are named after the rule.
"""

import copy
from collections.abc import Mapping
from typing import Any

import pytest

from ebpflb.core.abi import Family
from ebpflb.core.compile import Allocation, compile_tables
from ebpflb.core.manifest import Invisible, convert
from ebpflb.core.model import (
    EndpointSlice,
    Host,
    Node,
    Service,
    ServiceCIDR,
    format_endpoint,
)
from ebpflb.core.tables import FrontendKey, Range, Tables
from ebpflb.reconcile.clock import Clock
from ebpflb.reconcile.inbox import Inbox
from ebpflb.reconcile.ports import Kind, ModelObject
from tests.unit.core.factories import ROOMY, dialled

Object = dict[str, Any]

HEADLESS = "service.kubernetes.io/headless"
PROXY_NAME = "service.kubernetes.io/service-proxy-name"
KINDS: Mapping[type[ModelObject], Kind] = {
    Service: Kind.SERVICE,
    EndpointSlice: Kind.ENDPOINT_SLICE,
    Node: Kind.NODE,
    ServiceCIDR: Kind.SERVICE_CIDR,
}
OWN = "n1"
HTTP = {"name": "http", "port": 80}
POD, OTHER_POD = "10.244.1.11", "10.244.2.12"
ANSWERED = {"10.96.0.10:80/TCP": [f"{POD}:8080"]}
REJECTED: dict[str, list[str]] = {"10.96.0.10:80/TCP": []}
UNKNOWN: dict[str, list[str]] = {}


def web(*ports: Object, labels: Object | None = None, ingress: Any = None, **spec: Any) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": "demo", "labels": labels},
        "spec": {"clusterIP": "10.96.0.10", "ports": list(ports or [HTTP]), **spec},
        "status": {"loadBalancer": {"ingress": ingress}},
    }


def endpoint(*addresses: str, **fields: Any) -> Object:
    return {"addresses": list(addresses), **fields}


def pods(*endpoints: Object, name: str = "web-1", labels: Object | None = None, **fields: Any) -> Object:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": name,
            "namespace": "demo",
            "labels": {"kubernetes.io/service-name": "web", **(labels or {})},
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": list(endpoints or [endpoint(POD)]),
        **fields,
    }


def node(**fields: Any) -> Object:
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": OWN}, **fields}


class World:
    """One node's inbox, and what is compiled of it."""

    def __init__(self) -> None:
        self._inbox = Inbox(OWN, Clock(), quiet_s=-1.0, max_delay_s=-1.0)
        for kind in Kind:
            self._inbox.replace(kind, [])
        self._inbox.host(Host())
        self._allocation = Allocation()

    def apply(self, *documents: Object) -> None:
        for document in copy.deepcopy(documents):
            converted = convert(document)
            if isinstance(converted, Invisible):
                self._inbox.delete(Kind(converted.kind), converted.key)
            else:
                self._inbox.upsert(KINDS[type(converted)], converted)

    def tables(self, family: Family) -> Tables:
        self._inbox.host(Host(frozenset({bytes([10, 0, 0, 1])})))
        batch = self._inbox.take()
        assert batch is not None
        self._inbox.host(Host())
        compiled = compile_tables(batch.snapshot, family, self._allocation, ROOMY)
        self._allocation = compiled.allocation
        return compiled.tables

    def served(self, family: Family = Family.IPV4) -> dict[str, list[str]]:
        """Return what can be dialled, and the backends of the cluster set behind it."""
        tables = self.tables(family)
        return {_text(key): _backends(tables, row.cluster) for key, row in dialled(tables).items()}


def _text(key: FrontendKey) -> str:
    where = format_endpoint(key.address, key.port) if any(key.address) else f"nodePort:{key.port}"
    return f"{where}/{key.protocol.name}"


def _backends(tables: Tables, where: Range) -> list[str]:
    ids = tables.slots[where].tolist() if where.length else []
    keys = {tables.backends[number].key for number in ids}
    return sorted(format_endpoint(key.address, key.port) for key in keys)


def served(*documents: Object, family: Family = Family.IPV4) -> dict[str, list[str]]:
    world = World()
    world.apply(*documents)
    return world.served(family)


@pytest.mark.parametrize(
    ("service", "expected"),
    [
        pytest.param(web(), ANSWERED, id="one with a ClusterIP is served"),
        pytest.param(web(labels={PROXY_NAME: ""}), UNKNOWN, id="service-proxy-name with any value hides it: empty"),
        pytest.param(web(labels={PROXY_NAME: "x"}), UNKNOWN, id="service-proxy-name with any value hides it: other"),
        pytest.param(web(labels={HEADLESS: ""}), UNKNOWN, id="headless label with a ClusterIP: unknown to us"),
        pytest.param(web(clusterIP=""), UNKNOWN, id="clusterIP empty is skipped"),
        pytest.param(web(clusterIP="None"), UNKNOWN, id="clusterIP None is skipped"),
        pytest.param(web(type="ExternalName"), UNKNOWN, id="ExternalName is skipped, with a stray clusterIP"),
        pytest.param(web(selector={}), ANSWERED, id="without a selector: nothing special"),
        pytest.param(web(publishNotReadyAddresses=True), ANSWERED, id="publishNotReadyAddresses is not read"),
        pytest.param(web(anything=["else"]), ANSWERED, id="unknown fields are ignored"),
        pytest.param(
            web(HTTP, {"name": "dns", "port": 80, "protocol": "UDP"}),
            {**ANSWERED, "10.96.0.10:80/UDP": []},
            id="the same number on two protocols is two entries",
        ),
        pytest.param(
            web(
                {**HTTP, "nodePort": 30080},
                {"name": "dns", "port": 53, "protocol": "UDP", "nodePort": 30080},
                type="NodePort",
            ),
            {
                **ANSWERED,
                "10.96.0.10:53/UDP": [],
                "nodePort:30080/TCP": [f"{POD}:8080"],
                "nodePort:30080/UDP": [],
            },
            id="the same NodePort on two protocols is two entries",
        ),
        pytest.param(web({"port": 80}), REJECTED, id="key is the port name: an unnamed port is not the named one"),
        pytest.param(web({"name": "sig", "port": 80, "protocol": "SCTP"}), {"10.96.0.10:80/SCTP": []}, id="SCTP"),
        pytest.param(web(clusterIP="010.096.0.010"), ANSWERED, id="sloppy: leading zeros are decimal"),
        pytest.param(
            web(ingress=[{"ip": "203.0.113.1"}, {"ip": "203.0.113.2", "ipMode": "VIP"}], type="LoadBalancer"),
            {**ANSWERED, "203.0.113.1:80/TCP": [f"{POD}:8080"], "203.0.113.2:80/TCP": [f"{POD}:8080"]},
            id="VIPs: ipMode unset or VIP",
        ),
        pytest.param(
            web(
                {**HTTP, "nodePort": 30080},
                ingress=[{"ip": "203.0.113.1", "ipMode": "Proxy"}, {"hostname": "lb.example"}, {"ip": ""}],
                type="LoadBalancer",
            ),
            {**ANSWERED, "nodePort:30080/TCP": [f"{POD}:8080"]},
            id="ipMode Proxy and hostnames are not programmed, the NodePort still is",
        ),
        pytest.param(
            web(ingress=[{"ip": "203.0.113.1"}], type="LoadBalancer", allocateLoadBalancerNodePorts=False),
            {**ANSWERED, "203.0.113.1:80/TCP": [f"{POD}:8080"]},
            id="allocateLoadBalancerNodePorts false: the VIP works, no NodePort",
        ),
        pytest.param(
            web(externalIPs=["203.0.113.9", "2001:db8::9"], ingress=[{"ip": "2001:db8::1"}]),
            {**ANSWERED, "203.0.113.9:80/TCP": [f"{POD}:8080"]},
            id="addresses of the wrong family are ignored without a word",
        ),
    ],
)
def test_which_services_are_served_and_where(service: Object, expected: dict[str, list[str]]) -> None:
    assert served(service, pods()) == expected


@pytest.mark.parametrize(
    ("spec", "ipv4", "ipv6"),
    [
        pytest.param({}, ["10.96.0.10"], [], id="only clusterIP"),
        pytest.param({"clusterIPs": ["10.96.0.10", "fd00::a"]}, ["10.96.0.10"], ["fd00::a"], id="dual"),
        pytest.param(
            {"clusterIPs": ["fd00::a", "10.96.0.10"], "ipFamilies": ["IPv6", "IPv4"]},
            ["10.96.0.10"],
            ["fd00::a"],
            id="the element whose ipFamilies entry matches",
        ),
        pytest.param(
            {"clusterIPs": ["fd00::a"], "externalIPs": ["203.0.113.9", "2001:db8::9"]},
            [],
            ["2001:db8::9", "fd00::a"],
            id="without a ClusterIP of the family it has nothing there",
        ),
    ],
)
def test_each_family_takes_its_own(spec: Object, ipv4: list[str], ipv6: list[str]) -> None:
    documents = (web(**spec), pods())
    assert sorted(served(*documents)) == [f"{ip}:80/TCP" for ip in ipv4]
    assert sorted(served(*documents, family=Family.IPV6)) == [f"[{ip}]:80/TCP" for ip in ipv6]


@pytest.mark.parametrize(
    ("slices", "expected"),
    [
        pytest.param([pods(addressType="FQDN", endpoints=[endpoint("x.y")])], [], id="FQDN is ignored"),
        pytest.param([pods(labels={HEADLESS: ""})], [], id="the headless label hides a slice"),
        pytest.param([pods(labels={PROXY_NAME: "x"})], [f"{POD}:8080"], id="service-proxy-name does not hide slices"),
        pytest.param([pods(endpoint(POD, OTHER_POD, "nonsense"))], [f"{POD}:8080"], id="only addresses[0]"),
        pytest.param([pods(ports=None)], [], id="nil ports"),
        pytest.param([pods(ports=[{"name": "http"}])], [], id="a port with a nil number is ignored"),
        pytest.param([pods(ports=[{"name": "http", "port": 0}])], [], id="a port with number 0 is ignored"),
        pytest.param([pods(ports=[{"port": 8080}])], [], id="a nil name is the unnamed port, not ours"),
        pytest.param([pods(ports=[{"name": "http", "port": 8080}])], [f"{POD}:8080"], id="protocol defaults to TCP"),
        pytest.param(
            [pods(ports=[{"name": "http", "port": 8080, "protocol": "UDP"}])], [], id="ports match by protocol, too"
        ),
        pytest.param([pods(endpoint("192.0.2.77"))], ["192.0.2.77:8080"], id="an address outside the cluster"),
        pytest.param([pods(endpoint(POD), endpoint("010.244.001.011"))], [f"{POD}:8080"], id="duplicates are one"),
        pytest.param([pods(), pods(name="web-2")], [f"{POD}:8080"], id="the same in two slices is one endpoint"),
        pytest.param(
            [pods(), pods(endpoint(OTHER_POD), name="web-2")],
            [f"{POD}:8080", f"{OTHER_POD}:8080"],
            id="all slices of a Service are one set",
        ),
        pytest.param(
            [pods(), pods(endpoint(OTHER_POD), name="web-2", ports=[{"name": "http", "port": 9090}])],
            [f"{POD}:8080", f"{OTHER_POD}:9090"],
            id="a named port may be two numbers",
        ),
        pytest.param(
            [pods(), pods(endpoint("fd00::b"), name="web-6", addressType="IPv6")],
            [f"{POD}:8080"],
            id="slices of the other family",
        ),
        pytest.param([pods(endpoint("fd00::b"), endpoint(POD))], [f"{POD}:8080"], id="wrong family: ignored alone"),
        pytest.param(
            [pods(endpoint(POD, conditions={"ready": None, "serving": None, "terminating": None}))],
            [f"{POD}:8080"],
            id="ready nil is true",
        ),
        pytest.param(
            [pods(endpoint(POD, conditions={"ready": False, "serving": None, "terminating": True}))],
            [f"{POD}:8080"],
            id="serving nil is true",
        ),
        pytest.param(
            [pods(endpoint(POD, conditions={"ready": False, "serving": True, "terminating": None}))],
            [],
            id="terminating nil is false",
        ),
    ],
)
def test_who_answers(slices: list[Object], expected: list[str]) -> None:
    assert served(web(), *slices) == {"10.96.0.10:80/TCP": expected}


@pytest.mark.parametrize(
    ("slices", "expected"),
    [
        pytest.param([pods(endpoint(POD, nodeName=OWN))], [f"{POD}:8080"], id="nodeName is ours"),
        pytest.param([pods(endpoint(POD, nodeName="n2"))], [], id="nodeName is another's"),
        pytest.param([pods(endpoint(POD))], [], id="nodeName is not set"),
        pytest.param(
            [pods(endpoint(POD, nodeName="n2")), pods(endpoint(POD, nodeName=OWN), name="web-2")],
            [f"{POD}:8080"],
            id="of two that are one, the local one wins",
        ),
    ],
)
def test_who_is_local(slices: list[Object], expected: list[str]) -> None:
    world = World()
    world.apply(web(internalTrafficPolicy="Local"), *slices)
    tables = world.tables(Family.IPV4)
    (row,) = dialled(tables).values()
    assert _backends(tables, row.local) == expected


@pytest.mark.parametrize(
    ("spec", "is_local"),
    [
        ({"type": "ClusterIP"}, False),
        ({"type": "ClusterIP", "externalIPs": ["203.0.113.9"]}, True),
        ({"type": "NodePort", "ports": [{**HTTP, "nodePort": 30080}]}, True),
        ({"type": "LoadBalancer"}, True),
    ],
)
def test_external_policy_local_counts_for_nodeports_load_balancers_and_external_ips(
    spec: Object, is_local: bool
) -> None:
    converted = convert(web(**{"externalTrafficPolicy": "Local", **spec}))
    assert isinstance(converted, Service)
    assert converted.external_local is is_local


NODE_PORT = web({**HTTP, "nodePort": 30080}, type="NodePort")
ON_NODES = {**ANSWERED, "nodePort:30080/TCP": [f"{POD}:8080"]}
OUTSIDE = web(type="ExternalName", clusterIP=None, externalName="example.org", ports=None)


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param([(OUTSIDE, UNKNOWN), (web(), ANSWERED), (OUTSIDE, UNKNOWN)], id="ExternalName and ClusterIP"),
        pytest.param([(OUTSIDE, UNKNOWN), (NODE_PORT, ON_NODES), (OUTSIDE, UNKNOWN)], id="ExternalName and NodePort"),
        pytest.param([(web(), ANSWERED), (NODE_PORT, ON_NODES), (web(), ANSWERED)], id="ClusterIP and NodePort"),
        pytest.param(
            [(web(), ANSWERED), (web(labels={PROXY_NAME: "x"}), UNKNOWN), (web(), ANSWERED)], id="service-proxy-name"
        ),
        pytest.param([(web(), ANSWERED), (web(labels={HEADLESS: ""}), UNKNOWN), (web(), ANSWERED)], id="headless"),
        pytest.param(
            [(pods(), ANSWERED), (pods(labels={HEADLESS: ""}), REJECTED), (pods(), ANSWERED)], id="headless slice"
        ),
        pytest.param([(web(clusterIP="None"), UNKNOWN), (web(), ANSWERED)], id="headless no more"),
        pytest.param(
            [(pods(endpoint(OTHER_POD), name="web-2"), {"10.96.0.10:80/TCP": [f"{POD}:8080", f"{OTHER_POD}:8080"]})],
            id="a slice more",
        ),
    ],
)
def test_what_changes_in_place(steps: list[tuple[Object, dict[str, list[str]]]]) -> None:
    world = World()
    world.apply(web(), pods())
    for document, expected in steps:
        world.apply(document)
        assert world.served() == expected


def test_what_this_node_is_told_to_be_local_follows_its_zone() -> None:
    hinted = [
        endpoint(POD, hints={"forZones": [{"name": "a"}]}),
        endpoint(OTHER_POD, hints={"forZones": [{"name": "b"}]}),
    ]
    world = World()
    world.apply(web(), pods(*hinted))
    assert len(world.served()["10.96.0.10:80/TCP"]) == 2
    for zone, pod in (("a", POD), ("b", OTHER_POD)):
        world.apply(node(metadata={"name": OWN, "labels": {"topology.kubernetes.io/zone": zone}}))
        assert world.served() == {"10.96.0.10:80/TCP": [f"{pod}:8080"]}


def test_service_cidrs_reach_the_tables() -> None:
    world = World()
    kind = {"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": "kubernetes"}}
    world.apply({**kind, "spec": {"cidrs": ["10.96.0.0/12", "fd00::/108"]}})
    for family, length in ((Family.IPV4, 12), (Family.IPV6, 108)):
        assert [prefix.length for prefix in world.tables(family).service_cidrs] == [length]
