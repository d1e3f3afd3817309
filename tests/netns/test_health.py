"""Load balancers and kubelet ask a node for its health over real HTTP, and hear what the maps can bear out."""

import re
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ebpflb.bench.agents import READY_SECONDS
from ebpflb.bench.namespaces import namespace_path
from ebpflb.bench.topology import Lab, Node, Place
from ebpflb.core.abi import Family
from ebpflb.host.http_server import MOST_CONNECTIONS, open_socket
from ebpflb.host.namespaces import in_each
from ebpflb.reconcile.status import HealthPort
from tests.netns.health_helpers import CHECK_PORT, HEALTHZ, LOCAL, SECONDS, Answer, a_node, balanced, fetch
from tests.netns.life_helpers import SOON_S, LifeAgent, agent_on, slice_of, tcp_service, until, write_objects

pytestmark = pytest.mark.root

WEB, OTHER = "10.96.0.10", "10.96.0.11"
SYNC = ("--iptables-sync-period", "1s")
"""A change that waits for two of them is ill health."""
GO_TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{1,9})? \+0000 UTC"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab("health", nodes=2, pods_per_node=2) as built:
        yield built


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("manifests")


@pytest.fixture(scope="module")
def running(lab: Lab, folder: Path) -> Iterator[LifeAgent]:
    with agent_on(lab.node(1), "--manifests", str(folder), *SYNC) as agent:
        yield agent


@pytest.fixture
def agent(lab: Lab, running: LifeAgent, folder: Path) -> LifeAgent:
    """The agent, with nothing to serve, and well: also its own port is open, which it is not at once."""
    for file in folder.iterdir():
        file.unlink()
    until(lambda: running.cluster_ips() == set() and running.status().node.health_ports == ())
    until_code(0, lambda: check(lab))  # it says so of a port that is about to close
    until_code(200, lambda: healthz(lab.node(1)))
    return running


def check(lab: Lab, path: str = "/") -> Answer:
    """Ask node-1 for a Service's health, from outside, as a load balancer does."""
    return fetch(lab.client, lab.node(1).address, CHECK_PORT, path)


def healthz(node: Node) -> Answer:
    """Ask a node for its proxy's health, as kubelet does."""
    return fetch(node, LOCAL, HEALTHZ, "/healthz")


def until_code(code: int, ask: Callable[[], Answer]) -> Answer:
    answers: list[Answer] = []

    def is_there() -> bool:
        answers.append(ask())
        return answers[-1].code == code

    until(is_there)
    return answers[-1]


def until_without_backends(lab: Lab) -> Answer:
    """Wait until the Service has no backends on node-1, which is not the only reason to answer so."""
    until(lambda: (found := check(lab)).code == 503 and found.json()["localEndpoints"] == 0)
    return check(lab)


def hold(node: Node, port: int) -> socket.socket:
    """Take a port of a node as a foreign process would."""
    return next(in_each([namespace_path(node.netns)], lambda: open_socket("0.0.0.0", port)))


def dial(place: Place, address: str, port: int) -> socket.socket:
    """Connect from the namespace of a place, and say nothing."""
    connect = partial(socket.create_connection, (address, port), timeout=SECONDS)
    return next(in_each([namespace_path(place.netns)], connect))


def test_a_service_with_a_local_backend_is_200_and_counts_it(lab: Lab, agent: LifeAgent, folder: Path) -> None:
    write_objects(folder, web=balanced("web", WEB, *lab.node(1).pods, lab.pod(2, 1)))
    answer = until_code(200, lambda: check(lab, "/any/path"))
    assert answer.body == (
        '{\n\t"service": {\n\t\t"namespace": "life",\n\t\t"name": "web"\n\t},\n'
        '\t"localEndpoints": 2,\n\t"serviceProxyHealthy": true\n}'
    )
    assert answer.header("X-Load-Balancing-Endpoint-Weight") == "2"
    assert answer.header("Content-Type") == "application/json"
    assert answer.header("X-Content-Type-Options") == "nosniff"
    assert fetch(lab.node(1), LOCAL, CHECK_PORT).code == 200
    until(lambda: agent.status().node.health_ports == (HealthPort("life/web", CHECK_PORT, {"IPv4": 2}),))
    assert f"life/web  {CHECK_PORT}  2               listens" in agent.ebpflb("status").stdout


