"""A pod that reaches itself through its Service."""

import pytest

from ebpflb.agent.run import HAIRPIN_ADDRESSES
from ebpflb.core.abi import Counter
from ebpflb.core.model import format_address
from tests.netns.traffic.callers import KINDS
from tests.netns.traffic.settled import settled
from tests.netns.traffic.world import World

pytestmark = pytest.mark.root

OWN, HAIRPIN = "own", "hairpin"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("destination", ["ClusterIP", "external IP", "NodePort of node-1"])
@pytest.mark.parametrize(("pod", "seen_as"), [("covered", OWN), ("uncovered", HAIRPIN)])
def test_a_pod_reaches_itself(world: World, pod: str, seen_as: str, destination: str, kind: str) -> None:
    """At the socket the pod talks to itself over its loopback; on the wire it would not believe its own address."""
    dialled = world.target(world.specs[f"self-{pod}"], destination, kind)
    before = settled(lambda: world.counters(1))
    caller = world.place(pod)
    outcomes = world.caller(pod).ask(kind, dialled, count=3)
    assert {outcome.error for outcome in outcomes} == {""}
    assert {outcome.backend for outcome in outcomes} == {caller.name}
    stranger = format_address(HAIRPIN_ADDRESSES[world.family])
    assert {outcome.seen_as for outcome in outcomes} == {stranger if seen_as is HAIRPIN else world.address(caller)}
    assert {outcome.peer for outcome in outcomes} == {dialled}
    hairpinned = world.counters(1)[Counter.HAIRPINNED] - before[Counter.HAIRPINNED]
    assert bool(hairpinned) == (pod == "uncovered")


@pytest.mark.parametrize("kind", KINDS)
def test_one_connection_carries_many_exchanges(world: World, kind: str) -> None:
    dialled = world.target(world.specs["self-uncovered"], "ClusterIP", kind)
    with world.caller("uncovered").open(kind, dialled) as conversation:
        outcomes = [conversation.ask() for _ in range(20)]
    assert {outcome.error for outcome in outcomes} == {""}
    assert len({outcome.client for outcome in outcomes}) == 1


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_others_reach_the_same_pod_under_their_own_address(world: World, kind: str) -> None:
    dialled = world.target(world.specs["self-uncovered"], "ClusterIP", kind)
    (outcome,) = world.caller("covered").ask(kind, dialled)
    assert (outcome.backend, outcome.seen_as) == ("node-1-pod-2", world.address(world.place("covered")))
