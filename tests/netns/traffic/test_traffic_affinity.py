"""ClientIP affinity: who counts as one client, how long it lasts, and what ends it."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from ebpflb.bench.agents import BPFFS
from ebpflb.cli.pinned import decode_maps, read_tables
from ebpflb.core.abi import Counter
from ebpflb.datapath.pins import Pins
from tests.netns.services import NAMESPACE, Spec
from tests.netns.traffic.callers import KINDS, backends
from tests.netns.traffic.world import CLIENTS, World, until

pytestmark = pytest.mark.root

LONG = 3600
SHORT = 2
"""Seconds."""
CALLERS = ("covered", "uncovered", "host", "outside")


def sticky(world: World, number: int, seconds: int = LONG) -> Spec:
    return Spec(f"sticky-{number}", number, (world.local, *world.remote), affinity_seconds=seconds)


def hits_of(world: World, act: Callable[[], object]) -> int:
    """Return how often node-1 used an affinity during an act."""
    before = world.counters(1)[Counter.AFFINITY_HIT]
    act()
    return world.counters(1)[Counter.AFFINITY_HIT] - before


def seconds_left(world: World, spec: Spec) -> float:
    """Return for how long node-1 remembers the Service's last client."""
    pins = Pins(BPFFS, world.agents[1].instance)
    rows = decode_maps(pins, read_tables(pins, world.family), ["affinity"], f"{NAMESPACE}/{spec.name}")
    return max(float(row["seconds_left"]) for row in rows["affinity"])


@pytest.mark.parametrize("caller", CALLERS)
def test_a_client_keeps_its_backend_until_that_is_gone(routed: World, caller: str) -> None:
    spec = sticky(routed, 30)
    call = routed.caller(caller)
    with routed.service(spec):
        for kind in KINDS:
            (first,) = backends(call.ask(kind, routed.target(spec, "ClusterIP", kind), count=20))
            fewer = tuple(pod for pod in spec.backends if pod.name != first)
            routed.put(replace(spec, backends=fewer))
            if kind != "tcp":  # where a SYN says who is new
                routed.wait_for_sweep(routed.target(spec, "ClusterIP", kind), kind, set(spec.backends) - set(fewer))
            (second,) = backends(call.ask(kind, routed.target(spec, "ClusterIP", kind), count=20))
            assert second in {pod.name for pod in fewer}
            routed.put(spec)
            assert backends(call.ask(kind, routed.target(spec, "ClusterIP", kind), count=5)) == {second}


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_outside_clients_are_told_apart_by_address(routed: World, kind: str) -> None:
    spec = sticky(routed, 31)
    outside = routed.caller("outside")
    with routed.service(spec):
        dialled = routed.target(spec, "NodePort of node-1", kind)
        chosen = [backends(outside.ask(kind, dialled, count=5, source=address)) for address in CLIENTS[routed.family]]
    assert {len(of_client) for of_client in chosen} == {1}
    assert set.union(*chosen) == {pod.name for pod in spec.backends}


def test_a_network_namespace_is_one_client_on_every_frontend(routed: World) -> None:
    spec = sticky(routed, 32)
    destinations = ("ClusterIP", "external IP", "balancer IP", "NodePort of node-1", "NodePort of loopback")
    with routed.service(spec):
        chosen = [
            backends(routed.caller(caller).ask("tcp", routed.target(spec, destination, "tcp"), count=3))
            for caller in ("host", "hostNetwork")
            for destination in destinations
        ]
    assert len(set.union(*chosen)) == 1


@pytest.mark.parametrize("caller", ["covered", "outside"])
def test_each_connection_renews_affinity(routed: World, caller: str) -> None:
    spec = sticky(routed, 33)
    call = routed.caller(caller)
    with routed.service(spec):
        dialled = routed.target(spec, "ClusterIP", "tcp")
        call.ask("tcp", dialled)
        until(lambda: seconds_left(routed, spec) < LONG - 0.5, "time does not pass")
        left = seconds_left(routed, spec)

        def is_renewed() -> bool:
            call.ask("tcp", dialled)
            return seconds_left(routed, spec) > left

        until(is_renewed, "time goes on as if nothing had been asked")


@pytest.mark.parametrize("caller", ["covered", "outside"])
def test_affinity_ends_after_its_timeout(routed: World, caller: str) -> None:
    spec = sticky(routed, 34, SHORT)
    call = routed.caller(caller)
    with routed.service(spec):
        dialled = routed.target(spec, "ClusterIP", "tcp")

        def is_hit() -> bool:
            return hits_of(routed, lambda: call.ask("tcp", dialled)) == 1

        # A stall of the machine may be longer than affinity lasts, and what is shown is rounded: a hit in the last
        # moment is right, and then everything begins again.
        until(is_hit, "affinity never begins")
        until(lambda: seconds_left(routed, spec) == 0 and not is_hit(), "affinity never ends")
        until(is_hit, "affinity never begins again")


@pytest.mark.parametrize("caller", ["covered", "host"])
def test_switching_affinity_takes_effect_for_new_connections(routed: World, caller: str) -> None:
    spec = sticky(routed, 35)
    call = routed.caller(caller)
    loose = replace(spec, affinity_seconds=0)
    everyone = {pod.name for pod in spec.backends}
    with routed.service(loose):
        dialled = routed.target(spec, "ClusterIP", "tcp")
        assert backends(call.ask_each("tcp", dialled, everyone)) == everyone
        for _ in range(2):
            routed.put(spec)
            assert len(backends(call.ask("tcp", dialled, count=20))) == 1
            routed.put(loose)
            assert backends(call.ask_each("tcp", dialled, everyone)) == everyone