def test_503_as_soon_as_the_last_local_backend_goes(lab: Lab, agent: LifeAgent, folder: Path) -> None:
    write_objects(folder, web=balanced("web", WEB, lab.pod(1, 1), lab.pod(2, 1)))
    until_code(200, lambda: check(lab))
    write_objects(folder, web=balanced("web", WEB, lab.pod(2, 1)))
    answer = until_without_backends(lab)
    assert answer.header("X-Load-Balancing-Endpoint-Weight") == "0"
    write_objects(folder, web=balanced("web", WEB, lab.pod(1, 1), lab.pod(2, 1)))
    until_code(200, lambda: check(lab))
    until(lambda: agent.status().healthy)


def test_503_when_only_terminating_backends_are_left_though_they_are_in_the_maps(
    lab: Lab, agent: LifeAgent, folder: Path
) -> None:
    pod = lab.pod(1, 1)
    write_objects(folder, web=balanced("web", WEB, pod))
    until_code(200, lambda: check(lab))
    write_objects(folder, web=balanced("web", WEB, leaving=[pod]))
    until_without_backends(lab)
    assert agent.backends_of(WEB) == [f"{pod.address}:8080/TCP"]


@pytest.mark.parametrize(
    "spec", [{"externalTrafficPolicy": "Cluster"}, {"type": "NodePort"}, {"healthCheckNodePort": 0}]
)
def test_the_port_closes_when_the_service_changes(
    lab: Lab, agent: LifeAgent, folder: Path, spec: dict[str, Any]
) -> None:
    write_objects(folder, web=balanced("web", WEB, lab.pod(1, 1)))
    until_code(200, lambda: check(lab))
    write_objects(folder, web=balanced("web", WEB, lab.pod(1, 1), **spec))
    until_code(0, lambda: check(lab))
    assert agent.backends_of(WEB)
    write_objects(folder, web=balanced("web", WEB, lab.pod(1, 1), healthCheckNodePort=CHECK_PORT + 1))
    until(lambda: fetch(lab.client, lab.node(1).address, CHECK_PORT + 1).code == 200)
    (folder / "web.yaml").unlink()
    until(lambda: fetch(lab.client, lab.node(1).address, CHECK_PORT + 1).code == 0)


def test_a_port_that_is_taken_is_an_event_and_is_had_once_it_is_free(lab: Lab, agent: LifeAgent, folder: Path) -> None:
    with hold(lab.node(1), CHECK_PORT):
        write_objects(folder, web=balanced("web", WEB, lab.pod(1, 1)))
        ports = until(lambda: [port for port in agent.status().node.health_ports if port.error])
        assert (
            ports[0].error
            == f"cannot listen at 0.0.0.0:{CHECK_PORT}: another process, or another Service, has that port"
        )
        events = until(lambda: agent.logged("FailedToStartServiceHealthcheck"))
        assert len(events) == 1
        assert "kind=Service object=life/web" in events[0]
        assert f"on port {CHECK_PORT}: cannot listen" in events[0]
        until(lambda: agent.status().healthy)
        until(lambda: agent.backends_of(WEB))
    until_code(200, lambda: check(lab))
    until(lambda: agent.status().node.health_ports[0].error == "")


def test_two_services_with_one_port_do_not_share_it(lab: Lab, agent: LifeAgent, folder: Path) -> None:
    write_objects(folder, web=balanced("web", WEB, lab.pod(1, 1)))
    until_code(200, lambda: check(lab))
    other = balanced("other", OTHER, lab.pod(1, 2), node_port=30101)
    write_objects(folder, other=other)
    ports = until(lambda: [port for port in agent.status().node.health_ports if port.error])
    assert [port.service for port in ports] == ["life/other"]
    assert check(lab).json()["service"]["name"] == "web"
    (folder / "web.yaml").unlink()
    until(lambda: (found := check(lab)).code == 200 and found.json()["service"]["name"] == "other")


