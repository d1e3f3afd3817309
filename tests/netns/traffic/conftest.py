"""The worlds that the traffic tests share: one a pod network, for the whole session, since starting agents is slow."""

from collections.abc import Iterator

import pytest

from ebpflb.bench.plan import PodNetwork
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
