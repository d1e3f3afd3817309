"""An agent follows an API server over TLS with a bearer token; the server dies and returns, traffic never notices."""

import json
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from ebpflb.agent.config import status_path
from ebpflb.bench.control import Load, measure, start_server
from ebpflb.bench.namespaces import namespace_path
from ebpflb.bench.topology import Lab
from tests.kube.http_api import HttpServer
from tests.kube.objects import make_node
from tests.kube.server import ApiServer
from tests.netns.host_helpers import inside
from tests.netns.life_helpers import (
    SOON_S,
    LifeAgent,
    agent_on,
    assert_no_failure,
    loads,
    slice_of,
    tcp_service,
    until,
)

pytestmark = pytest.mark.root

WEB = "10.96.0.10"
RATE = ("--rate", "100", "--timeout", "10")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab("life", nodes=1, pods_per_node=2) as built:
        for pod in built.pods:
            start_server(pod)
        yield built


class MortalServer(ApiServer):
    """An API server in a network namespace; it can die, and come back at the same address with what it held."""

    def __init__(self, namespace: Path, folder: Path) -> None:
        self._namespace = namespace
        with inside(namespace):
            super().__init__(folder)
        self._port = self._http.server_address[1]

    def die(self) -> None:
        super().__exit__()

    def come_back(self) -> None:
        self.stopping = False
        with inside(self._namespace):
            self._http = HttpServer(("127.0.0.1", self._port), self, self.certificates)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()


@pytest.fixture(scope="module")
def server(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MortalServer]:
    """Listens in the node's namespace, whose 127.0.0.1 the agent can reach; holds one Service, web, on pod 1."""
    namespace = namespace_path(lab.node(1).netns)
    with MortalServer(namespace, tmp_path_factory.mktemp("certificates")) as running_server:
        running_server.put("nodes", make_node("node-1"))
        running_server.put("services", tcp_service("web", WEB))
        running_server.put("endpointslices", slice_of("web", lab.pod(1, 1)))
        yield running_server


@pytest.fixture(scope="module")
def running(lab: Lab, server: MortalServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LifeAgent]:
    kubeconfig = server.write_kubeconfig(tmp_path_factory.mktemp("kubeconfig") / "config")
    with agent_on(lab.node(1), "--kubeconfig", str(kubeconfig)) as agent:
        yield agent


@pytest.fixture
def agent(lab: Lab, running: LifeAgent, server: MortalServer) -> LifeAgent:
    """The agent, with web on pod 1 alone."""
    server.put("endpointslices", slice_of("web", lab.pod(1, 1)))
    until(lambda: running.backends_of(WEB) == at(lab, 1))
    return running


def at(lab: Lab, *pods: int) -> list[str]:
    return [f"{lab.pod(1, pod).address}:8080/TCP" for pod in pods]


def who_answers(lab: Lab, address: str) -> set[str]:
    # That one of two is never chosen among 40 has a chance of 1 in 10^12.
    report = measure(lab.pod(1, 2), "tcp", f"{address}:80", "--count", "40")
    assert report.failures == {}
    return set(report.by_backend)


def test_what_the_server_holds_is_served(lab: Lab, agent: LifeAgent, server: MortalServer) -> None:
    assert who_answers(lab, WEB) == {"node-1-pod-1"}
    assert agent.status().objects == {"Service": 1, "EndpointSlice": 1, "Node": 1, "ServiceCIDR": 0, "Pod": 0}
    until(lambda: agent.ebpflb("status").returncode == 0)


def test_a_change_of_a_slice_alone_is_in_the_maps_soon(lab: Lab, agent: LifeAgent, server: MortalServer) -> None:
    for pods in ((2,), (1, 2), (1,)):
        server.put("endpointslices", slice_of("web", *(lab.pod(1, pod) for pod in pods)))
        until(partial(serves_exactly, agent, at(lab, *pods)))
    server.put("endpointslices", slice_of("web", *lab.node(1).pods))
    until(partial(serves_exactly, agent, at(lab, 1, 2)))
    assert who_answers(lab, WEB) == {"node-1-pod-1", "node-1-pod-2"}


def serves_exactly(agent: LifeAgent, backends: list[str]) -> bool:
    return agent.backends_of(WEB) == backends


def test_services_come_and_go(lab: Lab, agent: LifeAgent, server: MortalServer) -> None:
    server.put("services", tcp_service("late", "10.96.0.11"))
    server.put("endpointslices", slice_of("late", lab.pod(1, 2)))
    until(lambda: agent.backends_of("10.96.0.11") == at(lab, 2))
    assert who_answers(lab, "10.96.0.11") == {"node-1-pod-2"}
    server.delete("services", "life", "late")
    server.delete("endpointslices", "life", "late-1")
    until(lambda: agent.cluster_ips() == {WEB})


def test_the_server_dies_and_comes_back_under_load(lab: Lab, agent: LifeAgent, server: MortalServer) -> None:
    target = f"{WEB}:80"
    fresh = Load(lab.pod(1, 2), "tcp", target, *RATE)
    kept = Load(lab.pod(1, 2), "tcp", target, *RATE, "--keep")
    with loads(fresh, kept) as reports:
        server.die()
        until(lambda: server.url in agent.status().source_error)
        # Its words change: first it is a watch that broke, then a connection that is refused.
        until(lambda: f"healthy, but: source: {agent.status().source_error} (process" in agent.ebpflb("status").stdout)
        assert who_answers(lab, WEB) == {"node-1-pod-1"}
        moved = slice_of("web", lab.pod(1, 2), lab.pod(1, 1))
        moved["endpoints"][1]["conditions"] = {"ready": False, "serving": True, "terminating": True}
        server.put("endpointslices", moved)
        server.come_back()
        until(lambda: agent.backends_of(WEB) == at(lab, 2))
        until(lambda: agent.status().source_error == "")
        assert who_answers(lab, WEB) == {"node-1-pod-2"}
    assert_no_failure(reports)
    assert reports[0].by_backend.keys() == {"node-1-pod-1", "node-1-pod-2"}
    assert reports[1].by_backend.keys() == {"node-1-pod-1"}


def test_an_agent_that_starts_without_its_server_keeps_what_is_in_the_maps(
    lab: Lab, agent: LifeAgent, server: MortalServer
) -> None:
    tables = agent.tables()
    agent.kill()
    server.die()
    path = status_path(agent.state, agent.instance)
    path.unlink()  # the one of the run before
    agent.start()
    until(lambda: path.exists() and agent.status().source_error)
    document = json.loads(agent.ebpflb("status", "-o", "json").stdout)
    assert not document["healthy"]
    assert any("waiting for" in reason for reason in document["reasons"])
    assert agent.tables().frontends == tables.frontends
    assert who_answers(lab, WEB) == {"node-1-pod-1"}
    server.come_back()
    agent.wait_ready()
    until(lambda: agent.ebpflb("status").returncode == 0)
    assert who_answers(lab, WEB) == {"node-1-pod-1"}


def test_sigterm_ends_open_watches_at_once(agent: LifeAgent) -> None:
    """A watch is open for minutes: an agent that waited for its end would be killed before, and not exit with 0."""
    assert agent.process.stop(SOON_S) == 0
    agent.restart()
