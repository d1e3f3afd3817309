"""Maps too small for what is asked of them: some Services are refused and named, the others are served."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ebpflb.bench.control import measure, start_server
from ebpflb.bench.topology import Lab
from tests.kube.store import Object
from tests.netns.life_helpers import LifeAgent, agent_on, slice_of, tcp_service, until, write_objects

pytestmark = pytest.mark.root

TINY = "frontends=8 backends=32 services=32 members=32 slots=1024 flows=64 affinity=16 sockets=64"
FLOWS = 32
"""Each takes two entries."""
NODE_PORT = 30080
ROOM = 4
"""A ClusterIP takes two frontends: its port, and the address as such."""
WISHED = 6
ADDRESSES = {f"web-{number}": f"10.96.1.{number}" for number in range(WISHED)}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab("life", nodes=1, pods_per_node=2) as built:
        start_server(built.pod(1, 1))
        yield built


@pytest.fixture(scope="module")
def folder(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("manifests")
    write_objects(path, **{name: on_pod_1(lab, name) for name in ADDRESSES})
    return path


@pytest.fixture(scope="module")
def agent(lab: Lab, folder: Path) -> Iterator[LifeAgent]:
    flags = [flag for size in TINY.split() for flag in ("--map-size", size)]
    with agent_on(lab.node(1), "--manifests", str(folder), *flags) as running:
        yield running


def on_pod_1(lab: Lab, name: str) -> list[Object]:
    return [tcp_service(name, ADDRESSES[name]), slice_of(name, lab.pod(1, 1))]


def refused(agent: LifeAgent) -> set[str]:
    return {each.object.removeprefix("Service life/") for family in agent.status().families for each in family.refused}


def is_answered(lab: Lab, name: str, *, expected: bool = True) -> bool:
    """Return whether a Service is answered; for what nobody shall answer it need not be waited long."""
    timeout_s = "30" if expected else "0.3"
    return measure(lab.pod(1, 2), "tcp", f"{ADDRESSES[name]}:80", "--count", "1", "--timeout", timeout_s).answered == 1


def backend(lab: Lab) -> str:
    return f"{lab.pod(1, 1).address}:8080/TCP"


def test_what_does_not_fit_is_refused_by_name_and_the_rest_is_served(lab: Lab, agent: LifeAgent) -> None:
    left_out = refused(agent)
    assert len(left_out) == WISHED - ROOM
    assert len(agent.cluster_ips()) == ROOM
    shown = agent.ebpflb("status").stdout
    for name in ADDRESSES:
        expected = name not in left_out
        assert is_answered(lab, name, expected=expected) is expected
        assert (f"life/{name}" in shown) is (name in left_out)
    for family in agent.status().families:
        assert all(each.field and each.reason and each.remedy for each in family.refused)


def test_room_that_is_made_goes_to_one_that_waited(lab: Lab, agent: LifeAgent, folder: Path) -> None:
    waiting = refused(agent)
    leaving = min(set(ADDRESSES) - waiting)
    (folder / f"{leaving}.yaml").unlink()
    until(lambda: len(refused(agent)) == WISHED - ROOM - 1)
    (served,) = waiting - refused(agent)
    assert is_answered(lab, served)
    assert not is_answered(lab, leaving, expected=False)
    write_objects(folder, **{leaving: on_pod_1(lab, leaving)})
    until(lambda: len(refused(agent)) == WISHED - ROOM)
    assert agent.process.is_running


def test_a_full_flow_table_refuses_nobody(lab: Lab, agent: LifeAgent, folder: Path) -> None:
    """Flows that find no room among the confirmed ones stay with the pending ones, where the oldest give way."""
    for file in folder.iterdir():
        file.unlink()
    node_port = tcp_service("web-0", ADDRESSES["web-0"], NODE_PORT)
    write_objects(folder, **{"web-0": [node_port, slice_of("web-0", lab.pod(1, 1))]})
    # One way by the ClusterIP, one by the NodePort: those of the others are gone.
    until(lambda: agent.backends_of_kind("ClusterIP") == agent.backends_of_kind("NodePort") == [backend(lab)])
    until(lambda: len(agent.tables().frontends) == 3)
    outside = [f"{lab.node(1).address}:{NODE_PORT}", "--timeout", "10"]
    report = measure(lab.client, "tcp", *outside, "--count", str(FLOWS + 4))
    assert (report.failures, report.answered) == ({}, FLOWS + 4)
    assert len(agent.rows("flows")) <= 2 * FLOWS
    assert is_answered(lab, "web-0")
    write_objects(folder, **{"web-1": on_pod_1(lab, "web-1")})
    until(lambda: agent.backends_of(ADDRESSES["web-1"]) == [backend(lab)])
    assert is_answered(lab, "web-1")
    until(lambda: agent.ebpflb("status").returncode == 0)


def test_another_size_waits_for_a_cleanup_and_says_so(agent: LifeAgent, folder: Path) -> None:
    agent.kill()
    agent.source = ("--manifests", str(folder), "--map-size", "frontends=16")
    agent.restart()
    warning = "map frontends has 8 entries, 16 wanted: run `ebpflb cleanup` (interrupts traffic) to have it made anew"
    assert agent.logged("map frontends has 8 entries")
    assert warning in until(lambda: agent.status().node.warnings)
    assert f"  warning: {warning}" in agent.ebpflb("status").stdout.splitlines()
    agent.cleanup()
    agent.restart()
    assert agent.status().node.warnings == ()
    assert agent.status().families[0].maps["frontends"].capacity == 16
