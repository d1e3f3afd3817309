"""Uplinks that come after the agent, of other kinds than a veth, and devices that leave for another namespace."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

import pytest

from ebpflb.agent.config import clsact_path
from ebpflb.bench.control import measure, start_server
from ebpflb.bench.namespaces import namespace_path, run_ip
from ebpflb.bench.topology import Lab
from tests.kernels.device_kinds import DEVICE, KINDS, laid
from tests.netns.life_helpers import (
    SOON_S,
    LifeAgent,
    agent_on,
    slice_of,
    tcp_service,
    udp_service,
    until,
    write_objects,
)

pytestmark = pytest.mark.root

UPLINK = "wan0"
CLIENT, NODE = "172.31.7.1", "172.31.7.2"
"""On that uplink."""
TCP_PORTS = {"node-1-pod-1": 30080, "node-2-pod-1": 30081}
UDP_PORTS = {"node-1-pod-1": 30053, "node-2-pod-1": 30054}
"""NodePorts by the backend behind them: a local one, a remote one."""
ON_ETHERNET = [("egress", "lb_out4"), ("ingress", "lb_uplink_in4")]
ON_BARE_IP = [("egress", "lb_out_l3_4"), ("ingress", "lb_uplink_l3_4")]
ON_A_POD = [("egress", "lb_out4"), ("ingress", "lb_pod_in4")]

COMPILED_S = 200.0
"""The first device without Ethernet, and the first that XDP could serve, wait for a compiler; the next, for them."""

Laying = Callable[[Lab], AbstractContextManager[None]]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab("devices", nodes=2, pods_per_node=1) as built:
        for pod in built.pods:
            start_server(pod, tcp=[8080], udp=[5353])
        yield built


@pytest.fixture(scope="module")
def agent(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LifeAgent]:
    folder = tmp_path_factory.mktemp("manifests")
    for number, pod in enumerate(lab.pods):
        tcp = tcp_service(f"web-{number}", f"10.96.0.{10 + number}", TCP_PORTS[pod.name])
        udp = udp_service(f"dns-{number}", f"10.96.0.{20 + number}", UDP_PORTS[pod.name])
        objects = [tcp, udp, slice_of(f"web-{number}", pod), slice_of(f"dns-{number}", pod, udp=True)]
        write_objects(folder, **{f"services-{number}": objects})
    with agent_on(lab.node(1), "--manifests", str(folder), "--uplink-devices", "wan*") as running:
        yield running


@contextmanager
def vxlan(lab: Lab) -> Iterator[None]:
    """A tunnel over the cable."""
    ends = (lab.client, lab.node(1))
    tunnel = f"{UPLINK} type vxlan id 9 dstport 4790 dev uplink0"
    with ExitStack() as undo:
        for one, other in (ends, ends[::-1]):
            run_ip([f"link add {tunnel} local {one.address} remote {other.address}"], one.netns)
            undo.callback(run_ip, [f"link del {UPLINK}"], one.netns)
        yield


@contextmanager
def tun(lab: Lab) -> Iterator[None]:
    """A device without Ethernet, whose packets a process carries; it takes on its name later."""
    (kind,) = [kind for kind in KINDS if kind.name == "tun"]
    with laid(kind, (namespace_path(lab.client.netns), namespace_path(lab.node(1).netns))):
        for place in (lab.client, lab.node(1)):
            run_ip([f"link set {DEVICE} name {UPLINK}"], place.netns)
        yield


@pytest.mark.parametrize(("lay", "programs"), [(vxlan, ON_ETHERNET), (tun, ON_BARE_IP)], ids=["vxlan", "tun"])
def test_an_uplink_that_comes_later_carries_node_ports_while_it_is_there(
    lab: Lab, agent: LifeAgent, lay: Laying, programs: list[tuple[str, str]]
) -> None:
    with lay(lab):
        for place, address in ((lab.client, CLIENT), (lab.node(1), NODE)):
            run_ip([f"link set {UPLINK} up", f"addr add {address}/24 dev {UPLINK}"], place.netns)
        until(lambda: agent.filters_on(UPLINK) == programs, COMPILED_S)
        until(lambda: NODE in agent.node_addresses(), COMPILED_S)
        for kind, ports in (("tcp", TCP_PORTS), ("udp", UDP_PORTS)):
            for backend, port in ports.items():
                report = measure(lab.client, kind, f"{NODE}:{port}", "--count", "5")
                assert report.by_backend == {backend: 5}
                assert report.clients == [lab.node(1).address]
    until(lambda: NODE not in agent.node_addresses(), SOON_S)
    assert agent.filters_on(UPLINK) == []


def test_a_device_that_leaves_for_another_namespace_is_given_up_until_it_returns(lab: Lab, agent: LifeAgent) -> None:
    node, pod = lab.node(1), lab.pod(1, 1)
    run_ip(["link add pod9 type veth peer name pod9-peer"], node.netns)
    until(lambda: agent.filters_on("pod9") == ON_A_POD, SOON_S)
    (ifindex,) = {found.ifindex for found in agent.filters() if found.device == "pod9"}
    record = clsact_path(agent.state, agent.instance)
    run_ip([f"link set pod9 netns {pod.netns}"], node.netns)
    until(lambda: str(ifindex) not in record.read_text().split(), SOON_S)
    assert "clsact" not in pod.run(["tc", "qdisc", "show", "dev", "pod9"]).stdout
    run_ip([f"link set pod9 netns {node.netns}"], pod.netns)
    until(lambda: agent.filters_on("pod9") == ON_A_POD, SOON_S)
    run_ip(["link del pod9"], node.netns)
    assert agent.logged("failed") == []


def test_what_others_put_on_a_device_without_ethernet_stays(lab: Lab, agent: LifeAgent) -> None:
    node = lab.node(1)
    node.run(["ip", "tuntap", "add", "other0", "mode", "tun"])
    node.run(["tc", "qdisc", "add", "dev", "other0", "clsact"])
    drop = ["protocol", "ip", "prio", "7", "u32", "match", "u32", "0", "0"]
    node.run(["tc", "filter", "add", "dev", "other0", "ingress", *drop])
    before = node.run(["tc", "filter", "show", "dev", "other0", "ingress"]).stdout
    run_ip(["link set other0 name wan7"], node.netns)
    until(lambda: agent.filters_on("wan7") == ON_BARE_IP, COMPILED_S)
    run_ip(["link set wan7 name other0"], node.netns)
    until(lambda: agent.filters_on("other0") == [], SOON_S)
    assert node.run(["tc", "filter", "show", "dev", "other0", "ingress"]).stdout == before
    assert "clsact" in agent.qdiscs_on("other0")
    run_ip(["link del other0"], node.netns)
