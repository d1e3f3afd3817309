"""Devices and node addresses come, go and change their names while an agent runs, and while it does not."""

import sys
from collections.abc import Iterator
from functools import partial

import pytest

from ebpflb.agent.config import clsact_path
from ebpflb.bench.control import measure, start_server
from ebpflb.bench.report import Report
from ebpflb.bench.topology import Lab
from ebpflb.reconcile.status import RoleHooks
from tests.netns.life_helpers import LifeAgent, agent_on, slice_of, tcp_service, until, write_objects

pytestmark = pytest.mark.root

WEB = "10.96.0.10:80"
WEB_PORT = 30080
ON_A_POD = [("egress", "lb_out4"), ("ingress", "lb_pod_in4")]
CHECKS_OFTEN = "import ebpflb.host.netlink as n; n.CHECK_SECONDS = 0.2; from ebpflb.cli import main; main()"
LATER_ADDRESS = "10.99.0.1"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Pod 1 is seen by the packet hooks only; pod 2 is the backend."""
    with Lab("life", nodes=1, pods_per_node=2, uncovered=[(1, 1)]) as built:
        start_server(built.pod(1, 2))
        yield built


@pytest.fixture(scope="module")
def agent(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LifeAgent]:
    folder = tmp_path_factory.mktemp("manifests")
    write_objects(folder, web=[tcp_service("web", "10.96.0.10", WEB_PORT), slice_of("web", lab.pod(1, 2))])
    with agent_on(lab.node(1), "--manifests", str(folder)) as running:
        yield running


@pytest.fixture
def device(lab: Lab, request: pytest.FixtureRequest) -> Iterator[str]:
    """A veth pair whose first end has a name that the agent does not look for, until it is renamed."""
    name = "other0"
    tc_ip(lab, f"link add {name} type veth peer name {name}-peer")
    yield name
    lab.node(1).run(["ip", "link", "del", f"{name}-peer"], check=False)


def tc_ip(lab: Lab, *commands: str) -> None:
    """Run commands of ``ip``, or of ``tc`` where they begin with it, on the node."""
    for command in commands:
        words = command.split()
        lab.node(1).run(words if words[0] == "tc" else ["ip", *words])


def call_once(lab: Lab, target: str, timeout_s: float = 30.0) -> Report:
    caller = lab.client if target != WEB else lab.pod(1, 1)
    return measure(caller, "tcp", target, "--count", "1", "--timeout", str(timeout_s))


def is_answered(lab: Lab, target: str) -> bool:
    """Return whether somebody answers; to wait for what nobody shall answer takes no patience."""
    return call_once(lab, target, timeout_s=0.3).answered > 0


def is_served(agent: LifeAgent, device: str, expected: bool) -> bool:
    return agent.filters_on(device) == (ON_A_POD if expected else [])


def created_clsact(agent: LifeAgent) -> set[int]:
    return {int(line) for line in clsact_path(agent.state, agent.instance).read_text().split()}


def add_anothers_filter(lab: Lab, agent: LifeAgent, device: str, hook: str) -> None:
    """Put a filter of somebody else on a hook. Which program it runs is no matter; one of ours is at hand."""
    program = next(pin for pin in agent.pins.list() if pin.name == "lb_out4")
    tc_ip(lab, f"tc filter add dev {device} {hook} protocol ip prio 7 bpf direct-action pinned {program}")


def anothers_filters(lab: Lab, device: str, hook: str) -> int:
    return lab.node(1).run(["tc", "filter", "show", "dev", device, hook]).stdout.count(" pref 7 bpf chain 0 handle")


def test_a_device_that_appears_is_served_and_one_that_vanishes_is_forgotten(lab: Lab, agent: LifeAgent) -> None:
    tc_ip(lab, "link add pod9 type veth peer name other9")
    until(lambda: agent.filters_on("pod9") == ON_A_POD)
    (ifindex,) = {found.ifindex for found in agent.filters() if found.device == "pod9"}
    until(lambda: ifindex in created_clsact(agent))
    tc_ip(lab, "link del pod9")
    until(lambda: ifindex not in created_clsact(agent))
    assert agent.process.is_running
    assert agent.logged("failed") == []


def test_a_device_is_served_as_long_as_its_name_matches(lab: Lab, agent: LifeAgent, device: str) -> None:
    assert agent.filters_on(device) == []
    tc_ip(lab, f"link set {device} name pod8")
    until(lambda: agent.filters_on("pod8") == ON_A_POD)
    programs = agent.filters()
    tc_ip(lab, "link set pod8 name pod7")
    assert [found.program_id for found in agent.filters()] == [found.program_id for found in programs]
    tc_ip(lab, f"link set pod7 name {device}")
    until(lambda: agent.filters_on(device) == [])
    until(lambda: "clsact" not in agent.qdiscs_on(device))


def test_what_others_put_on_a_device_stays(lab: Lab, agent: LifeAgent, device: str) -> None:
    tc_ip(lab, f"tc qdisc add dev {device} clsact")
    add_anothers_filter(lab, agent, device, "ingress")
    tc_ip(lab, f"link set {device} name pod8")
    until(lambda: agent.filters_on("pod8") == ON_A_POD)
    assert anothers_filters(lab, "pod8", "ingress") == 1
    tc_ip(lab, "tc filter del dev pod8 ingress protocol ip prio 7", f"link set pod8 name {device}")
    until(lambda: agent.filters_on(device) == [])
    assert "clsact" in agent.qdiscs_on(device)


def test_our_clsact_stays_while_another_uses_it(lab: Lab, agent: LifeAgent, device: str) -> None:
    tc_ip(lab, f"link set {device} name pod8")
    until(lambda: agent.filters_on("pod8") == ON_A_POD)
    add_anothers_filter(lab, agent, "pod8", "egress")
    tc_ip(lab, f"link set pod8 name {device}")
    until(lambda: agent.filters_on(device) == [])
    assert anothers_filters(lab, device, "egress") == 1


def test_traffic_follows_the_name(lab: Lab, agent: LifeAgent) -> None:
    pod = lab.pod(1, 1)
    route = f"route add {pod.address}/32 dev {{}} scope link"
    proxy = "/proc/sys/net/ipv4/conf/{}/proxy_arp"
    assert call_once(lab, WEB).by_backend == {"node-1-pod-2": 1}
    for old, new, is_ours in ((pod.device, "other1", False), ("other1", pod.device, True)):
        tc_ip(lab, f"link set {old} down", f"link set {old} name {new}", f"link set {new} up", route.format(new))
        lab.node(1).run(["sh", "-c", f"echo 1 >{proxy.format(new)}"])
        until(partial(is_served, agent, new, is_ours))
        if is_ours:
            assert call_once(lab, WEB).by_backend == {"node-1-pod-2": 1}
        else:
            assert not is_answered(lab, WEB)


def test_nodeports_are_served_on_addresses_that_come_later(lab: Lab, agent: LifeAgent) -> None:
    target = f"{LATER_ADDRESS}:{WEB_PORT}"
    lab.client.run(["ip", "route", "add", LATER_ADDRESS, "via", lab.node(1).address])
    assert not is_answered(lab, target)
    tc_ip(lab, f"addr add {LATER_ADDRESS}/32 dev {lab.node(1).uplink}")
    until(lambda: LATER_ADDRESS in agent.node_addresses())
    assert call_once(lab, target).by_backend == {"node-1-pod-2": 1}
    tc_ip(lab, f"addr del {LATER_ADDRESS}/32 dev {lab.node(1).uplink}")
    until(lambda: LATER_ADDRESS not in agent.node_addresses())
    assert not is_answered(lab, target)


def test_a_device_that_refuses_is_ill_health_until_it_does_not(lab: Lab, agent: LifeAgent, device: str) -> None:
    tc_ip(lab, f"tc qdisc add dev {device} ingress", f"link set {device} name pod8")
    until(lambda: agent.status().node.failed)
    shown = agent.ebpflb("status")
    assert shown.returncode == 1
    assert "pod device is not served: device pod8: has an ingress qdisc" in shown.stdout
    tc_ip(lab, "tc qdisc del dev pod8 ingress")
    until(lambda: agent.status().healthy)  # it is tried again after some seconds
    assert agent.filters_on("pod8") == ON_A_POD


def test_a_device_without_ethernet_has_programs_of_its_own(lab: Lab, agent: LifeAgent) -> None:
    tc_ip(lab, "tuntap add pod6 mode tun")
    on_it = [("egress", "lb_out_l3_4"), ("ingress", "lb_pod_l3_4")]
    until(lambda: agent.filters_on("pod6") == on_it)
    until(lambda: RoleHooks("pod", ("lb_pod_l3_4", "lb_out_l3_4"), ("pod6",)) in agent.status().node.devices)
    assert agent.status().node.warnings == ()
    tc_ip(lab, "link del pod6")
    until(lambda: len(agent.status().node.devices) == 2)


def test_what_others_remove_comes_back(lab: Lab, agent: LifeAgent) -> None:
    agent.kill()
    agent.restart((sys.executable, "-c", CHECKS_OFTEN))
    assert agent.status().node.repairs == 0
    tc_ip(lab, "tc qdisc del dev pod1 clsact")
    until(lambda: agent.filters_on("pod1") == ON_A_POD)
    until(lambda: agent.status().node.repairs == 1)
    until(lambda: agent.logged("device=pod1 changes=3 repairs=1"))
    tc_ip(lab, f"tc filter del dev {lab.node(1).uplink} egress")
    until(lambda: agent.status().node.repairs == 2)
    assert agent.filters_on(lab.node(1).uplink) == [("egress", "lb_out4"), ("ingress", "lb_uplink_in4")]
    agent.kill()
    agent.restart()


def test_a_device_renamed_while_no_agent_ran_is_given_up(lab: Lab, agent: LifeAgent, device: str) -> None:
    tc_ip(lab, f"link set {device} name pod8")
    until(lambda: agent.filters_on("pod8") == ON_A_POD)
    agent.kill()
    tc_ip(lab, f"link set pod8 name {device}")
    assert agent.filters_on(device) == ON_A_POD
    agent.restart()
    until(lambda: agent.filters_on(device) == [])


def test_patterns_that_changed_at_a_restart_are_obeyed(lab: Lab, agent: LifeAgent) -> None:
    agent.kill()
    agent.restart(pod_devices="pod2")
    until(lambda: agent.filters_on("pod1") == [])
    assert agent.filters_on("pod2") == ON_A_POD
    agent.kill()
    agent.restart()
    assert agent.filters_on("pod1") == ON_A_POD


def test_cleanup_leaves_others_clsact_and_takes_ours(lab: Lab, agent: LifeAgent, device: str) -> None:
    tc_ip(lab, "link add pod9 type veth peer name other9", f"tc qdisc add dev {device} clsact")
    tc_ip(lab, f"link set {device} name pod8")
    until(lambda: agent.filters_on("pod8") == agent.filters_on("pod9") == ON_A_POD)
    tc_ip(lab, "link set pod9 name pod10")
    agent.cleanup()
    assert agent.filters() == []
    assert "clsact" in agent.qdiscs_on("pod8")
    for ours in (lab.node(1).uplink, "pod1", "pod2", "pod10"):
        assert "clsact" not in agent.qdiscs_on(ours)
