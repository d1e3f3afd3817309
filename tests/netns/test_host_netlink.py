"""The watcher against real links and addresses in a namespace of the test."""

import threading
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from socket import if_nametoindex

import pytest

from ebpflb.core.model import Host
from ebpflb.errors import EbpflbError
from ebpflb.host import netlink
from ebpflb.host.inventory import DeviceFailure, DeviceView
from ebpflb.host.links import DeviceRole, Link, LinkHeader
from ebpflb.host.netdev import NetdevFeatures
from ebpflb.host.netlink import HostWatcher
from ebpflb.host.rtnetlink import Rtnetlink
from tests.netns.host_helpers import PATIENCE_S, namespace, run, set_offload, xdp_program
from tests.netns.watcher_helpers import Calls, add, bare_node, set_up, watching

pytestmark = pytest.mark.root


@pytest.fixture
def node() -> Iterator[Path]:
    with bare_node("nl") as path:
        yield path


def addresses(host: Host) -> tuple[set[str], dict[str, list[str]]]:
    """All of the host; those that connections of the host may come from, best first, by device."""
    sources = {device.name: list(map(text, device.addresses)) for device in host.devices}
    return set(map(text, host.addresses)), sources


def text(address: bytes) -> str:
    return str(ip_address(address))


def how_uplinks_are(view: DeviceView) -> tuple[list[str], tuple[DeviceFailure, ...]]:
    return [link.name for link in view.served[DeviceRole.UPLINK]], view.failed


def test_reports_what_is_there_at_start(node: Path) -> None:
    add("up0")
    add("other0")
    set_up("other0")
    run("ip", "addr", "add", "192.0.2.9/24", "dev", "up0")
    run("ip", "addr", "add", "192.0.2.10/24", "dev", "up0")
    run("ip", "addr", "add", "198.51.100.1/24", "dev", "up0")
    run("ip", "addr", "add", "169.254.7.7/16", "scope", "link", "dev", "up0")
    run("ip", "addr", "add", "203.0.113.1/32", "dev", "lo")
    run("ip", "addr", "add", "2001:db8::9/64", "nodad", "dev", "other0")
    with watching(node) as calls:
        assert calls.next_device() == ("uplink+", "up0")
        sources = ["192.0.2.9", "198.51.100.1", "192.0.2.10"]
        all_of_them = {*sources, "169.254.7.7", "203.0.113.1", "2001:db8::9"}
        assert addresses(calls.next_host(lambda _: True, expected=True)) == (all_of_them, {"up0": sources})


def test_devices_that_appear_rename_and_vanish(node: Path) -> None:
    with watching(node) as calls:
        add("up0")
        assert calls.next_device() == ("uplink+", "up0")
        run("ip", "link", "add", "br0", "type", "bridge")
        add("pod0")
        assert calls.next_device() == ("pod+", "pod0")
        run("ip", "link", "set", "pod0", "master", "br0")
        run("ip", "link", "set", "pod0", "nomaster")
        run("ip", "link", "set", "pod0", "name", "up7")
        assert calls.next_device() == ("pod-", "pod0")
        assert calls.next_device() == ("uplink+", "up7")
        run("ip", "link", "set", "up7", "name", "idle7")
        assert calls.next_device() == ("uplink-", "up7")
        run("ip", "link", "set", "idle7", "name", "pod8")
        assert calls.next_device() == ("pod+", "pod8")
        run("ip", "link", "del", "pod8")
        assert calls.next_device() == ("pod-", "pod8")


def test_a_device_that_leaves_and_returns_is_announced_again(node: Path) -> None:
    add("up0")
    with namespace("nl2") as away, watching(node) as calls:
        assert calls.next_device() == ("uplink+", "up0")
        run("ip", "link", "set", "up0", "netns", away.name)
        assert calls.next_device() == ("uplink-", "up0")
        run("ip", "-n", away.name, "link", "set", "up0", "netns", node.name)
        assert calls.next_device() == ("uplink+", "up0")


def test_follows_addresses(node: Path) -> None:
    add("up0")
    with watching(node) as calls:
        calls.next_host(addresses, (set(), {"up0": []}))
        run("ip", "addr", "add", "192.0.2.1/24", "dev", "up0")
        calls.next_host(addresses, ({"192.0.2.1"}, {"up0": ["192.0.2.1"]}))
        run("ip", "addr", "add", "192.0.2.2", "peer", "192.0.2.99", "dev", "up0")
        calls.next_host(addresses, ({"192.0.2.1", "192.0.2.2"}, {"up0": ["192.0.2.1", "192.0.2.2"]}))
        run("ip", "addr", "del", "192.0.2.1/24", "dev", "up0")
        calls.next_host(addresses, ({"192.0.2.2"}, {"up0": ["192.0.2.2"]}))


def test_an_ipv6_address_counts_once_duplicate_detection_is_done(node: Path) -> None:
    add("up0")
    with watching(node) as calls:
        assert calls.next_device() == ("uplink+", "up0")
        run("ip", "addr", "add", "2001:db8::1/64", "dev", "up0")
        set_up("up0")
        calls.next_host(addresses, ({"2001:db8::1"}, {"up0": ["2001:db8::1"]}))


