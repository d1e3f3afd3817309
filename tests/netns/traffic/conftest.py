"""The worlds that the traffic tests share: one a pod network, for the whole session, since starting agents is slow."""

from collections.abc import Iterator

import pytest

from ebpflb.bench.plan import DUAL_STACK, PodNetwork, Underlay
from ebpflb.core.abi import Family
from tests.netns.traffic.wide import Wide, wide_world
from tests.netns.traffic.world import World, world_on


@pytest.fixture(scope="session")
def routed() -> Iterator[World]:
    """Pods on routed veths."""
    with world_on(PodNetwork.ROUTED) as world:
        yield world


@pytest.fixture(scope="session")
def bridged() -> Iterator[World]:
    """Pods on a bridge."""
    with world_on(PodNetwork.BRIDGED) as world:
        yield world


@pytest.fixture(params=[network.value for network in PodNetwork])
def world(request: pytest.FixtureRequest) -> World:
    """Each of them: for what must hold on both pod networks."""
    found: World = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="session")
def wide() -> Iterator[Wide]:
    """Both families, a narrow way to one client; nodes reach each other's pods by routes."""
    with wide_world("wide", Underlay.ROUTED) as world:
        yield world


@pytest.fixture(scope="session")
def overlaid() -> Iterator[Wide]:
    """The same, but nodes reach each other's pods through VXLAN."""
    with wide_world("overlaid", Underlay.VXLAN) as world:
        yield world


@pytest.fixture(params=DUAL_STACK, ids=lambda family: family.name)
def family(request: pytest.FixtureRequest) -> Family:
    """Each family, in turn."""
    return Family(request.param)
