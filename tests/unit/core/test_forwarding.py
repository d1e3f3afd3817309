"""Which service ports answer clients directly, and what this node must know to unwrap what others send it."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from ebpflb.core.abi import BackendState, Family, FrontendFlag, FrontendKind, Protocol
from ebpflb.core.compile import Allocation, Compiled, Limits, compile_tables
from ebpflb.core.model import (
    EndpointPort,
    EndpointSlice,
    Host,
    Service,
    ServicePort,
    ServiceType,
    parse_address,
)
from ebpflb.core.options import Forwarding, Options
from ebpflb.core.tables import LocalBackendKey
from tests.unit.core.factories import (
    HERE,
    NODE_HTTP,
    ROOMY,
    dialled,
    endpoint,
    endpoint_slice,
    frontend,
    service,
    snapshot,
)

DSR = Options(Forwarding.DSR)
ANNOTATION = "metadata.annotations[ebpflb.io/forwarding]"
PORTS = [
    ServicePort("http", Protocol.TCP, 80, 30080),
    ServicePort("dns", Protocol.UDP, 53, 30053),
    ServicePort("sig", Protocol.SCTP, 2905, 32905),
]


def full(ports: Iterable[ServicePort] = (NODE_HTTP,), **rest: Any) -> Service:
    addresses = {"load_balancer_ips": (parse_address("203.0.113.9"),), "external_ips": (parse_address("198.51.100.9"),)}
    return service(ports=ports, **{"type": ServiceType.LOAD_BALANCER, **addresses, **rest})


def compiled(
    *objects: Service | EndpointSlice,
    options: Options = DSR,
    limits: Limits = ROOMY,
    host: Host | None = None,
    previous: Allocation | None = None,
) -> Compiled:
    state = snapshot(*objects, host=host)
    return compile_tables(state, Family.IPV4, previous or Allocation(), limits, options=options)


def local(result: Compiled) -> dict[tuple[int, int], int]:
    """(service id, last byte of the address) -> port of the backend."""
    tables = result.tables
    return {
        (key.service_id, key.address[-1]): tables.backends[number].key.port
        for key, number in tables.local_backends.items()
    }


@pytest.mark.parametrize(
    ("default", "annotation", "direct"),
    [
        (Forwarding.SNAT, "", set()),
        (Forwarding.DSR, "", {Protocol.TCP, Protocol.UDP, Protocol.SCTP}),
        (Forwarding.HYBRID, "", {Protocol.TCP}),
        (Forwarding.SNAT, "dsr", {Protocol.TCP, Protocol.UDP, Protocol.SCTP}),
        (Forwarding.HYBRID, "dsr", {Protocol.TCP, Protocol.UDP, Protocol.SCTP}),
        (Forwarding.DSR, "snat", set()),
        (Forwarding.HYBRID, "snat", set()),
    ],
)
def test_the_service_s_word_comes_before_the_node_s(
    default: Forwarding, annotation: str, direct: set[Protocol]
) -> None:
    result = compiled(full(PORTS, forwarding=annotation), options=Options(default))
    rows = dialled(result.tables).items()
    assert {key.protocol for key, row in rows if row.flags & FrontendFlag.DSR} == direct
    assert {row.kind for _, row in rows if row.flags & FrontendFlag.DSR} == (
        {FrontendKind.NODE_PORT, FrontendKind.LOAD_BALANCER, FrontendKind.EXTERNAL_IP} if direct else set()
    )
    assert len(rows) == 4 * len(PORTS)
    assert result.refused == ()


@pytest.mark.parametrize("word", ["hybrid", "DSR", "tunnel"])
def test_an_unknown_word_is_told_and_the_node_s_is_used(word: str) -> None:
    for options, is_direct in ((DSR, True), (Options(), False)):
        result = compiled(full(forwarding=word), options=options)
        row = result.tables.frontends[frontend("203.0.113.9")]
        assert bool(row.flags & FrontendFlag.DSR) is is_direct
        (refusal,) = result.refused
        assert (refusal.service, refusal.field) == ("shop/web", ANNOTATION)
        assert refusal.reason == f"'{word}' is not known; {options.forwarding.value} is used, as configured"
        assert refusal.remedy == "use one of snat, dsr, or remove the annotation"


def test_nothing_is_told_of_a_service_of_the_other_family() -> None:
    assert compiled(service(forwarding="x", ip="fd00::1")).refused == ()


def test_local_backends_are_those_on_this_node_that_serve() -> None:
    pods = (
        endpoint("10.0.0.1", HERE),
        endpoint("10.0.0.2"),
        endpoint("10.0.0.3", HERE, ready=False, terminating=True),
        endpoint("10.0.0.4", HERE, ready=False, serving=False),
        endpoint("10.0.0.5", ""),
    )
    host = Host(frozenset({parse_address("10.0.0.5")}))
    assert local(compiled(full(), endpoint_slice(*pods), host=host)) == {(1, 1): 8080, (1, 3): 8080, (1, 5): 8080}
    assert local(compiled(full(forwarding="snat"), endpoint_slice(*pods))) == {}
    assert local(compiled(service(), endpoint_slice(*pods))) == {}


def test_a_backend_that_only_other_nodes_choose_has_a_row() -> None:
    hinted = (endpoint("10.0.0.1", HERE, for_nodes=("n2",)), endpoint("10.0.0.2", for_nodes=(HERE,)))
    result = compiled(full(), endpoint_slice(*hinted))
    assert local(result) == {(1, 1): 8080}
    number = result.tables.local_backends[LocalBackendKey(1, parse_address("10.0.0.1"))]
    assert result.tables.backends[number].state is BackendState.DRAINING
    assert local(compiled(full(), endpoint_slice(*hinted), limits=replace(ROOMY, backends=2))) == {}


def test_of_several_ports_of_a_pod_the_lowest_that_is_ready_takes_all() -> None:
    def on(port: int, *, is_ready: bool = True) -> EndpointSlice:
        pod = endpoint("10.0.0.1", HERE, ready=is_ready, terminating=not is_ready)
        return endpoint_slice(pod, name=f"web-{port}", port=port)

    assert local(compiled(full(), on(9090), on(8080), on(8888))) == {(1, 1): 8080}
    assert local(compiled(full(), on(9090), on(8080, is_ready=False), on(8888))) == {(1, 1): 8888}
    assert local(compiled(full(), on(9090, is_ready=False), on(8080, is_ready=False))) == {(1, 1): 8080}


def test_every_direct_service_port_has_its_rows() -> None:
    ports = tuple(EndpointPort(port.name, port.protocol, port.port + 8000) for port in PORTS)
    pod = endpoint_slice(endpoint("10.0.0.1", HERE), ports=ports)
    assert local(compiled(full(PORTS), pod)) == {(1, 1): 8053, (2, 1): 8080, (3, 1): 10905}
    hybrid = compiled(full(PORTS), pod, options=Options(Forwarding.HYBRID))
    assert local(hybrid) == {(2, 1): 8080}


def test_local_backends_that_do_not_fit_refuse_the_service() -> None:
    pods = endpoint_slice(endpoint("10.0.0.1", HERE), endpoint("10.0.0.2", HERE), endpoint("10.0.0.3"))
    assert compiled(full(), pods, limits=replace(ROOMY, local_backends=2)).refused == ()
    result = compiled(full(), pods, limits=replace(ROOMY, local_backends=1))
    assert result.tables.frontends == {}
    (refusal,) = result.refused
    assert (refusal.field, "local_backends" in refusal.remedy) == ("endpoints", True)


def test_sctp_has_members_for_affinity_only() -> None:
    ports = (EndpointPort("sig", Protocol.SCTP, 2905),)
    pod = endpoint_slice(endpoint("10.0.0.1"), ports=ports)
    plain = compiled(full(PORTS[2:]), pod, options=Options()).tables
    assert {key.protocol for key in dialled(plain)} == {Protocol.SCTP}
    assert {row.key.protocol for row in plain.backends.values()} == {Protocol.SCTP}
    assert plain.members == {}
    assert len(compiled(full(PORTS[2:], affinity_timeout_s=60), pod, options=Options()).tables.members) == 1
