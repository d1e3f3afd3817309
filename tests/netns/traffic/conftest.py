"""The worlds that the traffic tests share: one a network, for the whole session, since starting agents is slow.

A world speaks both families at once; a test takes it in one of them.
"""

from collections.abc import Iterator

import pytest

from ebpflb.bench.plan import DUAL_STACK, PodNetwork, Underlay
from ebpflb.core.abi import Family
from tests.netns.traffic.rules import world_of_rules
from tests.netns.traffic.wide import Wide, wide_world
from tests.netns.traffic.world import World, world_on


@pytest.fixture(scope="session")
def routed_world() -> Iterator[World]:
    """Pods on routed veths."""
    with world_on(PodNetwork.ROUTED) as world:
        yield world


@pytest.fixture(scope="session")
def bridged_world() -> Iterator[World]:
    """Pods on a bridge."""
    with world_on(PodNetwork.BRIDGED) as world:
        yield world


@pytest.fixture(scope="session")
def vxlan_world() -> Iterator[World]:
    """Pods on routed veths; those of other nodes behind a VXLAN device that has no address."""
    with world_on(PodNetwork.ROUTED, Underlay.VXLAN) as world:
        yield world


@pytest.fixture(scope="session")
def wide() -> Iterator[Wide]:
    """Both families, a narrow way to one client; nodes reach each other's pods by routes."""
    with wide_world("wide", Underlay.ROUTED) as world:
        yield world


@pytest.fixture(scope="session")
def overlaid() -> Iterator[Wide]:
    """The same, but nodes reach each other's pods through VXLAN, and TCP is answered directly unless told otherwise."""
    with wide_world("overlaid", Underlay.VXLAN, ("--forwarding", "hybrid")) as world:
        yield world


@pytest.fixture(scope="session")
def rules_world() -> Iterator[World]:
    """Pods on bridges, and an agent on node-1 alone, which modules configure as they like."""
    with world_of_rules() as world:
        yield world


@pytest.fixture(params=DUAL_STACK, ids=lambda family: family.name)
def family(request: pytest.FixtureRequest) -> Family:
    """Run the test for IPv4 and for IPv6."""
    return Family(request.param)


@pytest.fixture
def routed(routed_world: World, family: Family) -> World:
    """Pods on routed veths, in each family."""
    return routed_world.speaking(family)


@pytest.fixture
def rules(rules_world: World, family: Family) -> World:
    """The world of the rules, in each family."""
    return rules_world.speaking(family)


@pytest.fixture(params=["routed", "bridged"])
def world(request: pytest.FixtureRequest, family: Family) -> World:
    """For what must hold on both pod networks, in each family."""
    return _world(request, family)


@pytest.fixture(params=["routed", "bridged", "vxlan"])
def anywhere(request: pytest.FixtureRequest, family: Family) -> World:
    """For what must hold on both pod networks and over an overlay, in each family."""
    return _world(request, family)


def _world(request: pytest.FixtureRequest, family: Family) -> World:
    found: World = request.getfixturevalue(f"{request.param}_world")
    return found.speaking(family)
