"""An agent with a configuration file: what it sets on its node, and what makes it end so that another one starts."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ebpflb.bench.agents import READY_SECONDS
from ebpflb.bench.control import measure, start_server
from ebpflb.bench.topology import Lab
from ebpflb.errors import UsageError
from tests.kube.objects import make_node
from tests.netns.life_helpers import EBPFLB, SOON_S, LifeAgent, agent_on, slice_of, tcp_service, until, write_objects

pytestmark = pytest.mark.root

WEB = "10.96.0.10"
NETFILTER = "/proc/sys/net/netfilter"
CONFIG = """\
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
oomScoreAdj: 17
detectLocalMode: NodeCIDR
conntrack: {tcpCloseWaitTimeout: 47m}
ebpflb: {serveMetrics: false}
"""


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
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "config.conf"
    path.write_text(CONFIG)
    return path


@pytest.fixture(scope="module")
def running(lab: Lab, folder: Path, config: Path) -> Iterator[LifeAgent]:
    put_node(folder)
    write_objects(folder, web=[tcp_service("web", WEB), slice_of("web", lab.pod(1, 1))])
    with agent_on(lab.node(1), "--manifests", str(folder), "--config", str(config)) as agent:
        yield agent


@pytest.fixture
def agent(running: LifeAgent, folder: Path, config: Path) -> LifeAgent:
    """The agent, with the Node and the file that it began with; it runs."""
    if not running.process.is_running:
        config.write_text(CONFIG)
        put_node(folder)
        running.restart()
    return running


def put_node(folder: Path, address: str = "192.0.2.1", pod_cidrs: list[str] | None = None) -> None:
    node: dict[str, Any] = make_node("node-1")
    node["status"] = {"addresses": [{"type": "InternalIP", "address": address}]}
    node["spec"] = {"podCIDRs": ["10.244.1.0/24"] if pod_cidrs is None else pod_cidrs}
    write_objects(folder, node=[node])


def assert_ends_and_comes_back(lab: Lab, agent: LifeAgent, reason: str) -> None:
    assert agent.process.wait(SOON_S) == 1
    (line,) = agent.logged("event=restart ")
    assert reason in line
    assert agent.process.lines()[-1] == line
    assert agent.logged("Traceback") == []
    assert measure(lab.pod(1, 2), "tcp", f"{WEB}:80", "--count", "3").by_backend == {"node-1-pod-1": 3}


def test_the_node_is_set_up(lab: Lab, agent: LifeAgent) -> None:
    assert Path(f"/proc/{agent.process.pid}/oom_score_adj").read_text().strip() == "17"
    found = lab.node(1).run(["cat", f"{NETFILTER}/nf_conntrack_tcp_timeout_close_wait"], check=False)
    has_conntrack = Path(NETFILTER, "nf_conntrack_max").exists()
    assert found.stdout.strip() == (str(47 * 60) if has_conntrack else "")


def test_another_file_ends_the_agent(lab: Lab, agent: LifeAgent, config: Path) -> None:
    new = config.with_name("new")
    new.write_text(CONFIG.replace("17", "18"))
    new.rename(config)
    assert_ends_and_comes_back(lab, agent, f"the configuration file {config} has changed")


def test_another_address_of_the_node_ends_the_agent(lab: Lab, agent: LifeAgent, folder: Path) -> None:
    put_node(folder, "192.0.2.2")
    reason = "the addresses of Node node-1 have changed from 192.0.2.1 to 192.0.2.2"
    assert_ends_and_comes_back(lab, agent, reason)


def test_other_pod_cidrs_end_the_agent(lab: Lab, agent: LifeAgent, folder: Path) -> None:
    put_node(folder, pod_cidrs=["10.244.2.0/24"])
    assert_ends_and_comes_back(
        lab, agent, "the podCIDRs of Node node-1 have changed from 10.244.1.0/24 to 10.244.2.0/24"
    )


def test_a_node_that_is_gone_ends_the_agent(lab: Lab, agent: LifeAgent, folder: Path) -> None:
    (folder / "node.yaml").unlink()
    assert_ends_and_comes_back(lab, agent, "Node node-1 is gone")


def awaited(agent: LifeAgent) -> tuple[str, ...] | None:
    try:
        return agent.status().waiting_for
    except UsageError:  # it has not left a status yet
        return None


def test_without_pod_cidrs_the_agent_waits(lab: Lab, agent: LifeAgent, folder: Path) -> None:
    agent.process.stop()
    put_node(folder, pod_cidrs=[])
    agent.start()
    until(lambda: agent.logged("event=build_adopted"))
    until(lambda: awaited(agent) == ("Node",))
    assert measure(lab.pod(1, 2), "tcp", f"{WEB}:80", "--count", "3").by_backend == {"node-1-pod-1": 3}
    put_node(folder)
    agent.wait_ready()
    until(lambda: awaited(agent) == ())


def test_init_only_pins_and_attaches_nothing(lab: Lab, agent: LifeAgent) -> None:
    agent.cleanup()
    assert not agent.pins.root.exists()
    with agent.node.popen([*EBPFLB, "run", "--init-only", "--ip-family", "ipv4", *agent.scope()]) as init:
        assert init.wait(READY_SECONDS) == 0, init.tail()
        assert "event=initialized" in init.lines()[-1]
    names = {pin.name for pin in agent.pins.root.rglob("*")}
    assert names >= {"frontends", "lb_uplink_l3_4", "lb_xdp_in4"}  # also what an agent with fewer rights may need later
    assert (agent.filters(), agent.socket_programs()) == ([], [])
    agent.restart()
    assert agent.logged("event=build_adopted")
    assert not agent.logged("event=build_compiled")
