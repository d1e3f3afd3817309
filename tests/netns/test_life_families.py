"""Nodes that have one family: what an agent serves there, what it says of the other, and how a family is given up."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ebpflb.bench.control import Load, measure, start_server
from ebpflb.bench.namespaces import write_sysctls
from ebpflb.bench.plan import DUAL_STACK
from ebpflb.bench.topology import Lab
from ebpflb.core.abi import Family
from tests.netns.life_helpers import (
    SOON_S,
    LifeAgent,
    agent_on,
    assert_no_failure,
    loads,
    slice_of,
    tcp_service,
    until,
    write_objects,
)

pytestmark = pytest.mark.root

WEB = "10.96.0.10"


def write_web(folder: Path, lab: Lab) -> None:
    write_objects(folder, web=[tcp_service("web", WEB), slice_of("web", lab.pod(1, 1))])


def assert_serves(lab: Lab) -> None:
    assert measure(lab.pod(1, 2), "tcp", f"{WEB}:80", "--count", "3").by_backend == {"node-1-pod-1": 3}


def families_attached(agent: LifeAgent) -> set[Family]:
    return {found.family for found in agent.filters()}


@pytest.fixture(scope="module")
def without_addresses() -> Iterator[Lab]:
    """A kernel that has IPv6, and a node that has no global address of it."""
    with Lab("life", nodes=1, pods_per_node=2) as lab:
        start_server(lab.pod(1, 1))
        yield lab


def test_a_node_without_addresses_of_a_family_serves_what_it_can_and_gives_it_up_when_told(
    without_addresses: Lab, tmp_path: Path
) -> None:
    lab = without_addresses
    write_web(tmp_path, lab)
    source = ("--manifests", str(tmp_path))
    with agent_on(lab.node(1), *source, "--ip-family", "dual") as agent:
        status = agent.status()
        assert [family.family for family in status.families] == [4, 6]
        assert status.node.warnings == (
            "no uplink has a global IPv6 address: IPv6 is served but where it had to be masqueraded",
        )
        until(lambda: agent.ebpflb("status").returncode == 0)
        assert_serves(lab)
        assert families_attached(agent) == set(DUAL_STACK)

        agent.source = (*source, "--ip-family", "ipv4")
        with loads(Load(lab.pod(1, 2), "tcp", f"{WEB}:80", "--rate", "100", "--timeout", "10", "--keep")) as reports:
            agent.kill()
            agent.restart()
        assert_no_failure(reports)
        assert agent.logged("event=build_adopted")
        assert agent.status().node.warnings == ()
        assert families_attached(agent) == {Family.IPV4}
        assert not agent.pins.family(Family.IPV6).exists()
        attached = {shown["name"] for shown in agent.socket_programs()}
        assert "lb_connect4" in attached
        assert "lb_connect6" not in attached


def test_without_ipv6_in_the_kernel_the_agent_serves_ipv4(tmp_path: Path) -> None:
    with Lab("life", nodes=1, pods_per_node=2, families=DUAL_STACK) as lab:
        start_server(lab.pod(1, 1))
        write_sysctls(lab.node(1).netns, [("net/ipv6/conf/all/disable_ipv6", "1")])
        write_web(tmp_path, lab)
        with agent_on(lab.node(1), "--manifests", str(tmp_path)) as agent:
            assert_serves(lab)
            status = agent.status()
            assert [family.family for family in status.families] == [4]
            assert [text.partition(";")[0] for text in status.node.warnings] == [
                "IPv6: not served: it is disabled in this network namespace"
            ]
            assert status.healthy
            assert families_attached(agent) == {Family.IPV4}


def test_ipv6_alone_without_ipv6_is_an_error_in_words(tmp_path: Path) -> None:
    with Lab("life", nodes=1, pods_per_node=0) as lab:
        write_sysctls(lab.node(1).netns, [("net/ipv6/conf/all/disable_ipv6", "1")])
        agent = LifeAgent(
            lab.node(1), lab.node(1).netns, tmp_path, ("--manifests", str(tmp_path), "--ip-family", "ipv6")
        )
        agent.start()
        assert agent.process.wait(SOON_S) == 3
        assert "no IP family is left to serve: IPv6: not served" in agent.process.tail()
