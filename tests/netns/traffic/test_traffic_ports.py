"""Source ports that are used again, or by two at once: each flow still gets its own answers."""

import itertools
from dataclasses import replace

import pytest

from ebpflb.bench.addresses import join_port, node_address
from tests.netns.services import Spec
from tests.netns.traffic.sources import forwarding_address
from tests.netns.traffic.world import World

pytestmark = pytest.mark.root

REUSES = 20


@pytest.mark.parametrize("service", ["local", "remote"])
@pytest.mark.parametrize(
    ("caller", "destination", "port"),
    [("outside", "NodePort of node-1", 20001), ("uncovered", "ClusterIP", 20002), ("covered", "ClusterIP", 20003)],
)
def test_a_port_serves_again_right_after_a_reset(
    world: World, caller: str, destination: str, port: int, service: str
) -> None:
    spec = world.specs[service]
    for _ in range(REUSES):
        with world.caller(caller).open("tcp", world.target(spec, destination, "tcp"), port=port) as conversation:
            outcome = conversation.ask()
            conversation.close(reset=True)
        assert (outcome.error, outcome.backend) == ("", spec.backends[0].name)


def test_a_reused_port_finds_a_backend_that_lives(routed: World) -> None:
    """The SYN meets the flow of the connection before, whose backend is gone from the Service."""
    spec = Spec("reused", 50, routed.remote)
    with routed.service(spec):
        dialled = routed.target(spec, "NodePort of node-1", "tcp")
        for pod in (routed.remote[0], routed.local, routed.remote[1]):
            routed.put(replace(spec, backends=(pod,)))
            with routed.caller("outside").open("tcp", dialled, port=20004) as conversation:
                assert conversation.ask().backend == pod.name
                conversation.close(reset=True)


@pytest.mark.parametrize("kind", ["tcp", "udp-connected"])
@pytest.mark.parametrize("twins", [("local", "local-twin"), ("remote", "remote-twin")])
@pytest.mark.parametrize(("caller", "destination"), [("outside", "NodePort of node-1"), ("uncovered", "ClusterIP")])
def test_two_flows_of_one_port_to_one_backend_stay_apart(
    world: World, caller: str, destination: str, twins: tuple[str, str], kind: str
) -> None:
    """To the backend both would look the same: one of them is given another source port."""
    one, other = (world.target(world.specs[name], destination, kind) for name in twins)
    call = world.caller(caller)
    with call.open(kind, one, port=20011) as first, call.open(kind, other, port=20011) as second:
        outcomes = [conversation.ask() for _ in range(3) for conversation in (first, second)]
        for conversation in (first, second):
            conversation.close(reset=True)
    assert {outcome.error for outcome in outcomes} == {""}
    assert [outcome.peer for outcome in outcomes] == [one, other] * 3
    assert len({outcome.client for outcome in outcomes}) == 2


@pytest.mark.parametrize(
    ("caller", "service", "destination", "port"),
    [("neighbour", "local-here", "NodePort of node-1", 20013), ("uncovered", "remote", "ClusterIP", 20014)],
)
def test_a_backend_is_dialled_itself_from_the_port_that_dialled_its_service(
    world: World, caller: str, service: str, destination: str, port: int
) -> None:
    """To the backend both look the same. It was shown the caller's own address, and its answers go there directly."""
    spec = world.specs[service]
    (pod,) = spec.backends
    itself = join_port(world.address(pod), spec.tcp_port)
    for dialled in (world.target(spec, destination, "tcp"), itself) * 2:
        (outcome,) = world.caller(caller).ask("tcp", dialled, port=port)
        assert (outcome.error, outcome.backend, outcome.peer) == ("", pod.name, dialled)
        assert outcome.seen_as == world.address(world.place(caller))


DIALLED = {"host": "ClusterIP", "uncovered host": "ClusterIP", "outside": "NodePort of node-1"}


@pytest.mark.parametrize("kind", ["tcp", "udp-connected"])
@pytest.mark.parametrize("service", ["local", "remote"])
@pytest.mark.parametrize(
    ("callers", "port"),
    [
        pytest.param(callers, port, id=", ".join(callers))
        for port, callers in enumerate(itertools.permutations(DIALLED, 2), 20021)
    ],
)
def test_the_nodes_own_calls_and_those_it_masquerades_stay_apart(
    world: World, callers: tuple[str, str], port: int, service: str, kind: str
) -> None:
    """All call the same backend from the same port: one socket has its address, others get it by packet hooks."""
    spec = world.specs[service]
    (pod,) = spec.backends
    first, second = callers
    calls = {name: (world.caller(name), world.target(spec, DIALLED[name], kind)) for name in callers}
    with calls[first][0].open(kind, calls[first][1], port=port) as one:
        outcomes = [one.ask()]
        with calls[second][0].open(kind, calls[second][1], port=port) as other:
            outcomes += [conversation.ask() for _ in range(3) for conversation in (other, one)]
            other.close(reset=True)
        outcomes.append(one.ask())
        one.close(reset=True)
    assert {(outcome.error, outcome.backend) for outcome in outcomes} == {("", pod.name)}
    # Routes choose the address of who dials itself; that of an uncovered process was chosen for the ClusterIP.
    seen = dict.fromkeys(DIALLED, forwarding_address(world, 1, pod)) | {"uncovered host": node_address(1, world.family)}
    order = [first, *[second, first] * 3, first]
    assert [outcome.seen_as for outcome in outcomes] == [seen[name] for name in order]
    assert len({outcome.client for outcome in outcomes}) == 2
