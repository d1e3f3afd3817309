"""Both families of one Service at once, and Services that have more of one family than of the other."""

import pytest

from ebpflb.bench.addresses import family_of
from ebpflb.bench.plan import DUAL_STACK
from ebpflb.core.abi import Family
from tests.netns.services import Spec
from tests.netns.traffic.callers import KINDS
from tests.netns.traffic.world import World

pytestmark = pytest.mark.root

CALLERS = ("covered", "uncovered", "host", "outside")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("destination", ["ClusterIP", "external IP", "balancer IP", "NodePort of node-1"])
def test_a_service_answers_in_both_families_at_once(
    routed_world: World, caller: str, destination: str, kind: str
) -> None:
    spec = routed_world.specs["spread"]
    call = routed_world.caller(caller)
    for family in DUAL_STACK * 2:
        dialled = routed_world.speaking(family).target(spec, destination, kind)
        backends = {pod.name for pod in spec.backends}
        outcomes = call.ask_each(kind, dialled, backends)
        assert {outcome.error for outcome in outcomes} == {""}
        assert {outcome.backend for outcome in outcomes} == backends
        assert {outcome.peer for outcome in outcomes} == {dialled}
        assert {family_of(outcome.seen_as) for outcome in outcomes} == {family}


@pytest.mark.parametrize("missing", DUAL_STACK, ids=lambda family: family.name)
def test_a_service_whose_backends_have_one_family_refuses_in_the_other(routed_world: World, missing: Family) -> None:
    """PreferDualStack, and pods of an application that listens in one family alone."""
    spec = Spec("lopsided", 75, routed_world.remote, slices_of=tuple(set(DUAL_STACK) - {missing}))
    with routed_world.service(spec):
        for caller in CALLERS:
            for destination in ("ClusterIP", "NodePort of node-1"):
                for family in DUAL_STACK:
                    dialled = routed_world.speaking(family).target(spec, destination, "tcp")
                    (outcome,) = routed_world.caller(caller).ask("tcp", dialled)
                    assert outcome.error == ("ECONNREFUSED" if family is missing else "")


@pytest.mark.parametrize("only", DUAL_STACK, ids=lambda family: family.name)
def test_a_single_stack_service_has_node_ports_in_its_own_family_only(routed_world: World, only: Family) -> None:
    spec = Spec("single", 76, routed_world.remote, families=(only,))
    with routed_world.service(spec):
        for family in DUAL_STACK:
            world = routed_world.speaking(family)
            for caller in ("host", "outside"):
                dialled = world.target(spec, "NodePort of node-1", "tcp")
                (outcome,) = world.caller(caller).ask("tcp", dialled)
                # To the node it is a port that nobody listens on.
                assert outcome.error == ("" if family is only else "ECONNREFUSED")


@pytest.mark.parametrize("caller", ["covered", "uncovered", "outside"])
def test_affinity_is_each_familys_own(routed_world: World, caller: str) -> None:
    spec = Spec("sticky-both", 77, (routed_world.local, *routed_world.remote), affinity_seconds=3600)
    with routed_world.service(spec):
        for family in DUAL_STACK:
            dialled = routed_world.speaking(family).target(spec, "ClusterIP", "tcp")
            outcomes = routed_world.caller(caller).ask("tcp", dialled, count=15)
            assert {outcome.error for outcome in outcomes} == {""}
            assert len({outcome.backend for outcome in outcomes}) == 1
