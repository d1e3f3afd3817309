"""The rig at work: modes carry what they are told to, and what fails is told."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ebpflb.bench.generator.driver import start_load
from ebpflb.bench.generator.tools import compile_tools
from ebpflb.bench.modes import DIRECT, IPTABLES_LEGACY, IPTABLES_NFT, KINDS, NFTABLES, SOCKET
from ebpflb.bench.rig import TALK, Rig, Stand
from ebpflb.bench.topology import Lab
from ebpflb.errors import EbpflbError

pytestmark = pytest.mark.root

SERVICES = 3
CONNECTS = 200


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with Rig() as rig:
        yield rig


@pytest.fixture(scope="module")
def ours(rig: Rig) -> Stand:
    return rig.stand(KINDS[SOCKET])


@pytest.mark.parametrize("mode", [DIRECT, IPTABLES_LEGACY, IPTABLES_NFT, NFTABLES])
def test_every_mode_carries_requests_to_the_other_node(rig: Rig, mode: str) -> None:
    stand = rig.stand(KINDS[mode], is_remote=True, port=TALK)
    stand.load(SERVICES)
    timing = stand.run("request", CONNECTS)
    assert sum(each.connections for each in stand.served) == timing.operations == CONNECTS
    assert stand.run("pingpong", CONNECTS).operations == CONNECTS
    assert stand.run("bulk", 1).operations == 1


def test_ours_serves_more_and_more_services(ours: Stand) -> None:
    for services in (SERVICES, 2 * SERVICES):
        ours.load(services)
        timing = ours.run("connect", CONNECTS)
        assert timing.least <= timing.median <= timing.p99 <= timing.p999 <= timing.elapsed
        assert sum(each.held for each in ours.served) == CONNECTS


def test_a_client_past_the_hooks_reaches_no_service_but_the_backends(ours: Stand) -> None:
    ours.run("connect", CONNECTS, is_bare=True)
    assert [each.held for each in ours.served] == [CONNECTS // 2, CONNECTS // 2]


def test_frontends_written_past_the_agent_serve(ours: Stand) -> None:
    ours.load(50, is_fast=True)
    assert ours.run("connect", CONNECTS).operations == CONNECTS


def test_a_connection_that_is_refused_ends_the_run(tmp_path: Path) -> None:
    with Lab("gen", nodes=1, pods_per_node=1) as lab:
        loader = start_load(lab.pod(1, 1), compile_tools(tmp_path), 0)
        loader.dial(["127.0.0.1:1"])
        with pytest.raises(EbpflbError, match="connect: Connection refused"):
            loader.run("connect", 1)
