"""Traffic from outside through native XDP. To be sure that it was XDP, tc is first taken off the ingress."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from ebpflb.bench.control import Load, transfer
from ebpflb.bench.topology import Lab
from ebpflb.cli.pinned import read_tables
from ebpflb.core.abi import Counter, DeviceFlag, Family
from tests.netns.host_helpers import xdp_program
from tests.netns.life_helpers import SOON_S, LifeAgent, agent_on, assert_no_failure, loads, until
from tests.netns.xdp_helpers import (
    Traffic,
    call,
    frontend,
    know_neighbour,
    set_far_end,
    traffic,
    transmitted,
    write_services,
    xdp_lab,
    xdp_on,
)

pytestmark = pytest.mark.root

KINDS = ("NodePort", "external IP", "balancer IP")
PROTOCOLS = ("tcp", "udp")


@dataclass
class World:
    lab: Lab
    agent: LifeAgent

    def with_tc(self) -> None:
        """Have the agent run, and tc's programs where they belong."""
        if not self.agent.process.is_running:
            self.know_neighbours("reachable")
            self.agent.restart()

    def without_tc(self) -> None:
        """Leave the ingress to XDP: kill the agent, which would repair it, and remove tc's programs there."""
        self.agent.kill()
        self.know_neighbours("permanent")
        self.lab.node(1).run(["tc", "filter", "del", "dev", self.agent.node.uplink, "ingress"])
        hooks = {hook for hook, _ in self.agent.filters_on(self.agent.node.uplink)}
        assert hooks == {"egress"}

    def know_neighbours(self, state: str) -> None:
        """Tell node-1 of whoever XDP sends to."""
        for place in (self.lab.node(2), self.lab.client):
            know_neighbour(self.lab.node(1), place, state)

    def traffic(self) -> Traffic:
        """Return what node-1 has done until now."""
        return traffic(self.agent, self.lab)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with xdp_lab("xdp") as lab:
        folder = write_services(tmp_path_factory.mktemp("xdp") / "manifests", lab)
        with agent_on(lab.node(1), "--manifests", str(folder), "--acceleration", "native") as agent:
            assert xdp_on(lab.node(1)) == ("native", "lb_xdp")
            for family in Family:  # neighbours are resolved by the first packets
                for protocol in PROTOCOLS:
                    target = frontend(lab, "far", "NodePort", protocol, family)
                    until(lambda: call(lab, target, protocol, 1).answered, SOON_S)  # noqa: B023
            yield World(lab, agent)


@pytest.fixture
def served(world: World) -> World:
    world.with_tc()
    return world


@pytest.fixture
def alone(world: World) -> World:
    if world.agent.process.is_running:
        world.without_tc()
    return world


@pytest.mark.parametrize("family", Family, ids=lambda family: family.name)
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("kind", KINDS)
def test_remote_backends_are_reached_by_xdp_alone(alone: World, kind: str, protocol: str, family: Family) -> None:
    before = alone.traffic()
    report = call(alone.lab, frontend(alone.lab, "far", kind, protocol, family), protocol)
    assert report.by_backend == {"node-2-pod-1": 5}, report
    assert report.clients == [alone.lab.node(1).address_of(family)]
    after = alone.traffic()
    assert after.counters[family][Counter.FORWARDED] - before.counters[family][Counter.FORWARDED] >= 10
    assert after.transmitted - before.transmitted == after.forwarded - before.forwarded


@pytest.mark.parametrize("family", Family, ids=lambda family: family.name)
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("kind", KINDS)
def test_local_backends_are_reached_by_xdp_alone(alone: World, kind: str, protocol: str, family: Family) -> None:
    before = alone.traffic()
    report = call(alone.lab, frontend(alone.lab, "near", kind, protocol, family), protocol)
    assert report.by_backend == {"node-1-pod-1": 5}, report
    assert report.clients == [alone.lab.client.address_of(family)]
    after = alone.traffic()
    for counter in (Counter.DELIVERED, Counter.REPLY_RESTORED):
        assert after.counters[family][counter] - before.counters[family][counter] >= 5
    assert after.transmitted == before.transmitted


@pytest.mark.parametrize("family", Family, ids=lambda family: family.name)
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("kind", KINDS)
def test_local_backends_that_see_the_node_are_left_to_tc(
    served: World, kind: str, protocol: str, family: Family
) -> None:
    """XDP cannot send to a pod's device what is masqueraded; the flow is known to both."""
    sent = served.traffic().transmitted
    report = call(served.lab, frontend(served.lab, "hiding", kind, protocol, family), protocol)
    assert report.by_backend == {"node-1-pod-1": 5}, report
    assert report.clients == [served.lab.node(1).address_of(family)]
    assert served.traffic().transmitted == sent


@pytest.mark.parametrize("family", Family, ids=lambda family: family.name)
@pytest.mark.parametrize("service", ["near", "far"])
def test_bulk_data_arrives_whole_by_xdp_alone(alone: World, service: str, family: Family) -> None:
    report = transfer(alone.lab.client, frontend(alone.lab, service, "NodePort", "tcp", family), 8)
    assert (report.intact_up, report.intact_down) == (True, True)


@pytest.mark.parametrize("family", Family, ids=lambda family: family.name)
def test_a_missing_neighbour_is_resolved_by_tc_and_nothing_is_lost(served: World, family: Family) -> None:
    target = frontend(served.lab, "far", "NodePort", "udp", family)
    node = served.lab.node(1)
    for _ in range(5):
        gateway = served.lab.node(2).address_of(family)
        before = served.traffic()
        node.run(["ip", "neigh", "flush", "to", gateway, "dev", node.uplink])
        assert call(served.lab, target, "udp", 1).answered == 1
        after = served.traffic()
        assert after.counters[family][Counter.XDP_TO_TC] > before.counters[family][Counter.XDP_TO_TC]
        assert after.forwarded - before.forwarded > after.transmitted - before.transmitted


def test_a_far_end_that_would_lose_frames_is_left_to_tc_at_once(served: World) -> None:
    """Connections that XDP carried go on at tc, and come back: the two share all state."""
    agent, lab = served.agent, served.lab
    targets = [frontend(lab, "far", "NodePort", "tcp", family) for family in Family]
    # TCP repeats what is lost until the agent knows, ever slower; who stops a load waits for 30 seconds.
    keep = ["--rate", "50", "--keep", "--timeout", "20"]
    with loads(*(Load(lab.client, "tcp", target, *keep) for target in targets)) as reports:
        set_far_end(lab, lab.node(1), "off")
        try:
            until(lambda: may_transmit(agent) == set(), SOON_S)
            (state,) = until(lambda: [each for each in agent.status().node.xdp if not each.transmits], SOON_S)
            assert (state.mode, "other end" in state.reason) == ("native", True)
            before = transmitted(lab)
            assert [call(lab, target).answered for target in targets] == [5, 5]
            assert transmitted(lab) == before
        finally:
            with xdp_program("bystander") as pin:
                set_far_end(lab, lab.node(1), "pinned", str(pin))
        until(lambda: may_transmit(agent) == set(Family), SOON_S)
        before = transmitted(lab)
        assert [call(lab, target).answered for target in targets] == [5, 5]
        assert transmitted(lab) > before
    assert_no_failure(reports)


def may_transmit(agent: LifeAgent) -> set[Family]:
    """Return in which families the maps allow XDP to send frames out of the uplink."""
    devices = {family: read_tables(agent.pins, family).devices.values() for family in Family}
    return {family for family, rows in devices.items() if any(DeviceFlag.XDP in row.flags for row in rows)}
