"""Pods and namespaces that the socket hooks leave alone: packet hooks serve them, and a sidecar sees the Service."""

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from ebpflb.agent.config import AgentConfig
from ebpflb.bench.addresses import join_port
from ebpflb.bench.control import Load, start_server
from ebpflb.bench.namespaces import namespace_path
from ebpflb.bench.process import Running
from ebpflb.bench.topology import Lab, Place
from ebpflb.cli.pinned import decode_maps, read_tables
from ebpflb.core.abi import Family
from ebpflb.host.namespaces import in_each
from ebpflb.host.netns_cookie import netns_cookie
from tests.kube.objects import make_pod, make_service, make_slice
from tests.netns.life_helpers import SOON_S, LifeAgent, agent_on, assert_no_failure, loads, until, write_objects

pytestmark = pytest.mark.root

FAMILIES = AgentConfig("any").families
SERVICE = {Family.IPV4: "10.96.0.10", Family.IPV6: "fd00:10:96::10"}
UID = "2c0d8a57-3c0f-4f0e-9b0b-0e5b5a5c1d11"
SIDECAR_PORT = 15001
LEFT_ALONE = {"ebpflb.io/socket-lb": "false"}
MESHED = {"sidecar.istio.io/status": '{"containers":["istio-proxy"]}'}

