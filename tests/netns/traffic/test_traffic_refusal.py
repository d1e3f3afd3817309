"""What callers meet when nobody can answer, or nobody near: refusal at once, or silence, as the policies ask."""

from dataclasses import replace

import pytest

from ebpflb.core.abi import Counter
from tests.netns.services import Spec
from tests.netns.traffic.rules import AT_ONCE, SILENCE
from tests.netns.traffic.settled import settled
from tests.netns.traffic.world import World

pytestmark = pytest.mark.root

TRIES = 10
"""A stall of the machine slows one attempt down, a lost refusal each of them."""
KINDS = ("tcp", "udp-connected")
CALLERS = ("covered", "uncovered", "host", "hostNetwork", "outside")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize(
    "destination", ["ClusterIP", "external IP", "balancer IP", "NodePort of node-1", "NodePort of node-2"]
)
def test_a_service_without_backends_refuses_at_once(world: World, caller: str, destination: str, kind: str) -> None:
    dialled = world.target(world.specs["nobody"], destination, kind)
    for _ in range(TRIES):
        (outcome,) = world.caller(caller).ask(kind, dialled)
        assert outcome.error == "ECONNREFUSED"
        if outcome.seconds < AT_ONCE:
            return
    raise AssertionError(f"refused, but only after {outcome.seconds:.1f} s")


@pytest.mark.parametrize(
    ("caller", "counter"),
    [
        ("covered", Counter.SOCK_REJECTED),
        ("host", Counter.SOCK_REJECTED),
        ("uncovered", Counter.REJECTED),
        ("outside", Counter.REJECTED),
    ],
)
def test_refusals_are_counted_where_they_happen(world: World, caller: str, counter: Counter) -> None:
    for kind in KINDS:
        before = settled(lambda: world.counters(1))[counter]
        world.caller(caller).ask(kind, world.target(world.specs["nobody"], "ClusterIP", kind))
        refused = world.counters(1)[counter] - before
        # A SYN that a stall of the machine held up is repeated, and refused again.
        assert refused >= 1 if (kind, counter) == ("tcp", Counter.REJECTED) else refused == 1, kind


@pytest.mark.parametrize("caller", CALLERS)
def test_a_service_that_gets_its_first_backend_serves(routed: World, caller: str) -> None:
    """The refusal leaves nothing behind that would stand in the way."""
    spec = replace(routed.specs["nobody"], name="newborn", number=20)
    with routed.service(spec):
        dialled = [(kind, routed.target(spec, "ClusterIP", kind)) for kind in KINDS]
        for kind, address in dialled:
            assert [one.error for one in routed.caller(caller).ask(kind, address)] == ["ECONNREFUSED"]
        routed.put(replace(spec, backends=(routed.local,)))
        for kind, address in dialled:
            assert [one.backend for one in routed.caller(caller).ask(kind, address)] == [routed.local.name]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("destination", ["NodePort of node-3", "external IP", "balancer IP"])
def test_external_policy_local_drops_where_no_backend_is(world: World, destination: str, kind: str) -> None:
    on_node_3 = destination == "NodePort of node-3"
    spec = world.specs["external-local" if on_node_3 else "local-elsewhere"]
    node = 3 if on_node_3 else 1
    before = world.counters(node)
    (outcome,) = world.caller("outside").ask(kind, world.target(spec, destination, kind), timeout=SILENCE)
    assert outcome.error == "timeout"
    assert world.counters(node)[Counter.DROP_NO_LOCAL_BACKEND] > before[Counter.DROP_NO_LOCAL_BACKEND]


@pytest.mark.parametrize("kind", ["tcp", "udp"])
@pytest.mark.parametrize(("node", "backends"), [(1, {"node-1-pod-3"}), (2, {"node-2-pod-1", "node-2-pod-2"})])
def test_external_policy_local_keeps_to_the_node_and_keeps_the_client(
    world: World, node: int, backends: set[str], kind: str
) -> None:
    dialled = world.target(world.specs["external-local"], f"NodePort of node-{node}", kind)
    outcomes = world.caller("outside").ask_each(kind, dialled, backends)
    assert {outcome.backend for outcome in outcomes} == backends
    assert {outcome.seen_as for outcome in outcomes} == {world.address(world.lab.client)}


@pytest.mark.parametrize("kind", ["tcp", "udp"])
@pytest.mark.parametrize("caller", ["covered", "uncovered", "host", "hostNetwork"])
@pytest.mark.parametrize("destination", ["NodePort of node-1", "balancer IP"])
def test_external_policy_local_does_not_bind_the_nodes_own(
    world: World, caller: str, destination: str, kind: str
) -> None:
    dialled = world.target(world.specs["local-elsewhere"], destination, kind)
    backends = {pod.name for pod in world.remote}
    outcomes = world.caller(caller).ask_each(kind, dialled, backends)
    assert {outcome.backend for outcome in outcomes} == backends


@pytest.mark.parametrize("kind", ["tcp", "udp"])
@pytest.mark.parametrize("caller", CALLERS)
def test_internal_policy_local_keeps_to_the_node(world: World, caller: str, kind: str) -> None:
    dialled = world.target(world.specs["internal-local"], "ClusterIP", kind)
    outcomes = world.caller(caller).ask(kind, dialled, count=20)
    assert {outcome.backend for outcome in outcomes} == {world.local.name}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("caller", "error"),
    # A socket cannot be told to wait for nothing: where the caller can be told, it is.
    [("covered", "ECONNREFUSED"), ("host", "ECONNREFUSED"), ("uncovered", "timeout"), ("outside", "timeout")],
)
def test_internal_policy_local_serves_nobody_where_no_backend_is(
    world: World, caller: str, error: str, kind: str
) -> None:
    dialled = world.target(world.specs["local-elsewhere"], "ClusterIP", kind)
    (outcome,) = world.caller(caller).ask(kind, dialled, timeout=SILENCE)
    assert outcome.error == error


@pytest.mark.parametrize("kind", ["tcp", "udp"])
@pytest.mark.parametrize("caller", CALLERS)
def test_internal_policy_local_does_not_bind_external_addresses(world: World, caller: str, kind: str) -> None:
    dialled = world.target(world.specs["internal-local"], "NodePort of node-1", kind)
    backends = {world.local.name, *(pod.name for pod in world.remote)}
    outcomes = world.caller(caller).ask_each(kind, dialled, backends)
    assert {outcome.backend for outcome in outcomes} == backends


@pytest.mark.parametrize("kind", ["tcp", "udp"])
@pytest.mark.parametrize("caller", CALLERS)
def test_terminating_backends_serve_where_no_other_is(routed: World, caller: str, kind: str) -> None:
    spec = Spec("leaving", 21, backends=(), draining=(routed.local, routed.remote[0]))
    with routed.service(spec):
        backends = {pod.name for pod in spec.draining}
        outcomes = routed.caller(caller).ask_each(kind, routed.target(spec, "ClusterIP", kind), backends)
        assert {outcome.backend for outcome in outcomes} == backends
        routed.put(replace(spec, backends=routed.remote[1:]))
        dialled = routed.target(spec, "ClusterIP", kind)
        # From ports that had no flow: one of UDP stays with whom still serves it.
        outcomes = [routed.caller(caller).ask(kind, dialled, port=20_001 + number)[0] for number in range(10)]
        assert {outcome.backend for outcome in outcomes} == {routed.remote[1].name}
