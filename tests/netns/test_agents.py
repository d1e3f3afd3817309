"""Agents on a lab, as the other netns tests use them: they program every node, come back after SIGKILL, and go."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ebpflb.bench.agents import BPFFS, Agents
from ebpflb.bench.control import measure
from ebpflb.bench.topology import Lab
from ebpflb.datapath.pins import Pins
from ebpflb.errors import EbpflbError
from tests.netns.lab_agents import agents_on, write_manifests

pytestmark = pytest.mark.root

SERVICE = """
apiVersion: v1
kind: Service
metadata: {{namespace: test, name: echo}}
spec:
  clusterIP: 10.96.1.1
  ports: [{{port: 80, targetPort: 8080}}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{namespace: test, name: echo-1, labels: {{kubernetes.io/service-name: echo}}}}
addressType: IPv4
ports: [{{port: 8080}}]
endpoints: [{{addresses: [{backend}], nodeName: node-1}}]
"""
TARGET = "10.96.1.1:80"


@pytest.fixture
def manifests(tmp_path: Path) -> Path:
    write_manifests(tmp_path, {"echo.yaml": SERVICE.format(backend="10.244.1.11")})
    return tmp_path


@pytest.fixture
def agents(lab_routed: Lab, manifests: Path) -> Iterator[Agents]:
    with agents_on(lab_routed, manifests) as running:
        yield running


def test_every_node_is_programmed_survives_its_agent_and_is_cleaned_up(lab_routed: Lab, agents: Agents) -> None:
    def answers() -> list[dict[str, int]]:
        return [measure(pod, "tcp", TARGET, "--count", "5").by_backend for pod in lab_routed.pods]

    expected = [{"node-1-pod-1": 5}] * len(lab_routed.pods)
    assert answers() == expected
    agents[2].kill()
    assert answers() == expected
    agents[2].start()
    agents[2].wait_ready()
    assert answers() == expected
    assert any("event=build_adopted" in line for line in agents[2].running.lines())
    pins = Pins(BPFFS, agents[2].instance)
    assert pins.list()
    agents[2].cleanup()
    assert not pins.root.exists()
    unserved = measure(lab_routed.pod(2, 1), "tcp", TARGET, "--count", "1", "--timeout", "0.2")
    assert unserved.answered == 0


def test_agents_that_cannot_start_show_their_own_words(lab_routed: Lab, tmp_path: Path) -> None:
    with pytest.raises(EbpflbError, match=r"no-such-folder"), agents_on(lab_routed, tmp_path / "no-such-folder"):
        pass
