"""The watcher follows pods' devices, and the bridges that they join, as kubelet's plugins make and remove them."""

from collections.abc import Iterator
from pathlib import Path
from socket import if_nametoindex

import pytest

from ebpflb.core.model import Device, Host
from ebpflb.errors import EbpflbError
from tests.netns.host_helpers import run
from tests.netns.watcher_helpers import add, bare_node, packed, set_up, watching

pytestmark = pytest.mark.root


@pytest.fixture
def node() -> Iterator[Path]:
    with bare_node("pd") as path:
        yield path


def ways_to_pods(host: Host) -> dict[str, str]:
    """The devices by which pods are reached, each with the bridge that has taken it in."""
    return {device.name: device.master for device in host.devices if device.serves_pods}


def test_a_pod_device_that_appears_joins_a_bridge_and_goes(node: Path) -> None:
    run("ip", "link", "add", "cni0", "type", "bridge")
    run("ip", "addr", "add", "10.244.1.1/24", "dev", "cni0")
    run("ip", "link", "set", "cni0", "up")
    add("up0")
    with watching(node) as calls:
        calls.next_host(lambda host: (host.addresses, ways_to_pods(host)), ({packed("10.244.1.1")}, {}))
        add("pod1")
        set_up("pod1")
        calls.next_host(lambda host: (host.devices[0].name, ways_to_pods(host)), ("up0", {"pod1": ""}))
        run("ip", "link", "set", "pod1", "mtu", "1450", "master", "cni0")  # from which the bridge takes its own
        joined = (
            Device(if_nametoindex("cni0"), "cni0", (packed("10.244.1.1"),), 1450, serves_pods=True),
            Device(if_nametoindex("pod1"), "pod1", (), 1450, serves_pods=True, master="cni0"),
        )
        calls.next_host(lambda host: host.devices[1:], joined)
        add("unseen1")
        run("ip", "link", "set", "unseen1", "master", "cni0")
        calls.next_host(ways_to_pods, {"pod1": "cni0"})
        run("ip", "link", "set", "unseen1", "nomaster")
        calls.next_host(ways_to_pods, {"pod1": "cni0", "cni0": ""})
        run("ip", "link", "del", "pod1")
        calls.next_host(ways_to_pods, {})


def test_a_pod_device_without_its_programs_is_no_way_to_the_pod(node: Path) -> None:
    run("ip", "link", "add", "cni0", "type", "bridge")
    with watching(node) as calls:
        calls.next_host(lambda host: host.devices, ())
        calls.refusal = EbpflbError("no room for filters", remedy="make room")
        add("pod1")
        run("ip", "link", "set", "pod1", "master", "cni0")
        for _ in range(2):  # before the second one, all has been said that followed from the first
            calls.next_refused(lambda link: (link.name, link.master), ("pod1", if_nametoindex("cni0")))
        assert [ways for ways in map(ways_to_pods, calls.hosts) if ways] == []
        calls.next_view(lambda view: [failure.device for failure in view.failed], ["pod1"])
        calls.refusal = None
        calls.next_host(ways_to_pods, {"pod1": "cni0", "cni0": ""})
