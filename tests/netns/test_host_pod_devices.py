"""The watcher follows pods' devices, and the bridges that they join, as kubelet's plugins make and remove them."""

from collections.abc import Iterator
from pathlib import Path
from socket import if_nametoindex

import pytest

from ebpflb.core.model import Device, Host
from ebpflb.errors import EbpflbError
from tests.netns.host_helpers import inside, namespace, run
from tests.netns.watcher_helpers import add, packed, set_up, watching

pytestmark = pytest.mark.root


@pytest.fixture
def node() -> Iterator[Path]:
    with namespace("pd") as path, inside(path):
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
        assert ways_to_pods(calls.next_host(lambda host: packed("10.244.1.1") in host.addresses)) == {}
        add("pod1")
        set_up("pod1")
        assert calls.next_host(lambda host: ways_to_pods(host) == {"pod1": ""}).devices[0].name == "up0"
        run("ip", "link", "set", "pod1", "mtu", "1450", "master", "cni0")  # from which the bridge takes its own
        joined = calls.next_host(lambda host: {device.mtu for device in host.devices[1:]} == {1450})
        assert joined.devices[1:] == (
            Device(if_nametoindex("cni0"), "cni0", (packed("10.244.1.1"),), 1450, serves_pods=True),
            Device(if_nametoindex("pod1"), "pod1", (), 1450, serves_pods=True, master="cni0"),
        )
        add("unseen1")
        run("ip", "link", "set", "unseen1", "master", "cni0")
        calls.next_host(lambda host: ways_to_pods(host) == {"pod1": "cni0"})
        run("ip", "link", "set", "unseen1", "nomaster")
        calls.next_host(lambda host: ways_to_pods(host) == {"pod1": "cni0", "cni0": ""})
        run("ip", "link", "del", "pod1")
        calls.next_host(lambda host: ways_to_pods(host) == {})


def test_a_pod_device_without_its_programs_is_no_way_to_the_pod(node: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ebpflb.host.netlink.RETRY_SECONDS", 0.05)
    run("ip", "link", "add", "cni0", "type", "bridge")
    with watching(node) as calls:
        calls.next_host(lambda host: not host.devices)
        calls.refuse_next = EbpflbError("no room for filters", remedy="make room")
        add("pod1")
        run("ip", "link", "set", "pod1", "master", "cni0")
        assert calls.next_view(lambda view: view.failed).failed[0].device == "pod1"
        calls.next_host(lambda host: ways_to_pods(host) == {"pod1": "cni0", "cni0": ""})
