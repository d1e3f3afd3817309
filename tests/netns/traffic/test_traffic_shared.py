"""Two Services share a backend, and it leaves one of them: blue/green by selector.

The backend lives on, and so does all that the other Service has with it; UDP of the Service that it left moves on.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import NamedTuple

import pytest

from ebpflb.bench.topology import Pod
from tests.netns.services import Spec
from tests.netns.traffic.callers import CLOSED, Conversation, conversation_with
from tests.netns.traffic.world import SWEEP_SECONDS, World, until

pytestmark = pytest.mark.root

CALLERS = ("covered", "uncovered", "host", "outside")


class Pair(NamedTuple):
    """Two Services with the same two backends."""

    left: Spec
    """The one that a backend is going to leave."""
    other: Spec
    leaving: Pod
    staying: Pod

    @property
    def left_behind(self) -> Spec:
        """The first Service with the backend that stays."""
        return replace(self.left, backends=(self.staying,))


@contextmanager
def sharing(world: World) -> Iterator[Pair]:
    leaving, staying = world.remote[0], world.local
    left = Spec("blue", 44, (leaving, staying))
    with world.service(left), world.service(replace(left, name="green", number=45)) as other:
        yield Pair(left, other, leaving, staying)


def answered_by(conversation: Conversation) -> str:
    """Ask once; name who answered, or the error."""
    outcome = conversation.ask()
    return outcome.error or outcome.backend


@pytest.mark.parametrize(
    ("caller", "kind"),
    [*((caller, "udp") for caller in CALLERS), ("uncovered", "udp-connected"), ("outside", "udp-connected")],
)
def test_udp_leaves_a_backend_that_left_its_service(world: World, caller: str, kind: str) -> None:
    with sharing(world) as pair, ExitStack() as stack:
        moving, staying = (
            stack.enter_context(
                conversation_with(
                    world.caller(caller), kind, world.target(spec, "NodePort of node-1", kind), pair.leaving.name
                )
            )
            for spec in (pair.left, pair.other)
        )
        world.put(pair.left_behind)
        # That this takes no period of the sweep is for its own tests to say, where no clock of a busy machine runs.
        until(lambda: answered_by(moving) == pair.staying.name, "it stays where it was", SWEEP_SECONDS)
        assert {answered_by(moving) for _ in range(3)} == {pair.staying.name}
        assert {answered_by(staying) for _ in range(3)} == {pair.leaving.name}


@pytest.mark.usefixtures("destroys_sockets")
@pytest.mark.parametrize("caller", ["covered", "host"])
def test_a_connected_socket_of_a_backend_that_left_gets_an_error(world: World, caller: str) -> None:
    with sharing(world) as pair, ExitStack() as stack:
        told, untold = (
            stack.enter_context(
                conversation_with(
                    world.caller(caller), "udp-connected", world.target(spec, "ClusterIP", "udp"), pair.leaving.name
                )
            )
            for spec in (pair.left, pair.other)
        )
        world.put(pair.left_behind)
        until(lambda: answered_by(told) in CLOSED, "the socket lives on", SWEEP_SECONDS)
        (outcome,) = world.caller(caller).ask("udp-connected", world.target(pair.left, "ClusterIP", "udp"))
        assert outcome.backend == pair.staying.name
        assert {answered_by(untold) for _ in range(3)} == {pair.leaving.name}


@pytest.mark.parametrize("caller", CALLERS)
def test_connections_of_both_services_stay(routed: World, caller: str) -> None:
    with sharing(routed) as pair, ExitStack() as stack:
        conversations = [
            stack.enter_context(
                conversation_with(
                    routed.caller(caller), "tcp", routed.target(spec, "NodePort of node-1", "tcp"), pair.leaving.name
                )
            )
            for spec in (pair.left, pair.other)
        ]
        routed.put(pair.left_behind)
        for conversation in conversations * 3:
            assert answered_by(conversation) == pair.leaving.name
        dialled = routed.target(pair.left, "NodePort of node-1", "tcp")
        assert {each.backend for each in routed.caller(caller).ask("tcp", dialled, count=5)} == {pair.staying.name}


def test_udp_stays_while_its_backend_drains(routed: World) -> None:
    """Terminating and serving: it takes nothing new, and its own clients go on."""
    with sharing(routed) as pair, ExitStack() as stack:
        conversations = [
            stack.enter_context(
                conversation_with(
                    routed.caller(caller),
                    "udp",
                    routed.target(pair.left, "NodePort of node-1", "udp"),
                    pair.leaving.name,
                )
            )
            for caller in CALLERS
        ]
        routed.put(replace(pair.left_behind, draining=(pair.leaving,)))
        routed.put(replace(pair.other, backends=(pair.staying,)))  # a sweep, which must spare them
        for conversation in conversations * 3:
            assert answered_by(conversation) == pair.leaving.name
