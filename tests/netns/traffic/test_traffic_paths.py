"""Who reaches which address of a Service, which backend answers, and which addresses both sides see."""

from typing import NamedTuple

import pytest

from ebpflb.bench.addresses import bridge_address, node_address
from ebpflb.bench.plan import PodNetwork
from ebpflb.core.abi import Counter
from tests.netns.traffic.callers import KINDS
from tests.netns.traffic.world import World

pytestmark = pytest.mark.root

OWN = "own"
"""The server sees the caller's own address."""
TOWARDS = "towards"
"""... the node's address on the device towards the backend: what the node itself calls with."""


class Path(NamedTuple):
    """A row: the caller, what it dials, and the address it is seen under by a backend on node-1 and on node-2."""

    caller: str
    destination: str
    seen_by_local: str
    seen_by_remote: str


IN_CLUSTER = ("ClusterIP", "external IP", "balancer IP", "NodePort of node-1", "NodePort of node-1's other address")

PATHS = [
    *(Path("covered", destination, OWN, OWN) for destination in IN_CLUSTER),
    *(Path("uncovered", destination, OWN, OWN) for destination in IN_CLUSTER),
    *(
        Path(caller, destination, TOWARDS, TOWARDS)
        for caller in ("host", "hostNetwork")
        for destination in (*IN_CLUSTER, "NodePort of loopback")
    ),
    *(Path("outside", destination, OWN, "node-1") for destination in IN_CLUSTER),
    # node-2 has the remote backend, node-3 has none: to them, pods and processes of node-1 are the outside.
    *(Path(caller, "NodePort of node-2", "node-2", OWN) for caller in ("covered", "uncovered", "outside")),
    *(Path(caller, "NodePort of node-2", "node-2", "node-1") for caller in ("host", "hostNetwork")),
    *(
        Path(caller, "NodePort of node-3", "node-3", "node-3")
        for caller in ("covered", "uncovered", "host", "hostNetwork", "outside")
    ),
]


def expected_address(world: World, path: Path, seen: str, backend: str) -> str:
    """Return the address that the backend must see."""
    if seen == OWN:
        return world.address(world.place(path.caller))
    if seen == TOWARDS:
        on_bridge = backend == "local" and world.lab.plan.pod_network is PodNetwork.BRIDGED
        return bridge_address(1, world.family) if on_bridge else world.address(world.lab.node(1))
    return node_address(int(seen.removeprefix("node-")), world.family)


@pytest.mark.parametrize("backend", ["local", "remote"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("path", PATHS, ids=lambda path: f"{path.caller} to {path.destination}")
def test_answers_come_from_the_backend_and_both_sides_see_true_addresses(
    anywhere: World, path: Path, kind: str, backend: str
) -> None:
    spec = anywhere.specs[backend]
    dialled = anywhere.target(spec, path.destination, kind)
    (outcome,) = anywhere.caller(path.caller).ask(kind, dialled)
    seen = path.seen_by_local if backend == "local" else path.seen_by_remote
    assert outcome.error == ""
    assert outcome.backend == spec.backends[0].name
    assert outcome.peer == dialled
    assert outcome.seen_as == expected_address(anywhere, path, seen, backend)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("caller", ["covered", "uncovered", "host", "outside"])
@pytest.mark.parametrize("destination", ["ClusterIP", "NodePort of node-1"])
def test_every_backend_gets_its_share(routed: World, caller: str, destination: str, kind: str) -> None:
    spec = routed.specs["spread"]
    outcomes = routed.caller(caller).ask(kind, routed.target(spec, destination, kind), count=60)
    assert {outcome.error for outcome in outcomes} == {""}
    assert {outcome.backend for outcome in outcomes} == {pod.name for pod in spec.backends}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("caller", ["covered", "uncovered"])
@pytest.mark.parametrize("destination", ["NodePort of loopback", "NodePort of no address"])
def test_a_pods_loopback_is_its_own(world: World, caller: str, destination: str, kind: str) -> None:
    before = world.counters(1)
    spec = world.specs["local"]
    # An unconnected UDP socket never hears of the refusal.
    error, timeout = ("timeout", 0.3) if kind == "udp" else ("ECONNREFUSED", 3.0)
    (outcome,) = world.caller(caller).ask(kind, world.target(spec, destination, kind), timeout=timeout)
    assert outcome.error == error
    assert world.counters(1)[Counter.SOCK_TRANSLATED] == before[Counter.SOCK_TRANSLATED]


def test_a_host_process_that_dials_no_address_means_its_loopback(world: World) -> None:
    spec = world.specs["local"]
    (outcome,) = world.caller("host").ask("tcp", world.target(spec, "NodePort of no address", "tcp"))
    assert outcome.error == ""


@pytest.mark.parametrize("kind", ["udp", "udp-connected"])
@pytest.mark.parametrize("caller", ["covered", "uncovered", "host", "outside"])
def test_a_udp_socket_keeps_its_backend(world: World, caller: str, kind: str) -> None:
    spec = world.specs["spread"]
    dialled = world.target(spec, "NodePort of node-1", kind)
    with world.caller(caller).open(kind, dialled) as conversation:
        outcomes = [conversation.ask() for _ in range(10)]
    assert len({outcome.backend for outcome in outcomes}) == 1
    assert {outcome.peer for outcome in outcomes} == {dialled}


def test_the_port_and_protocol_must_fit(world: World) -> None:
    """A NodePort is one protocol's: the other's number leads nowhere."""
    spec = world.specs["local"]
    (outcome,) = world.caller("outside").ask("tcp", world.target(spec, "NodePort of node-1", "udp"))
    assert outcome.error == "ECONNREFUSED"
