"""A folder of manifests is edited, broken and mended while an agent follows it, and real sockets notice."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from ebpflb.bench.control import measure, start_server
from ebpflb.bench.topology import Lab
from tests.netns.lab_agents import write_manifests
from tests.netns.life_helpers import LifeAgent, agent_on, slice_of, tcp_service, until, write_objects

pytestmark = pytest.mark.root

WEB = "10.96.0.10"
OTHER = "10.96.0.11"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab("life", nodes=1, pods_per_node=2) as built:
        for pod in built.pods:
            start_server(pod)
        yield built


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("manifests")


@pytest.fixture(scope="module")
def running(lab: Lab, folder: Path) -> Iterator[LifeAgent]:
    with agent_on(lab.node(1), "--manifests", str(folder)) as agent:
        yield agent


@pytest.fixture
def agent(lab: Lab, running: LifeAgent, folder: Path) -> LifeAgent:
    """The agent, with one Service, web, on pod 1."""
    for file in folder.iterdir():
        file.unlink()
    write_objects(folder, web=[tcp_service("web", WEB), slice_of("web", lab.pod(1, 1))])
    until(lambda: running.backends_of(WEB) == [f"{lab.pod(1, 1).address}:8080/TCP"])
    until(lambda: running.cluster_ips() == {WEB} and running.status().source_error == "")
    return running


def who_answers(lab: Lab, address: str) -> dict[str, int]:
    return measure(lab.pod(1, 2), "tcp", f"{address}:80", "--count", "3").by_backend


def test_an_edited_file_is_followed(lab: Lab, agent: LifeAgent, folder: Path) -> None:
    assert who_answers(lab, WEB) == {"node-1-pod-1": 3}
    objects = [tcp_service("web", WEB), slice_of("web", lab.pod(1, 2))]
    (folder / "web.yaml").write_text("\n---\n".join(map(json.dumps, objects)))
    until(lambda: agent.backends_of(WEB) == [f"{lab.pod(1, 2).address}:8080/TCP"])
    assert who_answers(lab, WEB) == {"node-1-pod-2": 3}


def test_a_replaced_file_is_followed(lab: Lab, agent: LifeAgent, folder: Path) -> None:
    write_objects(folder, web=[tcp_service("web", WEB), slice_of("web", lab.pod(1, 2))])
    until(lambda: agent.backends_of(WEB) == [f"{lab.pod(1, 2).address}:8080/TCP"])
    assert who_answers(lab, WEB) == {"node-1-pod-2": 3}


def test_a_file_that_is_added_and_removed_is_followed(lab: Lab, agent: LifeAgent, folder: Path) -> None:
    write_objects(folder, other=[tcp_service("other", OTHER), slice_of("other", lab.pod(1, 2))])
    until(lambda: agent.backends_of(OTHER) == [f"{lab.pod(1, 2).address}:8080/TCP"])
    assert agent.cluster_ips() == {WEB, OTHER}
    assert who_answers(lab, OTHER) == {"node-1-pod-2": 3}
    (folder / "other.yaml").unlink()
    until(lambda: agent.cluster_ips() == {WEB})
    assert measure(lab.pod(1, 2), "tcp", f"{OTHER}:80", "--count", "1", "--timeout", "0.3").answered == 0
    assert who_answers(lab, WEB) == {"node-1-pod-1": 3}


def test_a_service_without_backends_refuses_at_once(lab: Lab, agent: LifeAgent, folder: Path) -> None:
    write_objects(folder, web=[tcp_service("web", WEB), slice_of("web")])
    until(lambda: agent.backends_of(WEB) == [])
    report = measure(lab.pod(1, 2), "tcp", f"{WEB}:80", "--count", "1")
    assert report.failures == {"ECONNREFUSED": 1}


def test_a_broken_file_is_named_and_its_last_good_state_stays(lab: Lab, agent: LifeAgent, folder: Path) -> None:
    good = (folder / "web.yaml").read_text()
    # In one step: a file that is written in place is empty at first, and empty is not broken.
    write_manifests(folder, {"web.yaml": "kind: Service\nmetadata: {name: web\n"})
    until(lambda: agent.status().source_error)
    assert "web.yaml:" in agent.ebpflb("status").stdout
    assert who_answers(lab, WEB) == {"node-1-pod-1": 3}
    write_objects(folder, other=[tcp_service("other", OTHER), slice_of("other", lab.pod(1, 2))])
    until(lambda: agent.cluster_ips() == {WEB, OTHER})
    write_manifests(folder, {"web.yaml": good})
    until(lambda: agent.status().source_error == "" and agent.status().healthy)
    shown = agent.ebpflb("status")
    assert (shown.returncode, "web.yaml" in shown.stdout) == (0, False)


def test_a_service_that_violates_its_schema_is_refused_alone(lab: Lab, agent: LifeAgent, folder: Path) -> None:
    wrong = tcp_service("wrong", OTHER)
    wrong["spec"]["ports"][0]["port"] = 70000
    write_objects(folder, wrong=[wrong], third=[tcp_service("third", "10.96.0.12"), slice_of("third", lab.pod(1, 2))])
    until(lambda: agent.backends_of("10.96.0.12"))
    assert agent.cluster_ips() == {WEB, "10.96.0.12"}
    until(lambda: agent.status().refused)  # told after the rows are there
    document = json.loads(agent.ebpflb("status", "-o", "json").stdout)
    (refused,) = document["status"]["refused"]
    assert refused["object"] == "Service life/wrong"
    assert "port" in refused["field"]
    assert refused["reason"]
    assert refused["remedy"]
    table = agent.ebpflb("status").stdout
    assert "life/wrong" in table
    assert who_answers(lab, "10.96.0.12") == {"node-1-pod-2": 3}
    (folder / "wrong.yaml").unlink()
    until(lambda: not agent.status().refused)


def test_a_service_that_turns_wrong_keeps_its_last_good_state(lab: Lab, agent: LifeAgent, folder: Path) -> None:
    wrong = tcp_service("web", WEB)
    wrong["spec"]["ports"][0]["protocol"] = "TPC"
    write_objects(folder, web=[wrong, slice_of("web", lab.pod(1, 2))])
    until(lambda: agent.backends_of(WEB) == [f"{lab.pod(1, 2).address}:8080/TCP"])
    until(lambda: [each.object for each in agent.status().refused] == ["Service life/web"])
    assert who_answers(lab, WEB) == {"node-1-pod-2": 3}


def test_a_folder_that_vanishes_and_returns(lab: Lab, agent: LifeAgent, folder: Path) -> None:
    aside = folder.with_name("aside")
    folder.rename(aside)
    assert str(folder) in until(lambda: agent.status().source_error)
    assert who_answers(lab, WEB) == {"node-1-pod-1": 3}
    shutil.copytree(aside, folder)
    write_objects(folder, web=[tcp_service("web", WEB), slice_of("web", lab.pod(1, 2))])
    until(lambda: agent.backends_of(WEB) == [f"{lab.pod(1, 2).address}:8080/TCP"])
    until(lambda: agent.status().source_error == "")
