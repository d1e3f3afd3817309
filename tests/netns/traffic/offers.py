"""Services of both families with one backend or none, for the tests of what depends on sizes and ways.

Offer -> Service and EndpointSlices -> the manifests of wide.py;  Offer, family -> what a client dials
"""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

from ebpflb.bench.plan import DUAL_STACK
from ebpflb.bench.topology import Pod
from ebpflb.core.abi import Family
from ebpflb.core.metadata import FORWARDING_ANNOTATION
from tests.kube.objects import make_service, make_slice
from tests.kube.store import Object

TCP_PORT, UDP_PORT = 80, 53
TCP_TARGET, UDP_TARGET = 8080, 5400
FRONTENDS = {
    "ClusterIP": {Family.IPV4: "10.96.5.0/24", Family.IPV6: "fd00:10:96::500/120"},
    "external IP": {Family.IPV4: "203.0.113.0/24", Family.IPV6: "2001:db8:113::/120"},
    "balancer IP": {Family.IPV4: "198.51.100.0/24", Family.IPV6: "2001:db8:51::/120"},
}
"""The networks of a Service's addresses."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A Service, TCP and UDP."""

    name: str
    number: int
    backend: Pod | None = None
    forwarding: str = ""
    """Its annotation; empty: as the node is configured."""
    udp_target: int = UDP_TARGET

    def address(self, kind: str, family: Family) -> str:
        """Return its ClusterIP, external IP or balancer IP."""
        return str(ip_network(FRONTENDS[kind][family])[self.number])

    def node_port(self, port: int) -> int:
        """Return the NodePort of one of its ports."""
        return (30000 if port == TCP_PORT else 31000) + self.number

    def objects(self) -> Iterator[Object]:
        """Return the Service and an EndpointSlice a family."""
        addresses = [self.address("ClusterIP", family) for family in DUAL_STACK]
        made = make_service(
            self.name,
            annotations={FORWARDING_ANNOTATION: self.forwarding} if self.forwarding else {},
            type="LoadBalancer",
            clusterIP=addresses[0],
            clusterIPs=addresses,
            ipFamilies=["IPv4", "IPv6"],
            ipFamilyPolicy="RequireDualStack",
            externalIPs=[self.address("external IP", family) for family in DUAL_STACK],
            ports=[
                {"name": name, "protocol": name.upper(), "port": port, "nodePort": self.node_port(port)}
                for name, port in (("tcp", TCP_PORT), ("udp", UDP_PORT))
            ],
        )
        balancers = [{"ip": self.address("balancer IP", family)} for family in DUAL_STACK]
        yield {**made, "status": {"loadBalancer": {"ingress": balancers}}}
        for family in DUAL_STACK:
            fields: dict[str, Any] = {
                "addressType": f"IPv{family.value}",
                "ports": [
                    {"name": "tcp", "protocol": "TCP", "port": TCP_TARGET},
                    {"name": "udp", "protocol": "UDP", "port": self.udp_target},
                ],
                "endpoints": [_endpoint(self.backend, family)] if self.backend else [],
            }
            yield make_slice(f"{self.name}-{family.value}", service=self.name, **fields)


def _endpoint(pod: Pod, family: Family) -> dict[str, Any]:
    return {
        "addresses": [pod.address_of(family)],
        "nodeName": f"node-{pod.node}",
        "conditions": {"ready": True, "serving": True, "terminating": False},
    }