def test_nothing_is_lost_when_the_kernel_drops_events(node: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow handler and a tiny buffer: the kernel drops events, the watcher reads everything again."""
    slow = threading.Event()
    overruns: list[None] = []
    reread = HostWatcher._read_everything

    class TinyBuffer(Rtnetlink):
        def __init__(self, groups: int = 0) -> None:
            super().__init__(groups)
            self._socket.socket.setsockopt(1, 8, 4096)

    def count(watcher: HostWatcher, netlink_socket: Rtnetlink) -> None:
        overruns.append(None)
        reread(watcher, netlink_socket)

    def hold(calls: Calls, role: DeviceRole, link: Link) -> None:
        calls.queue.put((f"{role}+", link.name))
        assert slow.wait(PATIENCE_S)

    monkeypatch.setattr(netlink, "Rtnetlink", TinyBuffer)
    monkeypatch.setattr(HostWatcher, "_read_everything", count)
    monkeypatch.setattr(Calls, "device", hold)
    with watching(node) as calls:
        add("up0")
        assert calls.next_device() == ("uplink+", "up0")
        for number in range(30):
            add(f"pod{number}")
        run("ip", "link", "del", "pod0")
        run("ip", "link", "del", "up0")
        slow.set()
        assert calls.next_device() == ("uplink-", "up0")
        expected = {("pod+", f"pod{number}") for number in range(1, 30)}
        while expected:
            expected.discard(calls.next_device())
    assert len(overruns) > 1


def test_a_refused_device_is_tried_again(node: Path) -> None:
    with watching(node) as calls:
        calls.next_view(how_uplinks_are, ([], ()))
        for error, words, remedy in (
            (EbpflbError("refused", remedy="look"), "refused", "look"),
            (OSError(28, "no space"), "[Errno 28] no space", ""),
        ):
            calls.refusal = error
            add("up0")
            calls.next_view(how_uplinks_are, ([], (DeviceFailure("up0", DeviceRole.UPLINK, words, remedy),)))
            calls.refusal = None
            assert calls.next_device() == ("uplink+", "up0")
            calls.next_view(how_uplinks_are, (["up0"], ()))
            run("ip", "link", "del", "up0")
            assert calls.next_device() == ("uplink-", "up0")


def test_a_refused_device_that_leaves_is_given_up(node: Path) -> None:
    """Some of its programs may have been attached before one was refused."""
    with watching(node) as calls:
        calls.refusal = EbpflbError("refused")
        add("up0")
        calls.next_view(how_uplinks_are, ([], (DeviceFailure("up0", DeviceRole.UPLINK, "refused"),)))
        run("ip", "link", "set", "up0", "name", "idle0")
        assert calls.next_device() == ("uplink-", "up0")
        calls.next_view(how_uplinks_are, ([], ()))


def test_every_device_is_handed_over_again_now_and_then(node: Path) -> None:
    add("up0")
    with watching(node, check_s=0.05) as calls:
        for _ in range(3):
            assert calls.next_device() == ("uplink+", "up0")


def test_an_address_ends_as_a_source_when_it_is_deprecated(node: Path) -> None:
    add("up0")
    with watching(node) as calls:
        run("ip", "addr", "add", "2001:db8::1/64", "dev", "up0", "nodad")
        calls.next_host(addresses, ({"2001:db8::1"}, {"up0": ["2001:db8::1"]}))
        run("ip", "addr", "change", "2001:db8::1/64", "dev", "up0", "preferred_lft", "0")
        calls.next_host(addresses, ({"2001:db8::1"}, {"up0": []}))


def test_a_devices_link_header_is_known(node: Path, caplog: pytest.LogCaptureFixture) -> None:
    run("ip", "tuntap", "add", "up-tap", "mode", "tap")
    run("ip", "tuntap", "add", "up-tun", "mode", "tun")
    with watching(node) as calls:
        assert calls.next_device() == ("uplink+", "up-tap")
        assert calls.next_device() == ("uplink+", "up-tun")
        served = {"up-tap": LinkHeader.ETHERNET, "up-tun": LinkHeader.NONE}
        view = calls.next_view(lambda view: {link.name: link.header for link in view.served[DeviceRole.UPLINK]}, served)
    assert view.warnings == (
        "no device matches --pod-devices pod*",
        "no device matches --pod-devices br*",
        "no uplink has a global IPv4 address: IPv4 is served but where it had to be masqueraded",
    )
    assert len([text for text in caplog.messages if "no uplink has a global IPv4" in text]) == 1


def test_an_xdp_program_that_comes_or_goes_is_a_reason_to_look_again(node: Path) -> None:
    add("up0")
    set_up("up0")
    with watching(node) as calls, xdp_program("bystander") as pin:
        assert calls.next_device() == ("uplink+", "up0")
        for arguments in (("pinned", str(pin)), ("off",)):
            run("ip", "link", "set", "dev", "up0", "xdpdrv", *arguments)
            assert calls.next_device() == ("uplink+", "up0")


def test_a_veth_whose_other_end_becomes_a_pods_is_looked_at_again(node: Path) -> None:
    add("pod0")
    set_up("pod0")
    with namespace("watch-pod") as pod, watching(node) as calls:
        assert calls.next_device() == ("pod+", "pod0")
        run("ip", "link", "set", "far-pod0", "netns", pod.name)
        assert calls.next_device() == ("pod+", "pod0")


def test_what_xdp_can_do_with_our_devices_is_followed(node: Path) -> None:
    """A device without our program is of no interest; its features change, too, when it is made."""
    for name in ("up0", "pod0"):
        add(name)
        set_up(name)
    with NetdevFeatures() as features:
        if features.read(1) is None:
            pytest.skip("needs Linux 6.3: this kernel does not tell what XDP can do with a device")
    with watching(node) as calls:
        assert {calls.next_device(), calls.next_device()} == {("uplink+", "up0"), ("pod+", "pod0")}
        calls.xdp_devices[if_nametoindex("up0")] = False
        for peer in ("far-pod0", "far-up0"):
            set_offload(peer, "gro", on=True)
        assert calls.next_device() == ("uplink+", "up0")
        calls.xdp_devices[if_nametoindex("up0")] = True
        set_offload("far-up0", "gro", on=False)
        calls.next_host(lambda host: [device.supports_xdp for device in host.devices], [True, False])
