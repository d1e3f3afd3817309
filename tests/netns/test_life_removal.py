"""Two instances on one kernel: they do not see each other, one at a time runs, and cleanup takes away exactly one."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ebpflb.agent.config import clsact_path, status_path
from ebpflb.bench.control import measure, start_server
from ebpflb.bench.topology import Lab
from ebpflb.core.abi import Family
from ebpflb.datapath.programs import SOCKET_PROGRAMS, programs_of
from tests.netns.life_helpers import SOON_S, LifeAgent, agent_on, slice_of, tcp_service, write_objects

pytestmark = pytest.mark.root

WEB = "10.96.0.10"
WEB_PORT = 30080


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab("life", nodes=2, pods_per_node=1) as built:
        for pod in built.pods:
            start_server(pod)
        yield built


@pytest.fixture(scope="module")
def agents(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LifeAgent, LifeAgent]]:
    """Both nodes serve the same address, each by its own pod: whoever sees the other's maps answers wrongly."""
    folders = []
    for node in lab.nodes:
        folder = tmp_path_factory.mktemp("manifests")
        write_objects(folder, web=[tcp_service("web", WEB, WEB_PORT), slice_of("web", node.pod(1))])
        folders.append(str(folder))
    first, second = (agent_on(node, "--manifests", folder) for node, folder in zip(lab.nodes, folders, strict=True))
    with first as one, second as other:
        yield one, other


def who_answers(lab: Lab, node: int, timeout_s: float = 30.0) -> list[dict[str, int]]:
    """Return who answers a node's pod at the ClusterIP, and the client at the node's NodePort."""
    twice = ("--count", "2", "--timeout", str(timeout_s))
    return [
        measure(lab.pod(node, 1), "tcp", f"{WEB}:80", *twice).by_backend,
        measure(lab.client, "tcp", f"{lab.node(node).address}:{WEB_PORT}", *twice).by_backend,
    ]


def test_two_instances_do_not_see_each_other(lab: Lab, agents: tuple[LifeAgent, LifeAgent]) -> None:
    for number in (1, 2):
        assert who_answers(lab, number) == [{f"node-{number}-pod-1": 2}] * 2
    one, other = agents
    assert {row["backend"] for row in one.rows("backends")} == {f"{lab.pod(1, 1).address}:8080/TCP"}
    assert {row["backend"] for row in other.rows("backends")} == {f"{lab.pod(2, 1).address}:8080/TCP"}
    assert {found.program_id for found in one.filters()}.isdisjoint(found.program_id for found in other.filters())


def test_a_second_agent_of_an_instance_names_the_first(agents: tuple[LifeAgent, LifeAgent], tmp_path: Path) -> None:
    agent = agents[0]
    for state in (agent.state, tmp_path):
        done = agent.ebpflb("run", *agent.source, "--cgroup", str(agent.node.cgroup), "--state-dir", str(state))
        (line,) = done.stderr.splitlines()
        assert (done.returncode, done.stdout) == (4, "")
        assert f"process {agent.process.pid}" in line
    assert agent.ebpflb("status").returncode == 0


def test_cleanup_refuses_while_the_agent_runs(lab: Lab, agents: tuple[LifeAgent, LifeAgent], tmp_path: Path) -> None:
    agent = agents[0]
    pins, filters = agent.pins.list(), agent.filters()
    for arguments in ([], ["--state-dir", str(tmp_path)]):
        done = agent.ebpflb("cleanup", *arguments)
        (line,) = done.stderr.splitlines()
        assert (done.returncode, done.stdout) == (4, "")
        assert f"kill {agent.process.pid}" in line
    assert (agent.pins.list(), agent.filters()) == (pins, filters)


def test_maps_and_status_are_readable_while_the_agent_is_down(lab: Lab, agents: tuple[LifeAgent, LifeAgent]) -> None:
    agent = agents[0]
    assert agent.ebpflb("status").returncode == 0
    agent.kill()
    status = agent.ebpflb("status")
    assert status.returncode == 1
    assert "no agent runs; traffic follows what the maps hold" in status.stdout
    dump = agent.ebpflb("dump-maps", "-o", "json")
    assert dump.returncode == 0, dump.stderr
    maps = json.loads(dump.stdout)["families"]["ipv4"]
    assert {row["service"] for row in maps["frontends"] if row["kind"] != "Address"} == {"life/web:http/TCP"}
    assert [row["backend"] for row in maps["backends"]] == [f"{lab.pod(1, 1).address}:8080/TCP"]
    served = {lab.node(1).uplink, *(pod.device for pod in lab.node(1).pods)}
    assert {row["device"] for row in maps["devices"]} == served
    of_service = agent.ebpflb("dump-maps", "frontends", "--service", "life/web")
    assert f"{WEB}:80/TCP" in of_service.stdout
    assert who_answers(lab, 1) == [{"node-1-pod-1": 2}] * 2


def test_cleanup_takes_one_instance_away_and_says_so(lab: Lab, agents: tuple[LifeAgent, LifeAgent]) -> None:
    one, other = agents
    if one.process.is_running:
        assert one.process.stop(SOON_S) == 0
    pins, filters, others = one.pins.list(), one.filters(), (other.pins.list(), other.filters())
    assert {pin.parent.name for pin in pins if "lb_" in pin.name} >= {"links"}
    done = one.ebpflb("cleanup")
    assert (done.returncode, done.stderr) == (0, "")
    said = done.stdout.splitlines()
    assert {f"removed pin {pin}" for pin in pins} <= set(said)
    for found in filters:
        assert f"removed tc {found.device}: detached {found.program} from {found.hook}" in said
    for device in (lab.node(1).uplink, lab.pod(1, 1).device):
        assert f"removed tc {device}: removed clsact" in said
        assert "clsact" not in one.qdiscs_on(device)
    files = {status_path(one.state, one.instance), clsact_path(one.state, one.instance)}
    assert {f"removed file {path}" for path in files} <= set(said)
    assert list(one.state.iterdir()) == []
    assert not one.pins.root.exists()
    assert one.filters() == []
    assert one.socket_programs() == []
    assert who_answers(lab, 1, timeout_s=0.3) == [{}, {}]
    assert (other.pins.list(), other.filters()) == others
    assert len(other.socket_programs()) == len(programs_of(Family.IPV4, SOCKET_PROGRAMS))
    assert who_answers(lab, 2) == [{"node-2-pod-1": 2}] * 2
    assert other.ebpflb("status").returncode == 0


def test_a_second_cleanup_finds_nothing(agents: tuple[LifeAgent, LifeAgent]) -> None:
    agent = agents[0]
    if agent.process.is_running:
        assert agent.process.stop(SOON_S) == 0
    agent.ebpflb("cleanup")
    done = agent.ebpflb("cleanup")
    assert (done.returncode, done.stdout, done.stderr) == (0, "nothing to remove\n", "")
    assert agent.ebpflb("status").returncode == 1
    dump = agent.ebpflb("dump-maps")
    assert dump.returncode == 1
    assert dump.stderr.count("\n") == 1
