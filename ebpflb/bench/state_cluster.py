"""A cluster as the agent sees it after reading: so many Services, some of them of type LoadBalancer. Pure.

Decides addresses. Knows no JSON (``apiserver_objects.py`` has that) and no map.

    Cluster --snapshot--> Snapshot --compile_tables--> rows
"""

from dataclasses import dataclass

from ebpflb.core.abi import Family, Protocol
from ebpflb.core.model import (
    Endpoint,
    EndpointPort,
    EndpointSlice,
    Node,
    Service,
    ServicePort,
    ServiceType,
    Snapshot,
    parse_address,
)

_NAMESPACE = "ebpflb-bench"
_PORT, _TARGET_PORT, _NODE_PORT = 80, 8080, 30_000
_NODE_PORTS = 2768
_NODE = Node("bench-node")
_FIRST = {
    Family.IPV4: ("10.96.0.1", "10.128.0.0", "198.18.0.1"),
    Family.IPV6: ("fd00:96::1", "fd00:128::", "2001:2::1"),
}
"""Of the ClusterIPs, of the endpoints, of the load balancer's addresses."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """How many of what."""

    services: int
    endpoints: int
    """Of each Service; no two Services share one."""
    load_balancers: int = 0
    """So many of the Services have an address outside, too, and a NodePort: these choose by Maglev."""

    def __post_init__(self) -> None:
        """Refuse what there are no NodePorts for."""
        if not 0 <= self.load_balancers <= min(self.services, _NODE_PORTS):
            raise ValueError(f"{self.load_balancers} of {self.services} Services cannot have a NodePort")

    def snapshot(self, family: Family) -> Snapshot:
        """Return all objects."""
        services = [self._service(number, family) for number in range(self.services)]
        slices = [self._slice(number, family) for number in range(self.services)]
        return Snapshot(
            node=_NODE,
            services={each.key: each for each in services},
            slices={each.key: each for each in slices},
        )

    def _service(self, number: int, family: Family) -> Service:
        cluster, _, outside = _FIRST[family]
        is_outside = number < self.load_balancers
        return Service(
            _NAMESPACE,
            _name(number),
            type=ServiceType.LOAD_BALANCER if is_outside else ServiceType.CLUSTER_IP,
            ports=(ServicePort("http", Protocol.TCP, _PORT, _NODE_PORT + number if is_outside else 0),),
            cluster_ips=(_address(cluster, number),),
            load_balancer_ips=(_address(outside, number),) if is_outside else (),
        )

    def _slice(self, number: int, family: Family) -> EndpointSlice:
        first = number * self.endpoints
        addresses = [_address(_FIRST[family][1], first + place) for place in range(self.endpoints)]
        return EndpointSlice(
            _NAMESPACE,
            f"{_name(number)}-x7k2p",
            _name(number),
            family=family,
            ports=(EndpointPort("http", Protocol.TCP, _TARGET_PORT),),
            endpoints=tuple(Endpoint(each, node_name=f"worker-{each[-1] % 100}") for each in addresses),
        )


def _name(number: int) -> str:
    return f"bench-service-{number:06d}"


def _address(first: str, number: int) -> bytes:
    packed = parse_address(first)
    return (int.from_bytes(packed, "big") + number).to_bytes(len(packed), "big")
