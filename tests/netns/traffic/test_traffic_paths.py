"""Who reaches which address of a Service, which backend answers, and which addresses both sides see."""

import pytest

from ebpflb.core.abi import Counter
from tests.netns.traffic.callers import ANSWER_SECONDS, KINDS
from tests.netns.traffic.rules import SILENCE
from tests.netns.traffic.sources import IN_CLUSTER, Call, seen_as
from tests.netns.traffic.world import World

pytestmark = pytest.mark.root

# node-2 has the remote backend, node-3 has none: to them, pods and processes of node-1 are the outside.
PATHS = [
    *((caller, "NodePort of loopback") for caller in ("host", "hostNetwork")),
    *(
        (caller, destination)
        for caller in ("covered", "uncovered", "host", "hostNetwork", "outside")
        for destination in (*IN_CLUSTER, "NodePort of node-2", "NodePort of node-3")
    ),
]


@pytest.mark.parametrize("backend", ["local", "remote"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("caller", "destination"), PATHS, ids=lambda name: name.replace(" ", "-"))
def test_the_backend_answers_and_sees_whom_the_table_says(
    anywhere: World, caller: str, destination: str, kind: str, backend: str
) -> None:
    spec = anywhere.specs[backend]
    dialled = anywhere.target(spec, destination, kind)
    (outcome,) = anywhere.caller(caller).ask(kind, dialled)
    (pod,) = spec.backends
    assert (outcome.error, outcome.backend, outcome.peer) == ("", pod.name, dialled)
    assert outcome.seen_as == seen_as(anywhere, Call(caller, destination, pod))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("caller", ["covered", "uncovered", "host", "outside"])
@pytest.mark.parametrize("destination", ["ClusterIP", "NodePort of node-1"])
def test_every_backend_gets_its_share(routed: World, caller: str, destination: str, kind: str) -> None:
    spec = routed.specs["spread"]
    backends = {pod.name for pod in spec.backends}
    outcomes = routed.caller(caller).ask_each(kind, routed.target(spec, destination, kind), backends)
    assert {outcome.error for outcome in outcomes} == {""}
    assert {outcome.backend for outcome in outcomes} == backends


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("caller", ["covered", "uncovered"])
@pytest.mark.parametrize("destination", ["NodePort of loopback", "NodePort of no address"])
def test_a_pods_loopback_is_its_own(world: World, caller: str, destination: str, kind: str) -> None:
    before = world.counters(1)
    spec = world.specs["local"]
    # An unconnected UDP socket never hears of the refusal.
    error, timeout = ("timeout", SILENCE) if kind == "udp" else ("ECONNREFUSED", ANSWER_SECONDS)
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
