"""Which pods can be handed packets: those whose device has nobody on it who would be passed by."""

import json
from collections.abc import Iterator

import pytest

from ebpflb.core.abi import Family
from ebpflb.host.direct_pods import Access, access_to
from ebpflb.host.links import Link
from ebpflb.host.tc import TcHook, TcProgram, attach
from tests.netns.host_helpers import inside, namespace, pass_all_program, run, set_offload, xdp_program

pytestmark = pytest.mark.root

INSTANCE = "test-direct"


def is_direct(device: Link, instance: str) -> bool:
    return access_to(device, instance).by_tc


@pytest.fixture
def pod() -> Iterator[Link]:
    """Have a veth whose other end, eth0, is in a pod's namespace."""
    with namespace("direct-pod") as far, namespace("direct-node") as near, inside(near):
        run("ip", "link", "add", "pod1", "type", "veth", "peer", "name", "eth0", "netns", far.name)
        (link,) = json.loads(run("ip", "-j", "link", "show", "pod1"))
        yield Link(link["ifindex"], "pod1", "veth")


def test_a_pod_at_the_other_end_of_a_veth(pod: Link) -> None:
    assert is_direct(pod, INSTANCE)


def test_whether_its_device_is_up_does_not_matter(pod: Link) -> None:
    run("ip", "link", "set", "pod1", "up")
    assert is_direct(pod, INSTANCE)


def test_our_own_programs_are_in_nobodys_way(pod: Link) -> None:
    with pass_all_program("pass") as program:
        attach(pod, [TcProgram("lb_out4", TcHook.EGRESS, Family.IPV4, program)], INSTANCE)
        assert is_direct(pod, INSTANCE)
        assert not is_direct(pod, "another")


def test_a_queue_that_shapes_a_pods_traffic_is_not_passed_by(pod: Link) -> None:
    run("tc", "qdisc", "add", "dev", "pod1", "root", "tbf", "rate", "1mbit", "burst", "32kbit", "latency", "400ms")
    assert not is_direct(pod, INSTANCE)


@pytest.mark.parametrize(("hook", "direct"), [("egress", False), ("ingress", True)])
def test_a_filter_of_others_is_not_passed_by(pod: Link, hook: str, direct: bool) -> None:
    run("tc", "qdisc", "add", "dev", "pod1", "clsact")
    run("tc", "filter", "add", "dev", "pod1", hook, "protocol", "ip", "u32", "match", "u32", "0", "0")
    assert is_direct(pod, INSTANCE) is direct


def test_a_veth_within_one_namespace_leads_to_no_pod() -> None:
    with namespace("direct-none") as path, inside(path):
        run("ip", "link", "add", "pod1", "type", "veth", "peer", "name", "pod2")
        (link,) = json.loads(run("ip", "-j", "link", "show", "pod1"))
        assert not is_direct(Link(link["ifindex"], "pod1", "veth"), INSTANCE)


def test_other_kinds_and_what_is_gone(pod: Link) -> None:
    run("ip", "link", "add", "cni0", "type", "bridge")
    (bridge,) = json.loads(run("ip", "-j", "link", "show", "cni0"))
    assert not is_direct(Link(bridge["ifindex"], "cni0", "bridge"), INSTANCE)
    run("ip", "link", "del", "pod1")
    assert access_to(pod, INSTANCE) == Access()


def test_xdp_may_send_frames_where_the_other_end_polls_and_its_own_program_sees_them() -> None:
    with namespace("direct-far") as far, namespace("direct-near") as near:
        with inside(near):
            run("ip", "link", "add", "pod1", "up", "type", "veth", "peer", "name", "eth0", "netns", far.name)
            (link,) = json.loads(run("ip", "-j", "link", "show", "pod1"))
            pod = Link(link["ifindex"], "pod1", "veth")
            assert access_to(pod, INSTANCE) == Access(by_tc=True, by_xdp=False)
        with inside(far):
            run("ip", "link", "set", "eth0", "up")
            set_offload("eth0", "gro", on=True)
        with inside(near):
            assert access_to(pod, INSTANCE) == Access(by_tc=True, by_xdp=True)
        with inside(far), xdp_program("direct") as program:
            run("ip", "link", "set", "eth0", "xdpdrv", "pinned", str(program))
        with inside(near):
            assert access_to(pod, INSTANCE) == Access(by_tc=False, by_xdp=True)