CALL = """
import json, socket, sys
with socket.create_connection((sys.argv[1], 80), timeout=30) as connection:
    peer = connection.getpeername()[:2]
    connection.sendall(b"who\\n")
    answer = connection.makefile().readline()
print(json.dumps({"peer": peer, "answer": answer.strip()}))
"""
SIDECAR = """
import socket, struct, sys
SO_ORIGINAL_DST = 80
server = socket.create_server(("::", int(sys.argv[1])), family=socket.AF_INET6, dualstack_ipv6=True)
print("ready", flush=True)
while True:
    connection, (client, *_) = server.accept()
    if client.startswith("::ffff:"):
        raw = connection.getsockopt(socket.SOL_IP, SO_ORIGINAL_DST, 16)
        port, address = struct.unpack_from("!H4s", raw, 2)
        text = socket.inet_ntop(socket.AF_INET, address)
    else:
        raw = connection.getsockopt(socket.IPPROTO_IPV6, SO_ORIGINAL_DST, 28)
        port, _, address = struct.unpack_from("!HI16s", raw, 2)
        text = socket.inet_ntop(socket.AF_INET6, address)
    connection.recv(4096)
    connection.sendall(f"{text} {port}\\n".encode())
    connection.close()
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab("optout", nodes=1, pods_per_node=3, families=FAMILIES) as built:
        start_server(built.pod(1, 2))
        yield built


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, lab: Lab) -> Path:
    """Manifests of one Service a family, each on pod 2."""
    made = tmp_path_factory.mktemp("manifests")
    for family in FAMILIES:
        name, address = f"web{family.value}", SERVICE[family]
        word = f"IPv{family.value}"
        port = {"name": "http", "port": 80, "targetPort": 8080}
        spec: Any = {"clusterIP": address, "clusterIPs": [address], "ipFamilies": [word], "ports": [port]}
        endpoints = [{"addresses": [lab.pod(1, 2).address_of(family)], "nodeName": "node-1"}]
        slices = make_slice(f"{name}-1", service=name, addressType=word, endpoints=endpoints)
        write_objects(made, **{name: [make_service(name, **spec), slices]})
    return made


@pytest.fixture(scope="module")
def running(lab: Lab, folder: Path) -> Iterator[LifeAgent]:
    pattern = namespace_path(f"{lab.id}-*-pod-3")
    with agent_on(lab.node(1), "--manifests", str(folder), "--socket-opt-out", str(pattern)) as agent:
        yield agent


@pytest.fixture(scope="module")
def pod(lab: Lab) -> Place:
    """Pod 1, in a cgroup that kubelet would give it, with a process that stays."""
    cgroup = lab.node(1).cgroup / f"kubepods/burstable/pod{UID}/app"
    cgroup.mkdir(parents=True)
    place = replace(lab.pod(1, 1), cgroup=cgroup)
    start_server(place)
    return place


@pytest.fixture
def agent(running: LifeAgent, folder: Path) -> LifeAgent:
    """The agent, and pod 1 without an annotation."""
    tell(folder)
    until(lambda: running.status().node.opted_out == (named_namespace(running),), SOON_S)
    until(lambda: len(opt_outs(running)) == len(FAMILIES), SOON_S)  # the status may tell of what comes next
    return running


def named_namespace(agent: LifeAgent) -> str:
    return str(namespace_path(agent.node.netns.replace("node-1", "node-1-pod-3")))


def tell(folder: Path, annotations: Mapping[str, str] | None = None, **spec: Any) -> None:
    """Let the folder say that pod 1 has these annotations."""
    write_objects(folder, pod=[make_pod("shop", uid=UID, annotations=annotations, **spec)])


def opt_out(agent: LifeAgent, folder: Path, annotations: Mapping[str, str]) -> None:
    """Annotate pod 1, and wait until the socket hooks know."""
    tell(folder, annotations)
    who = f"pod demo/shop ({next(iter(annotations))})"
    until(lambda: who in agent.status().node.opted_out, SOON_S)
    until(lambda: len(opt_outs(agent)) == len(FAMILIES) * 2, SOON_S)


def cookie_of(place: Place) -> int:
    cookie = next(in_each([namespace_path(place.netns)], netns_cookie))
    assert cookie is not None
    return cookie


def opt_outs(agent: LifeAgent) -> list[int]:
    """Return the rows of every family."""
    return [row for family in FAMILIES for row in read_tables(agent.pins, family).opt_outs]


def counters(agent: LifeAgent, family: Family) -> dict[str, int]:
    rows = decode_maps(agent.pins, read_tables(agent.pins, family), ["counters"], None)["counters"]
    return {row["counter"]: row["value"] for row in rows}


@dataclass(frozen=True)
class Called:
    """What a call found, and what it did to the counters."""

    peer: tuple[str, int]
    answer: str
    translated: int
    opted_out: int
    flows: int


def call(agent: LifeAgent, place: Place, family: Family) -> Called:
    before = counters(agent, family)
    said = json.loads(place.run([sys.executable, "-c", CALL, SERVICE[family]]).stdout)
    after = counters(agent, family)
    grown = (after[name] - before[name] for name in ("sock_translated", "sock_opted_out", "flow_created"))
    return Called((said["peer"][0], said["peer"][1]), said["answer"], *grown)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_annotation_leaves_a_pod_to_the_packet_hooks(
    lab: Lab, agent: LifeAgent, pod: Place, folder: Path, family: Family
) -> None:
    service = (SERVICE[family], 80)
    covered = call(agent, pod, family)
    assert (covered.peer, covered.translated, covered.opted_out, covered.flows) == (service, 1, 0, 0)
    assert "node-1-pod-2" in covered.answer
    opt_out(agent, folder, LEFT_ALONE)
    assert set(opt_outs(agent)) == {cookie_of(pod), cookie_of(lab.pod(1, 3))}
    left = call(agent, pod, family)
    assert (left.peer, left.translated, left.opted_out, left.flows) == (service, 0, 1, 1)
    assert "node-1-pod-2" in left.answer
    tell(folder)
    until(lambda: cookie_of(pod) not in opt_outs(agent), SOON_S)
    again = call(agent, pod, family)
    assert (again.translated, again.opted_out, again.flows) == (1, 0, 0)


@pytest.fixture
def sidecar(pod: Place) -> Iterator[Running]:
    """Redirect what pod 1 dials to a process in it, which answers with where the caller wanted to go."""
    rules = ""
    for table in ("ip", "ip6"):
        rules += f"add table {table} sidecar\n"
        rules += f"add chain {table} sidecar out {{ type nat hook output priority -100; }}\n"
        rules += f"add rule {table} sidecar out tcp dport {{ 80, 8080 }} redirect to :{SIDECAR_PORT}\n"
    with pod.popen([sys.executable, "-c", SIDECAR, str(SIDECAR_PORT)]) as proxy:
        proxy.wait_for_line(lambda line: line == "ready")
        pod.run(["nft", rules])
        yield proxy
        pod.run(["nft", "delete table ip sidecar; delete table ip6 sidecar"])


@pytest.mark.usefixtures("sidecar")
@pytest.mark.parametrize("family", FAMILIES)
def test_a_sidecar_sees_the_service_once_its_pod_is_opted_out(
    lab: Lab, agent: LifeAgent, pod: Place, folder: Path, family: Family
) -> None:
    """Regression: meshes apply their rules by the original destination, which the socket hooks hid (pitfalls 7.7)."""
    assert call(agent, pod, family).answer == f"{lab.pod(1, 2).address_of(family)} 8080"
    opt_out(agent, folder, MESHED)
    assert call(agent, pod, family).answer == f"{SERVICE[family]} 80"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_namespace_named_by_its_path_is_left_alone(lab: Lab, agent: LifeAgent, family: Family) -> None:
    called = call(agent, lab.pod(1, 3), family)
    assert (called.translated, called.opted_out, called.flows) == (0, 1, 1)
    assert "node-1-pod-2" in called.answer
    assert f"left to the packet programs: {named_namespace(agent)}" in agent.ebpflb("status").stdout


def test_a_restart_never_translates_the_sockets_of_an_opted_out_pod(agent: LifeAgent, pod: Place, folder: Path) -> None:
    opt_out(agent, folder, LEFT_ALONE)
    before = counters(agent, FAMILIES[0])
    rows = set(opt_outs(agent))
    target = join_port(SERVICE[FAMILIES[0]], 80)
    with loads(Load(pod, "tcp", target, "--rate", "100", "--timeout", "10")) as reports:
        agent.kill()
        assert set(opt_outs(agent)) == rows
        agent.restart()
        until(lambda: len(agent.status().node.opted_out) == 2, SOON_S)
    assert_no_failure(reports)
    after = counters(agent, FAMILIES[0])
    assert after["sock_translated"] == before["sock_translated"]
    assert after["sock_opted_out"] - before["sock_opted_out"] >= reports[0].answered


def test_a_pod_that_is_gone_leaves_no_row(agent: LifeAgent, pod: Place, folder: Path) -> None:
    opt_out(agent, folder, LEFT_ALONE)
    (folder / "pod.yaml").unlink()
    until(lambda: cookie_of(pod) not in opt_outs(agent), SOON_S)
    until(lambda: agent.status().node.opted_out == (named_namespace(agent),), SOON_S)


def test_a_pod_on_the_hosts_network_is_refused(agent: LifeAgent, folder: Path) -> None:
    tell(folder, LEFT_ALONE, hostNetwork=True)
    (refused,) = until(lambda: agent.status().refused, SOON_S)
    assert (refused.object, refused.field) == ("Pod demo/shop", "metadata.annotations[ebpflb.io/socket-lb]")
    assert refused.remedy
    until(lambda: agent.status().healthy, SOON_S)  # what comes with the refusal is in the maps
