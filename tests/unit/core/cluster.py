"""A cluster as its API server shows it, compiled for one node: manifests in, frontends and answers out.

service(), endpoint_slice() --> manifests --Cluster--> compiled tables --ask--> Answer
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

from ebpflb.core.abi import Family, FrontendFlag, FrontendKind, Protocol
from ebpflb.core.compile import Allocation, Compiled, compile_tables
from ebpflb.core.explain import Flow, Hook, decide
from ebpflb.core.explain_index import Index
from ebpflb.core.manifest import Invisible, convert
from ebpflb.core.model import (
    EndpointSlice,
    Host,
    Node,
    Service,
    ServiceCIDR,
    Snapshot,
    format_endpoint,
    parse_address,
)
from ebpflb.core.options import Options
from ebpflb.core.tables import Range, Tables
from tests.unit.core.factories import ROOMY

HERE, THERE = "n1", "n2"
CLUSTER_IP, VIP, EXTERNAL_IP, NODE_IP, OTHER_NODE_IP = (
    "10.96.0.1",
    "203.0.113.9",
    "198.51.100.9",
    "192.0.2.1",
    "192.0.2.2",
)
POD, FAR_POD, OUTSIDE = "10.244.1.55", "10.244.2.55", "203.0.113.200"
LOCAL, REMOTE = "10.244.1.10", "10.244.2.20"
NODE = Node(HERE, zone="z1", addresses=(parse_address(NODE_IP), parse_address("2001:db8::1")))
HOST = Host(frozenset(map(parse_address, (NODE_IP, "2001:db8::1"))))
DETECTOR = Options(cluster_cidrs=("10.244.0.0/16", "fd00:244::/32"))

Manifest = dict[str, Any]


def service(name: str = "web", *, labels: Manifest | None = None, vips: Iterable[Any] = (), **spec: Any) -> Manifest:
    """Return a Service of one port 80; ``vips``: addresses, or whole elements of the ingress list."""
    ingress = [{"ip": each} if isinstance(each, str) else each for each in vips]
    spec.setdefault("clusterIP", CLUSTER_IP)
    spec.setdefault("ports", [{"name": "http", "port": 80}])
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "shop", "labels": labels or {}},
        "spec": spec,
        "status": {"loadBalancer": {"ingress": ingress}},
    }


def everywhere(**spec: Any) -> Manifest:
    """Return a Service with a frontend of every kind."""
    ports = [{"name": "http", "port": 80, "nodePort": 30080}]
    return service(vips=[VIP], **{"type": "LoadBalancer", "ports": ports, "externalIPs": [EXTERNAL_IP]} | spec)


def endpoint(address: str, node: str | None = THERE, **rest: Any) -> Manifest:
    """Return an endpoint; ``ready``, ``serving`` and ``terminating`` are conditions, ``nodes`` and ``zones`` hints."""
    hints = {
        field: [{"name": name} for name in rest.pop(word).split()]
        for field, word in (("forNodes", "nodes"), ("forZones", "zones"))
        if word in rest
    }
    return {"addresses": [address], "nodeName": node, "conditions": rest, "hints": hints or None}


def endpoint_slice(*endpoints: Manifest, name: str = "web-1", of: str = "web", **rest: Any) -> Manifest:
    """Return a slice whose port ``http`` is 8080."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": name,
            "namespace": "shop",
            "labels": {"kubernetes.io/service-name": of} | rest.pop("labels", {}),
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080}],
        "endpoints": list(endpoints),
    } | rest


BOTH = endpoint_slice(endpoint(LOCAL, HERE), endpoint(REMOTE))
ONLY_REMOTE = endpoint_slice(endpoint(REMOTE))
NOWHERE = endpoint_slice()


def service_cidr(*cidrs: str) -> Manifest:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "ServiceCIDR",
        "metadata": {"name": "kubernetes"},
        "spec": {"cidrs": list(cidrs)},
    }


class Answer(NamedTuple):
    """What becomes of a flow."""

    verdict: str
    backends: tuple[str, ...] = ()
    masquerade: bool = False


@dataclass(frozen=True)
class Cluster:
    """The objects that this node's proxy sees."""

    snapshot: Snapshot
    options: Options = DETECTOR
    family: Family = Family.IPV4
    before: Allocation = Allocation()  # noqa: RUF009 - frozen

    @classmethod
    def of(cls, *manifests: Manifest, node: Node = NODE, options: Options = DETECTOR, **rest: Any) -> "Cluster":
        """Read manifests; what is not for this proxy is not there, as with an API server's watch."""
        read = [each for each in map(convert, manifests) if not isinstance(each, Invisible)]
        snapshot = Snapshot(
            node,
            {each.key: each for each in read if isinstance(each, Service)},
            {each.key: each for each in read if isinstance(each, EndpointSlice)},
            HOST,
            {each.key: each for each in read if isinstance(each, ServiceCIDR)},
        )
        return cls(snapshot, options, **rest)

    def then(self, *manifests: Manifest) -> "Cluster":
        """Return the cluster after a change, compiled by the same node."""
        return replace(Cluster.of(*manifests), family=self.family, before=self.compiled.allocation)

    @cached_property
    def compiled(self) -> Compiled:
        return compile_tables(self.snapshot, self.family, self.before, ROOMY, options=self.options)

    @property
    def tables(self) -> Tables:
        return self.compiled.tables

    def frontends(self) -> set[str]:
        """Return what may be dialled: ``CLUSTER_IP 10.96.0.1:80/TCP``; NodePorts have no address."""
        dialled = {key: row for key, row in self.tables.frontends.items() if row.kind is not FrontendKind.ADDRESS}
        return {f"{row.kind.name} {_where(key.address, key.port)}/{key.protocol.name}" for key, row in dialled.items()}

    def sets(self, kind: FrontendKind, port: int = 0) -> tuple[set[str], set[str], bool]:
        """Return the cluster set, the local set and whether there is any endpoint, as a frontend of a kind has them."""
        (row,) = (row for key, row in self.tables.frontends.items() if row.kind is kind and port in {0, key.port})
        return self._in(row.cluster), self._in(row.local), FrontendFlag.HAS_BACKENDS in row.flags

    def ask(
        self, source: str, to: str, port: int = 80, protocol: Protocol = Protocol.TCP, hook: Hook = Hook.PACKET
    ) -> Answer:
        """Return what becomes of a flow's first packet."""
        flow = Flow(parse_address(source), parse_address(to), port, protocol)
        decision = decide(Index(self.tables), flow, hook)
        backends = (format_endpoint(each.key.address, each.key.port) for each in decision.backends)
        return Answer(decision.verdict.value, tuple(sorted(backends)), decision.masquerade)

    def _in(self, where: Range) -> set[str]:
        """Return the backends of a range; a local set may be the beginning of a cluster set."""
        whole = next((span for span in self.tables.slots if span.offset == where.offset and where.length), where)
        numbers = self.tables.slots[whole][: where.length].tolist() if where.length else ()
        keys = (self.tables.backends[number].key for number in numbers)
        return {format_endpoint(key.address, key.port) for key in keys}


def _where(address: bytes, port: int) -> str:
    return format_endpoint(address, port) if any(address) else str(port)
