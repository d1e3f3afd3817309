import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ebpflb.bench import topology
from ebpflb.bench.addresses import join_port
from ebpflb.bench.cgroups import find_mount, processes
from ebpflb.bench.control import Load, measure, start_server, transfer
from ebpflb.bench.namespaces import list_namespaces
from ebpflb.bench.plan import DUAL_STACK, IPV6_ONLY, PodNetwork, Underlay
from ebpflb.bench.topology import Lab, Place
from ebpflb.core.abi import Family
from ebpflb.errors import EbpflbError
from tests.netns.lab_agents import WITH_CTRL_C
from tests.netns.traffic.world import until

pytestmark = pytest.mark.root

SERVICE = {Family.IPV4: "10.96.0.10", Family.IPV6: "fd00:10:96::10"}
HOLD_A_LAB = """
import sys
from ebpflb.bench.control import start_server
from ebpflb.bench.topology import Lab
with Lab("held", nodes=1, pods_per_node=1) as lab:
    start_server(lab.pod(1, 1))
    print(lab.id, flush=True)
    sys.stdin.read()
"""


SHAPES = [
    (PodNetwork.ROUTED, Underlay.ROUTED),
    (PodNetwork.BRIDGED, Underlay.ROUTED),
    (PodNetwork.ROUTED, Underlay.VXLAN),
    (PodNetwork.BRIDGED, Underlay.VXLAN),
]


@pytest.fixture(scope="module", params=SHAPES, ids=lambda shape: f"pods {shape[0]}, nodes {shape[1]}")
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """Both families at once."""
    pods, underlay = request.param
    with Lab("test", pod_network=pods, underlay=underlay, families=DUAL_STACK, uncovered=[(3, 2)]) as built:
        for pod in built.pods:
            start_server(pod, udp=[5353])
        start_server(built.node(2))
        yield built


@pytest.fixture(params=DUAL_STACK, ids=lambda family: family.name)
def family(request: pytest.FixtureRequest) -> Family:
    return Family(request.param)


def remains(lab_id: str, cgroup: Path) -> list[str]:
    return list_namespaces(lab_id) + ([str(cgroup)] if cgroup.exists() else [])


@pytest.mark.parametrize("kind", ["tcp", "udp"])
@pytest.mark.parametrize("server", [(1, 2), (2, 1), (3, 2)])
def test_pods_reach_pods_and_keep_their_address(lab: Lab, family: Family, kind: str, server: tuple[int, int]) -> None:
    caller, pod = lab.pod(1, 1), lab.pod(*server)
    dialled = join_port(pod.address_of(family), 8080 if kind == "tcp" else 5353)
    report = measure(caller, kind, dialled, "--count", "3")
    assert report.by_backend == {pod.name: 3}
    assert report.clients == [caller.address_of(family)]
    assert report.peers == [dialled]


def test_client_reaches_nodes_but_neither_pods_nor_services(lab: Lab, family: Family) -> None:
    node = join_port(lab.node(2).address_of(family), 8080)
    assert measure(lab.client, "tcp", node, "--count", "1").by_backend == {"node-2": 1}
    for unreachable in (lab.pod(2, 1).address_of(family), SERVICE[family]):
        report = measure(lab.client, "tcp", join_port(unreachable, 8080), "--count", "1")
        assert report.failures == {"ENETUNREACH": 1}


def test_nodes_reach_pods_everywhere(lab: Lab, family: Family) -> None:
    for pod in lab.pods:
        dialled = join_port(pod.address_of(family), 8080)
        assert measure(lab.node(1), "tcp", dialled, "--count", "1").by_backend == {pod.name: 1}


def test_addresses_and_devices(lab: Lab) -> None:
    assert [node.address for node in lab.nodes] == ["192.168.100.1", "192.168.100.2", "192.168.100.3"]
    assert [pod.addresses for pod in lab.node(2).pods] == [
        ("10.244.2.11", "fd00:10:244:2::b"),
        ("10.244.2.12", "fd00:10:244:2::c"),
    ]
    devices = {link["ifname"] for link in json.loads(lab.node(3).run(["ip", "-json", "link"]).stdout)}
    assert devices >= {*lab.node(3).uplinks, *(pod.device for pod in lab.node(3).pods)}


def test_packets_to_pods_of_other_nodes_leave_by_the_last_uplink(lab: Lab, family: Family) -> None:
    shown = lab.node(1).run(["ip", "route", "get", lab.pod(2, 1).address_of(family)]).stdout
    assert f"dev {lab.node(1).uplinks[-1]} " in shown
    assert (lab.node(1).uplinks == ("uplink0",)) == (lab.plan.underlay is Underlay.ROUTED)


def test_nodes_have_a_route_to_services(lab: Lab, family: Family) -> None:
    assert "dev uplink0" in lab.node(1).run(["ip", "route", "get", SERVICE[family]]).stdout


def test_large_transfers_arrive_intact(lab: Lab, family: Family) -> None:
    report = transfer(lab.pod(1, 1), join_port(lab.pod(2, 1).address_of(family), 8080), megabytes=20)
    assert report.length == 20_000_000
    assert report.intact_up
    assert report.intact_down


def test_processes_run_in_the_cgroup_of_their_place(lab: Lab) -> None:
    covered, uncovered = lab.pod(3, 1), lab.pod(3, 2)
    assert covered.cgroup.is_relative_to(lab.node(3).cgroup)
    assert not uncovered.cgroup.is_relative_to(lab.node(3).cgroup)
    for place in (covered, uncovered):
        own = place.run(["cat", "/proc/self/cgroup"]).stdout
        assert f"0::/{place.cgroup.relative_to(lab.cgroup.parent)}\n" in own
        assert len(processes(place.cgroup)) == 1


