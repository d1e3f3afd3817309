"""When TCP sockets are closed: as the user says, and never one whose backend still serves it. The pods here live on.

That nothing is closed is seen after the sweep has looked: a UDP socket of a backend removed meanwhile tells when.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from ebpflb.bench.topology import Pod
from ebpflb.core.abi import Family
from ebpflb.datapath.stale import TcpSockets
from tests.netns.life_helpers import until
from tests.netns.stale.world import CLUSTER_IPS, KINDS, PORT, StaleWorld, stale_world, start
from tests.netns.traffic.callers import CLOSED, Caller, Conversation, conversation_with

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("destroys_sockets")]

ENDED = {"tcp": {"ECONNABORTED", "EPIPE", "ENOTCONN"}, "udp-connected": {*CLOSED, "ENOTCONN"}}
"""What recv() says on a socket that was destroyed, send(), and getpeername() after an answer that just came through."""
ALIVE = ""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StaleWorld]:
    with stale_world(tmp_path_factory.mktemp("manifests")) as built:
        yield built


@pytest.fixture(scope="module")
def caller(world: StaleWorld) -> Caller:
    return Caller(world.lab.pod(1, 1))


@pytest.fixture(params=Family)
def dialled(request: pytest.FixtureRequest) -> str:
    return at(CLUSTER_IPS[request.param])


def at(address: str) -> str:
    """Return a target as callers read it: without brackets around IPv6."""
    return f"{address}:{PORT}"


def ended(conversation: Conversation) -> str:
    """Ask once; return the error, empty while all is well."""
    return conversation.ask().error


def wait_for_end(conversation: Conversation, kind: str) -> None:
    assert until(lambda: ended(conversation)) in ENDED[kind]


@contextmanager
def conversations(caller: Caller, dialled: str, backend: Pod) -> Iterator[dict[str, Conversation]]:
    with ExitStack() as stack:
        yield {kind: stack.enter_context(conversation_with(caller, kind, dialled, backend.name)) for kind in ENDED}


@pytest.mark.parametrize("policy", TcpSockets)
def test_tcp_sockets_are_closed_when_the_user_says(
    world: StaleWorld, caller: Caller, policy: TcpSockets, dialled: str
) -> None:
    staying, leaving, other = world.lab.node(2).pods[:3]
    world.agent.process.stop()
    start(world.agent, "--close-tcp-sockets", policy)
    world.write(staying, leaving, other)
    until(lambda: world.leads_to(staying, leaving, other))
    with conversations(caller, dialled, leaving) as left, conversations(caller, dialled, staying) as kept:
        with conversation_with(caller, "udp-connected", dialled, other.name) as witness:
            world.write(staying, terminating=[leaving])
            wait_for_end(witness, "udp-connected")
        until(lambda: world.draining() == [len(KINDS)] * len(Family))
        if policy is TcpSockets.DRAINING:
            wait_for_end(left["tcp"], "tcp")
        else:
            assert ended(left["tcp"]) == ALIVE
        assert ended(left["udp-connected"]) == ALIVE
        world.write(staying)
        wait_for_end(left["udp-connected"], "udp-connected")
        if policy is TcpSockets.NEVER:
            assert ended(left["tcp"]) == ALIVE
        elif policy is TcpSockets.DELETED:
            wait_for_end(left["tcp"], "tcp")
        assert [ended(each) for each in kept.values()] == [ALIVE] * len(ENDED)


def test_a_pod_that_fails_its_readiness_probe_keeps_its_connections(
    world: StaleWorld, caller: Caller, dialled: str
) -> None:
    staying, failing, other = world.lab.node(2).pods[:3]
    world.agent.process.stop()
    start(world.agent)
    world.write(staying, failing, other)
    until(lambda: world.leads_to(staying, failing, other))
    with conversations(caller, dialled, failing) as kept:
        with conversation_with(caller, "udp-connected", dialled, other.name) as witness:
            world.write(staying, unready=[failing])
            wait_for_end(witness, "udp-connected")
        wait_for_end(kept["udp-connected"], "udp-connected")  # it has left the Service, and others are there
        assert ended(kept["tcp"]) == ALIVE
        world.write(staying, failing)
        until(lambda: world.leads_to(staying, failing))
        assert ended(kept["tcp"]) == ALIVE
        world.write(staying)
        wait_for_end(kept["tcp"], "tcp")


def test_a_service_that_is_deleted_and_created_again_loses_its_old_sockets_only(
    world: StaleWorld, caller: Caller, dialled: str
) -> None:
    """pitfalls 7.1: after the Service came back, clients went on to talk to where it had led before."""
    pod, other = world.lab.node(2).pods[:2]
    world.agent.process.stop()
    start(world.agent)
    world.write(pod)
    until(lambda: world.leads_to(pod))
    with conversations(caller, dialled, pod) as old:
        world.delete()
        for kind, conversation in old.items():
            wait_for_end(conversation, kind)
        world.write(pod)
        until(lambda: world.leads_to(pod))
        with conversations(caller, dialled, pod) as new:
            world.write(pod, other)
            until(lambda: world.leads_to(pod, other))
            assert [ended(each) for each in new.values()] == [ALIVE] * len(ENDED)


def test_rows_of_sockets_that_are_gone_are_forgotten(world: StaleWorld, caller: Caller) -> None:
    """A row without its socket costs a search of the whole machine for each backend that goes: not for ever."""
    staying, leaving = world.lab.node(2).pods[:2]
    dialled = at(CLUSTER_IPS[Family.IPV4])
    world.agent.process.stop()
    start(world.agent)
    world.write(staying, leaving)
    until(lambda: world.leads_to(staying, leaving))
    with conversation_with(caller, "udp", dialled, leaving.name):  # unconnected: nothing to be destroyed
        assert rows_of(world, leaving)
        world.write(staying)
        until(lambda: not rows_of(world, leaving))


def rows_of(world: StaleWorld, pod: Pod) -> list[str]:
    return [row["backend"] for row in world.agent.rows("sock_origins") if row["backend"].startswith(f"{pod.address}:")]
