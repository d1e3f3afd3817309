"""Small objects for tests of the core: every field that a test does not name has a plain value."""

from collections.abc import Iterable
from typing import Any

from ebpflb.core.abi import Family, FrontendKind, Protocol
from ebpflb.core.expand import Exposure, expand_service
from ebpflb.core.holdings import Limits
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
from ebpflb.core.options import DEFAULTS, Options
from ebpflb.core.tables import BackendKey, Frontend, FrontendKey, Tables
from ebpflb.core.topology import Candidate

HERE = "n1"
ROOMY = Limits(
    frontends=1024, backends=1024, services=1024, slots=1 << 20, members=4096, local_backends=1024, source_ranges=1024
)
HTTP = ServicePort("http", Protocol.TCP, 80)
NODE_HTTP = ServicePort("http", Protocol.TCP, 80, 30080)


def service(
    name: str = "web", *, ip: str = "10.96.0.1", ports: Iterable[ServicePort] = (HTTP,), **rest: Any
) -> Service:
    rest.setdefault("type", ServiceType.CLUSTER_IP)
    return Service("shop", name, ports=tuple(ports), cluster_ips=(parse_address(ip),), **rest)


def endpoint(ip: str, node: str = "n2", **rest: Any) -> Endpoint:
    return Endpoint(parse_address(ip), node_name=node, **rest)


def endpoint_slice(
    *endpoints: Endpoint, name: str = "web-1", of: str = "web", port: int = 8080, **rest: Any
) -> EndpointSlice:
    rest.setdefault("family", Family.IPV4)
    rest.setdefault("ports", (EndpointPort("http", Protocol.TCP, port),))
    return EndpointSlice("shop", name, of, endpoints=endpoints, **rest)


def snapshot(*objects: Service | EndpointSlice, node: Node | None = None, host: Host | None = None) -> Snapshot:
    return Snapshot(
        node=node or Node(HERE),
        services={each.key: each for each in objects if isinstance(each, Service)},
        slices={each.key: each for each in objects if isinstance(each, EndpointSlice)},
        host=host or Host(),
    )


def backend(ip: str, port: int = 8080) -> BackendKey:
    return BackendKey(parse_address(ip), port, Protocol.TCP)


def frontend(ip: str, port: int = 80) -> FrontendKey:
    return FrontendKey(parse_address(ip), port, Protocol.TCP)


def expanded(
    each: Service, family: Family = Family.IPV4, node: Node | None = None, options: Options = DEFAULTS
) -> tuple[Exposure, ...]:
    return expand_service(each, family, node or Node(HERE), options)


def dialled(tables: Tables) -> dict[FrontendKey, Frontend]:
    """The frontends of service ports, without the rows of addresses as such."""
    return {key: row for key, row in tables.frontends.items() if row.kind is not FrontendKind.ADDRESS}


def candidate(ip: str, *, local: bool = False, **rest: Any) -> Candidate:
    return Candidate(backend(ip), local, endpoint(ip, **rest))