def test_bpffs_is_visible_inside(lab: Lab) -> None:
    assert lab.node(1).run(["stat", "-f", "-c", "%T", "/sys/fs/bpf"]).stdout.strip() == "bpf_fs"


def test_a_kept_connection_that_loses_its_server_is_reported(lab: Lab) -> None:
    server = start_server(lab.pod(2, 2), tcp=[9000], name="short-lived")
    with Load(lab.pod(1, 1), "tcp", "10.244.2.12:9000", "--rate", "200", "--keep") as load:
        server.kill()
        # The load closes its socket when it has met the end of the connection.
        sockets = ["ss", "-Htn", "state", "established", "state", "close-wait", "dport", "=", ":9000"]
        until(lambda: not lab.pod(1, 1).run(sockets).stdout, "the load has not met the end of its connection")
        report = load.stop()
    # The kept one, and a second if the dying server's listening socket, closed last, still took the next attempt.
    assert report.breaks in {1, 2}
    assert report.by_backend.keys() == {"short-lived"}
    assert report.failed >= 1


def test_steady_load_has_no_failures(lab: Lab) -> None:
    with Load(
        lab.pod(1, 1), "udp", "10.244.2.11:5353", "--rate", "500", "--timeout", "10", "--connected", "--keep"
    ) as load:
        report = load.stop()
    assert report.failed == 0
    assert report.breaks == 0
    assert report.answered >= 1


def test_http_clients_are_served(lab: Lab) -> None:
    script = (
        "import http.client, json\n"
        "connection = http.client.HTTPConnection('10.244.2.11', 8080, timeout=3)\n"
        "for _ in range(2):\n"
        "    connection.request('GET', '/')\n"
        "    print(json.load(connection.getresponse())['name'])\n"
    )
    assert lab.pod(1, 1).run([sys.executable, "-c", script]).stdout.split() == ["node-2-pod-1"] * 2


def test_client_routes_services_through_node_1_when_asked() -> None:
    with Lab("test", nodes=1, pods_per_node=0, route_services=True, families=DUAL_STACK) as lab:
        for family in DUAL_STACK:
            shown = lab.client.run(["ip", "route", "get", SERVICE[family]]).stdout
            assert f"via {lab.node(1).address_of(family)}" in shown


def test_a_lab_of_one_family_has_no_address_of_the_other() -> None:
    with Lab("test", nodes=1, pods_per_node=1, families=IPV6_ONLY) as lab:
        assert lab.pod(1, 1).address == "fd00:10:244:1::b"
        assert "inet " not in lab.pod(1, 1).run(["ip", "address", "show", "dev", "eth0"]).stdout
        with pytest.raises(EbpflbError, match="node-1-pod-1 has no IPV4 address"):
            lab.pod(1, 1).address_of(Family.IPV4)


def test_mtu_is_set_on_every_link() -> None:
    with Lab("test", nodes=2, pods_per_node=1, pod_network="bridged", mtu=9000) as lab:
        places: list[Place] = [*lab.nodes, *lab.pods, lab.client]
        for place in places:
            links = [line for line in place.run(["ip", "-o", "link"]).stdout.splitlines() if " lo: " not in line]
            assert links
            assert all("mtu 9000" in line for line in links)


def test_two_labs_live_side_by_side_and_go() -> None:
    with Lab("test", nodes=1, pods_per_node=1) as one, Lab("test", nodes=1, pods_per_node=1) as other:
        for lab in (one, other):
            start_server(lab.pod(1, 1), name=lab.id)
        for lab in (one, other):
            assert measure(lab.node(1), "tcp", "10.244.1.11:8080", "--count", "1").by_backend == {lab.id: 1}
    for lab in (one, other):
        assert remains(lab.id, lab.cgroup) == []


def test_a_failure_half_way_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topology, "pod_batch", lambda *_: ["link set no-such-device up"])
    lab = Lab("test", nodes=2, pods_per_node=1)
    with pytest.raises(EbpflbError, match=f"failed in {lab.id}-node-1-pod-1: .*no-such-device"), lab:
        pass
    assert remains(lab.id, lab.cgroup) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_leaves_nothing(number: signal.Signals) -> None:
    command = [*WITH_CTRL_C, sys.executable, "-c", HOLD_A_LAB]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as owner:
        assert owner.stdout is not None
        lab_id = owner.stdout.readline().strip()
        assert list_namespaces(f"{lab_id}-")
        owner.send_signal(number)
        assert owner.wait(100) != 0
    assert remains(f"{lab_id}-", find_mount() / lab_id) == []


def test_a_command_that_fails_is_named() -> None:
    with (
        Lab("test", nodes=1, pods_per_node=0) as lab,
        pytest.raises(EbpflbError, match=r"`ls /no-such-folder` on node-1 exited with 2: .*No such file"),
    ):
        lab.node(1).run(["ls", "/no-such-folder"])


def test_a_process_that_ends_before_it_is_ready_shows_its_last_words() -> None:
    with Lab("test", nodes=1, pods_per_node=1) as lab:
        start_server(lab.pod(1, 1))
        with pytest.raises(EbpflbError, match=r"exited with 1; (.|\n)*Address already in use"):
            start_server(lab.pod(1, 1))


def test_a_lab_needs_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(EbpflbError, match="needs root"), Lab("test"):
        pass
