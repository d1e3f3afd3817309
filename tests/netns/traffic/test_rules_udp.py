"""UDP that goes on while the Service behind it changes: sockets that began too early, backends' ports that change."""

from dataclasses import replace

import pytest

from ebpflb.core.abi import Family
from tests.netns.services import Spec
from tests.netns.traffic.callers import Conversation
from tests.netns.traffic.rules import MOVED_UDP_PORT, SILENCE, moved
from tests.netns.traffic.world import DETECTOR, OWN_UDP_PORT, SWEEP_SECONDS, World, until

pytestmark = pytest.mark.root

SPEAKERS = [
    *((caller, "udp") for caller in ("covered", "uncovered", "host", "outside")),
    ("uncovered", "udp-connected"),
    ("outside", "udp-connected"),
]
"""Callers whose socket follows by itself: the socket hooks cannot change the peer of one that is connected."""
DESTINATIONS = ("ClusterIP", "NodePort of node-1")


@pytest.fixture(scope="module", autouse=True)
def _configured(rules_world: World) -> None:
    rules_world.configure(*DETECTOR)


def answers(conversation: Conversation, name: str) -> bool:
    """Ask once more on the same socket; say whether it was this backend that answered, before long."""
    return conversation.ask(SILENCE).backend == name


def is_unanswered(conversation: Conversation) -> bool:
    """Ask once more on the same socket; say whether nobody answered before long."""
    return conversation.ask(SILENCE).error != ""


def who_answer(conversation: Conversation, count: int) -> set[str]:
    """Ask again and again on the same socket; return who answered, which nobody may fail to."""
    outcomes = [conversation.ask() for _ in range(count)]
    assert {outcome.error for outcome in outcomes} == {""}
    return {outcome.backend for outcome in outcomes}


@pytest.mark.parametrize("destination", DESTINATIONS)
@pytest.mark.parametrize(("caller", "kind"), SPEAKERS)
def test_a_socket_older_than_the_service_is_answered(rules: World, caller: str, kind: str, destination: str) -> None:
    """Its first datagrams went to nobody; no connection tracking may keep the others from the backend."""
    spec = Spec("late", 67, (rules.local,))
    with rules.caller(caller).open(kind, rules.target(spec, destination, kind)) as early:
        assert is_unanswered(early)
        with rules.service(replace(spec, backends=())):
            assert is_unanswered(early)
            rules.put(spec)
            until(lambda: answers(early, rules.local.name), "it is never answered", SWEEP_SECONDS)
            assert who_answer(early, 3) == {rules.local.name}


@pytest.mark.parametrize("caller", ["covered", "host"])
@pytest.mark.parametrize("destination", ["ClusterIP", "external IP"])
def test_a_connected_socket_older_than_the_service_is_answered(rules: World, caller: str, destination: str) -> None:
    """No backend was found for it at connect(): its packets are served one by one."""
    spec = Spec("late", 67, (rules.local,))
    dialled = rules.target(spec, destination, "udp")
    with rules.caller(caller).open("udp-connected", dialled) as early:
        assert is_unanswered(early)
        with rules.service(spec):
            until(lambda: answers(early, rules.local.name), "it is never answered", SWEEP_SECONDS)


@pytest.mark.parametrize(("caller", "kind"), SPEAKERS)
@pytest.mark.parametrize("where", ["local", "remote"])
def test_datagrams_follow_a_target_port_that_changes(rules: World, caller: str, kind: str, where: str) -> None:
    pod = rules.local if where == "local" else rules.remote[0]
    spec = Spec("ported", 68, (pod,), udp_port=OWN_UDP_PORT)
    with rules.service(spec):
        dialled = rules.target(spec, "NodePort of node-1", kind)
        with rules.caller(caller).open(kind, dialled) as conversation:
            assert who_answer(conversation, 1) == {pod.name}
            rules.put(replace(spec, udp_port=MOVED_UDP_PORT))
            until(lambda: answers(conversation, moved(pod.name)), "it stays at the old port", SWEEP_SECONDS)
            assert who_answer(conversation, 3) == {moved(pod.name)}


@pytest.mark.parametrize(("caller", "kind"), SPEAKERS)
def test_datagrams_leave_a_backend_that_vanished(rules: World, caller: str, kind: str) -> None:
    """Also for one of another node, and when there was none for a while."""
    spec = Spec("vanished", 69, (rules.remote[0],), udp_port=OWN_UDP_PORT)
    with rules.service(spec):
        dialled = rules.target(spec, "balancer IP", kind)
        with rules.caller(caller).open(kind, dialled) as conversation:
            assert who_answer(conversation, 1) == {rules.remote[0].name}
            rules.put(replace(spec, backends=()))
            until(lambda: is_unanswered(conversation), "it is answered by who is gone", SWEEP_SECONDS)
            rules.put(replace(spec, backends=(rules.local,)))
            until(lambda: answers(conversation, rules.local.name), "it finds nobody", SWEEP_SECONDS)


@pytest.mark.parametrize(("caller", "kind"), SPEAKERS)
def test_datagrams_stay_with_a_backend_that_drains(rules: World, caller: str, kind: str) -> None:
    """As long as it serves nothing is cleaned, also when new clients go elsewhere."""
    leaving, staying = rules.remote[0], rules.local
    spec = Spec("leaving", 70, (leaving,), udp_port=OWN_UDP_PORT)
    with rules.service(spec):
        dialled = rules.target(spec, "NodePort of node-1", kind)
        with rules.caller(caller).open(kind, dialled) as conversation:
            assert who_answer(conversation, 1) == {leaving.name}
            rules.put(replace(spec, backends=(staying,), draining=(leaving,)))
            assert who_answer(conversation, 5) == {leaving.name}
            (new,) = rules.caller(caller).ask(kind, dialled)
            assert new.backend == staying.name


def test_both_families_of_a_service_move_alone(rules: World) -> None:
    """A backend that vanishes in one family stays in the other."""
    other = Family.IPV6 if rules.family is Family.IPV4 else Family.IPV4
    spec = Spec("halved", 71, (rules.local,), udp_port=OWN_UDP_PORT)
    here, there = (world.target(spec, "balancer IP", "udp") for world in (rules, rules.speaking(other)))
    outside = rules.caller("outside")
    with (
        rules.service(spec),
        outside.open("udp", here) as gone,
        outside.open("udp", there) as kept,
    ):
        assert who_answer(gone, 1) == {rules.local.name}
        assert who_answer(kept, 1) == {rules.local.name}
        rules.put(replace(spec, slices_of=(other,)))
        assert who_answer(kept, 1) == {rules.local.name}
        until(lambda: is_unanswered(gone), "it is answered by who is gone", SWEEP_SECONDS)
