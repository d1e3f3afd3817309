"""IPv6 sockets that dial IPv4 Services by ::ffff:a.b.c.d: what they reach, and whom they believe to speak to."""

import pytest

from ebpflb.core.abi import Counter
from tests.netns.traffic.callers import KINDS
from tests.netns.traffic.world import World

pytestmark = pytest.mark.root

DESTINATIONS = ("ClusterIP", "external IP", "NodePort of node-1")


def mapped(dialled: str) -> str:
    """Return an IPv4 address and port as an IPv6 socket dials them."""
    return f"::ffff:{dialled}"


def plain(shown: str) -> str:
    """Return an address and port as an IPv4 socket is shown them."""
    return shown.replace("::ffff:", "").replace("[", "").replace("]", "")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("service", ["local", "remote"])
@pytest.mark.parametrize("destination", DESTINATIONS)
@pytest.mark.parametrize("caller", ["covered", "uncovered", "host", "hostNetwork"])
def test_every_caller_reaches_the_backend_and_sees_the_service(
    routed_world: World, caller: str, destination: str, service: str, kind: str
) -> None:
    spec = routed_world.specs[service]
    dialled = routed_world.target(spec, destination, kind)
    (outcome,) = routed_world.caller(caller).ask(kind, mapped(dialled))
    assert (outcome.error, outcome.backend) == ("", spec.backends[0].name)
    assert plain(outcome.peer) == dialled


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("caller", ["covered", "host"])
def test_the_socket_hooks_do_it_and_keep_the_true_source(routed_world: World, caller: str, kind: str) -> None:
    spec = routed_world.specs["remote"]
    before = routed_world.counters(1)
    (outcome,) = routed_world.caller(caller).ask(kind, mapped(routed_world.target(spec, "ClusterIP", kind)))
    after = routed_world.counters(1)
    assert outcome.seen_as == routed_world.address(routed_world.place(caller))
    assert after[Counter.SOCK_TRANSLATED] == before[Counter.SOCK_TRANSLATED] + 1
    assert after[Counter.FLOW_CREATED] == before[Counter.FLOW_CREATED]


@pytest.mark.parametrize("kind", ["tcp", "udp-connected"])
@pytest.mark.parametrize("caller", ["covered", "host"])
def test_a_service_without_backends_refuses(routed_world: World, caller: str, kind: str) -> None:
    (outcome,) = routed_world.caller(caller).ask(
        kind, mapped(routed_world.target(routed_world.specs["nobody"], "ClusterIP", kind))
    )
    assert outcome.error == "ECONNREFUSED"
