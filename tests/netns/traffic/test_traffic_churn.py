"""Backends come and go under load: no request fails, connections that stand go on, UDP moves.

The server of a removed backend runs on, as that of a pod does which drains.
"""

from contextlib import ExitStack
from dataclasses import replace

import pytest

from ebpflb.bench.control import Load
from tests.netns.services import Spec
from tests.netns.traffic.callers import CLOSED, conversation_with
from tests.netns.traffic.world import OWN_TCP_PORT, OWN_UDP_PORT, SWEEP_SECONDS, World, until

pytestmark = pytest.mark.root

CALLERS = ("covered", "uncovered", "host", "outside")
RATE = ("--rate", "50", "--timeout", "10")


def churning(world: World, number: int) -> Spec:
    """A Service whose backends other Services have, too: they stay when it lets them go."""
    return Spec(f"churning-{number}", number, (world.local, *world.remote))


def alone(spec: Spec) -> Spec:
    """The Service with backends of its own: whom it lets go is gone."""
    return replace(spec, tcp_port=OWN_TCP_PORT, udp_port=OWN_UDP_PORT)


@pytest.mark.parametrize("kind", ["tcp", "udp"])
@pytest.mark.parametrize("shared", [True, False])
def test_no_request_fails_while_backends_come_and_go(routed: World, kind: str, shared: bool) -> None:
    spec = churning(routed, 40)
    spec = spec if shared else alone(spec)
    a, b, c = spec.backends
    with routed.service(spec), ExitStack() as stack:
        dialled = routed.target(spec, "NodePort of node-1", kind)
        loads = {
            (caller, mode): stack.enter_context(Load(routed.place(caller), kind, dialled, *RATE, *mode))
            for caller in CALLERS
            for mode in ((), ("--keep",))
        }
        for chosen in ((a, b), (b,), (b, c), (c,), (c, a), (a,), (a, b, c)):
            # TCP of a backend that is gone from every Service is closed; a pod drains before that.
            leaving = tuple(pod for pod in spec.backends if pod not in chosen) if kind == "tcp" else ()
            routed.put(replace(spec, backends=chosen, draining=leaving))
            if kind == "udp":
                routed.wait_for_sweep(dialled, kind, set(spec.backends) - set(chosen))
            for (caller, _), load in loads.items():
                load.flow(0.02)
                answered = routed.caller(caller).ask(kind, dialled, count=3)
                assert {outcome.backend for outcome in answered} <= {pod.name for pod in chosen}, (caller, answered)
        reports = {name: load.stop() for name, load in loads.items()}
    for name, report in reports.items():
        assert (report.failures, report.breaks) == ({}, 0), name
    for caller in CALLERS:
        assert set(reports[caller, ()].by_backend) == {pod.name for pod in spec.backends}


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("gone", ["local", "remote"])
def test_a_connection_to_a_removed_backend_goes_on(world: World, caller: str, gone: str) -> None:
    spec = churning(world, 41)
    pod = world.local if gone == "local" else world.remote[0]
    with world.service(spec):
        dialled = world.target(spec, "NodePort of node-1", "tcp")
        with conversation_with(world.caller(caller), "tcp", dialled, pod.name) as conversation:
            world.put(replace(spec, backends=tuple(other for other in spec.backends if other != pod)))
            outcomes = [conversation.ask() for _ in range(5)]
            assert {(outcome.backend, outcome.error) for outcome in outcomes} == {(pod.name, "")}
            world.put(replace(spec, backends=()))
            assert conversation.ask().backend == pod.name
            (refused,) = world.caller(caller).ask("tcp", dialled)
            assert refused.error == "ECONNREFUSED"


@pytest.mark.usefixtures("destroys_sockets")
@pytest.mark.parametrize("caller", ["covered", "host"])
def test_a_connected_udp_socket_of_a_removed_backend_gets_an_error(routed: World, caller: str) -> None:
    """Its peer cannot be changed, so its owner must hear of it: the next socket goes to a backend that is there."""
    spec = alone(churning(routed, 42))
    pod = routed.remote[0]
    with routed.service(spec):
        dialled = routed.target(spec, "ClusterIP", "udp")
        with conversation_with(routed.caller(caller), "udp-connected", dialled, pod.name) as conversation:
            routed.put(replace(spec, backends=(routed.local,)))
            until(lambda: conversation.ask().error in CLOSED, "the socket lives on", SWEEP_SECONDS)
        (outcome,) = routed.caller(caller).ask("udp-connected", dialled)
        assert outcome.backend == routed.local.name


@pytest.mark.parametrize(
    ("caller", "kind"),
    [*((caller, "udp") for caller in CALLERS), ("uncovered", "udp-connected"), ("outside", "udp-connected")],
)
def test_udp_moves_to_another_backend_by_itself(world: World, caller: str, kind: str) -> None:
    """Packet by packet: at sendmsg(), or where no socket hook sees the socket, at the device."""
    spec = alone(churning(world, 43))
    pod = world.remote[0]
    with world.service(spec):
        dialled = world.target(spec, "NodePort of node-1", kind)
        with conversation_with(world.caller(caller), kind, dialled, pod.name) as conversation:
            world.put(replace(spec, backends=(world.local,)))
            outcomes = [conversation.ask() for _ in range(3)]
            assert {(outcome.backend, outcome.error) for outcome in outcomes} == {(world.local.name, "")}
            assert {outcome.peer for outcome in outcomes} == {dialled}