def test_healthz_and_livez(lab: Lab, agent: LifeAgent) -> None:
    node = lab.node(1)
    answer = until_code(200, lambda: fetch(lab.client, node.address, HEALTHZ, "/healthz"))
    form = rf'\{{"lastUpdated": "({GO_TIME})","currentTime": "({GO_TIME})", "nodeEligible": true\}}'
    found = re.fullmatch(form, answer.body)
    assert found
    assert found[1] == found[3]
    assert (answer.header("Content-Type"), answer.header("X-Content-Type-Options")) == ("application/json", "nosniff")
    live = fetch(node, LOCAL, HEALTHZ, "/livez")
    assert live.code == 200
    assert re.fullmatch(rf'\{{"lastUpdated": "{GO_TIME}","currentTime": "{GO_TIME}"\}}', live.body)
    assert fetch(node, LOCAL, HEALTHZ, "/").code == 404
    head = fetch(node, LOCAL, HEALTHZ, "/healthz", "HEAD")
    assert (head.code, head.body) == (200, "")
    assert fetch(node, LOCAL, HEALTHZ, "/healthz", "POST").code == 200
    assert agent.status().node.warnings == ()


def test_who_holds_connections_open_keeps_no_probe_out(lab: Lab, agent: LifeAgent, folder: Path) -> None:
    write_objects(folder, web=balanced("web", WEB, lab.pod(1, 1)))
    until_code(200, lambda: check(lab))
    node, livez = lab.node(1), partial(fetch, lab.node(1), LOCAL, HEALTHZ, "/livez")
    for port in (CHECK_PORT, HEALTHZ):
        with ExitStack() as held:
            for _ in range(MOST_CONNECTIONS + 50):
                held.enter_context(dial(lab.client, node.address, port))
            assert (livez().code, check(lab).code) == (200, 200)
    assert agent.status().node.warnings == ()


def test_a_node_that_is_about_to_go_takes_no_new_traffic_and_is_alive(lab: Lab, tmp_path: Path) -> None:
    node = lab.node(2)
    stays, deleted = a_node("node-2"), a_node("node-2")
    deleted["metadata"]["deletionTimestamp"] = "2026-01-02T03:04:05Z"
    taint = {"key": "ToBeDeletedByClusterAutoscaler", "value": "1", "effect": "NoSchedule"}
    scaled_down = a_node("node-2", taints=[taint])
    write_objects(tmp_path, node=[stays], web=balanced("web", WEB, lab.pod(2, 1)))
    with agent_on(node, "--manifests", str(tmp_path)) as agent:
        for leaving in (deleted, scaled_down):
            until_code(200, lambda: healthz(node))
            write_objects(tmp_path, node=[leaving])
            answer = until_code(503, lambda: healthz(node))
            assert '"nodeEligible": false' in answer.body
            assert fetch(node, LOCAL, HEALTHZ, "/livez").code == 200
            # That a Service has backends here is another question.
            until_code(200, lambda: fetch(node, LOCAL, CHECK_PORT))
            write_objects(tmp_path, node=[stays])
        until_code(200, lambda: healthz(node))
        until(lambda: agent.status().healthy)


def test_a_change_that_cannot_be_applied_is_ill_health_after_two_sync_periods(lab: Lab, tmp_path: Path) -> None:
    node = lab.node(2)
    write_objects(tmp_path, web=balanced("web", WEB, lab.pod(2, 1)))
    with agent_on(node, "--manifests", str(tmp_path), *SYNC) as agent:
        until_code(200, lambda: healthz(node))
        frozen = agent.pins.map(Family.IPV4, "services")
        subprocess.run(["bpftool", "map", "freeze", "pinned", str(frozen)], check=True)  # for whoever writes by syscall
        write_objects(tmp_path, other=[tcp_service("other", OTHER)])
        answer = until_code(503, lambda: healthz(node))
        times = re.findall(GO_TIME.replace("(", "(?:"), answer.body)
        assert times[0] < times[1]
        assert fetch(node, LOCAL, HEALTHZ, "/livez").code == 503
        service = until_code(503, lambda: fetch(node, LOCAL, CHECK_PORT))
        assert service.json() == {
            "service": {"namespace": "life", "name": "web"},
            "localEndpoints": 1,
            "serviceProxyHealthy": False,
        }
        (tmp_path / "other.yaml").unlink()
        until_code(200, lambda: healthz(node))
        assert fetch(node, LOCAL, CHECK_PORT).code == 200


def test_a_taken_healthz_port_is_an_event_on_the_node_and_is_had_once_it_is_free(lab: Lab, tmp_path: Path) -> None:
    node = lab.node(2)
    with hold(node, HEALTHZ) as other, agent_on(node, "--manifests", str(tmp_path)) as agent:
        events = until(lambda: agent.logged("FailedToStartProxierHealthcheck"))
        assert "kind=Node object=node-2" in events[0]
        until(lambda: any(words.startswith("healthz: cannot listen at") for words in agent.status().node.warnings))
        other.close()
        until_code(200, lambda: healthz(node))


def test_a_taken_port_that_may_not_be_ends_the_agent(lab: Lab, tmp_path: Path) -> None:
    node = lab.node(2)
    with hold(node, HEALTHZ), agent_on(node, "--manifests", str(tmp_path)) as agent:
        agent.process.stop()
        agent.source = (*agent.source, "--bind-address-hard-fail")
        agent.start()
        assert agent.process.wait(READY_SECONDS) == 3
        assert agent.logged("healthzBindAddress 0.0.0.0:10256: cannot listen at")


def test_ports_are_closed_when_the_agent_ends(lab: Lab, tmp_path: Path) -> None:
    node = lab.node(2)
    write_objects(tmp_path, web=balanced("web", WEB, lab.pod(2, 1)))
    with agent_on(node, "--manifests", str(tmp_path)) as agent:
        until_code(200, lambda: fetch(node, LOCAL, CHECK_PORT))
        until_code(200, lambda: healthz(node))
        assert agent.process.stop(SOON_S) == 0
        assert fetch(node, LOCAL, CHECK_PORT).code == 0
        assert fetch(node, LOCAL, HEALTHZ).code == 0


def test_with_a_primary_address_the_port_is_there_only(lab: Lab, tmp_path: Path) -> None:
    node = lab.node(2)
    addresses = [{"type": "InternalIP", "address": node.address}]
    objects = [a_node("node-2") | {"status": {"addresses": addresses}}, *balanced("web", WEB, lab.pod(2, 1))]
    write_objects(tmp_path, all=objects)
    with agent_on(node, "--manifests", str(tmp_path)) as agent:
        until_code(200, lambda: fetch(lab.client, node.address, CHECK_PORT))
        assert fetch(node, LOCAL, CHECK_PORT).code == 0
        until_code(200, lambda: healthz(node))
        assert agent.status().node.warnings == ()


def test_each_family_has_its_own_count(tmp_path: Path) -> None:
    with Lab("health6", nodes=1, pods_per_node=2, families=(Family.IPV4, Family.IPV6)) as lab:
        node = lab.node(1)
        both = {"clusterIPs": [WEB, "fd00:10:96::10"], "ipFamilies": ["IPv4", "IPv6"]}
        service, listed = balanced("web", WEB, *node.pods)
        service["spec"] |= both
        one = slice_of("web", node.pods[0])
        one["metadata"]["name"], one["addressType"] = "web-6", "IPv6"
        one["endpoints"][0]["addresses"] = [node.pods[0].address_of(Family.IPV6)]
        write_objects(tmp_path, web=[service, listed, one])
        with agent_on(node, "--manifests", str(tmp_path)) as agent:
            for family, count in ((Family.IPV4, 2), (Family.IPV6, 1)):
                address = node.address_of(family)
                answer = until_code(200, lambda: fetch(lab.client, address, CHECK_PORT))  # noqa: B023 - called at once
                assert answer.header("X-Load-Balancing-Endpoint-Weight") == str(count)
                until_code(200, lambda: fetch(lab.client, address, HEALTHZ, "/healthz"))  # noqa: B023
            expected = (HealthPort("life/web", CHECK_PORT, {"IPv4": 2, "IPv6": 1}),)
            until(lambda: agent.status().node.health_ports == expected)
