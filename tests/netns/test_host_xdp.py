"""XDP attachments on veth devices in a namespace of the test, against what `ip` and `bpftool` show."""

import json
import os
import select
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ebpflb.errors import EbpflbError
from ebpflb.host import bpf_links, syscalls
from ebpflb.host.inventory import Link
from ebpflb.host.netdev import NetdevFeatures, XdpFeature, can_transmit
from ebpflb.host.xdp import XdpMode, XdpRefusedError, attach, detach, try_native
from ebpflb.host.xdp_probe import probe_xdp
from tests.netns.host_helpers import inside, namespace, run, set_offload

pytestmark = pytest.mark.root

_XDP = 6
_PASS = bytes.fromhex("b700000002000000 9500000000000000")
_DROP = bytes.fromhex("b700000001000000 9500000000000000")
FAR = f"ebpflb-t-{os.getpid()}-xdp-far"
FOLDER = Path("/sys/fs/bpf") / f"ebpflb-t-xdp-{os.getpid()}"


@pytest.fixture
def folder() -> Iterator[Path]:
    """Give a folder on bpffs for programs and links."""
    FOLDER.mkdir()
    yield FOLDER
    shutil.rmtree(FOLDER)


@pytest.fixture
def pin(folder: Path) -> Path:
    return folder / "links" / "3"


@pytest.fixture
def device() -> Iterator[Link]:
    """Give one end of a veth pair; the other one, up1, has an address, and what it sends arrives at 192.0.2.1."""
    with namespace("xdp") as path, namespace("xdp-far") as far, inside(path):
        run("ip", "link", "add", "up0", "type", "veth", "peer", "name", "up1", "netns", far.name)
        for arguments in (
            ["addr", "add", "192.0.2.1/24", "dev", "up0"],
            ["link", "set", "up0", "up"],
            ["-n", far.name, "addr", "add", "192.0.2.2/24", "dev", "up1"],
            ["-n", far.name, "link", "set", "up1", "up"],
        ):
            run("ip", *arguments)
        yield Link(shown("up0")["ifindex"], "up0", "veth")


def shown(name: str) -> dict[str, Any]:
    (link,) = json.loads(run("ip", "-j", "-d", "link", "show", name))
    found: dict[str, Any] = link
    return found


def xdp_of(name: str) -> tuple[str, int] | None:
    """Return what `ip` says of a device: mode and program."""
    modes = {1: "native", 2: "generic"}
    xdp = shown(name).get("xdp")
    return (modes[xdp["mode"]], xdp["prog"]["id"]) if xdp else None


def make_program(folder: Path, name: str, instructions: bytes = _PASS) -> tuple[Path, int]:
    """Load and pin a program; return its pin and its id."""
    descriptor = syscalls.load_program(_XDP, 0, instructions, name.encode())
    try:
        path = folder / f"{name}-{descriptor}-{len(list(folder.iterdir()))}"
        bpf_links.pin(descriptor, path)
        return path, bpf_links.read_program(descriptor).id
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("mode", XdpMode)
def test_attaches_adopts_and_detaches(device: Link, folder: Path, pin: Path, mode: XdpMode) -> None:
    program, number = make_program(folder, "lb_xdp")
    assert attach(device, mode, program, pin) == [f"up0: attached lb_xdp in {mode} mode (program {number})"]
    assert xdp_of("up0") == (mode.value, number)
    assert attach(device, mode, program, pin) == []
    assert detach("up0", pin) == [f"up0: detached program {number}"]
    assert xdp_of("up0") is None
    assert not pin.exists()
    assert detach("up0", pin) == []


def test_another_mode_is_attached_anew(device: Link, folder: Path, pin: Path) -> None:
    program, number = make_program(folder, "lb_xdp")
    attach(device, XdpMode.NATIVE, program, pin)
    assert attach(device, XdpMode.GENERIC, program, pin) == [f"up0: attached lb_xdp in generic mode (program {number})"]
    assert xdp_of("up0") == ("generic", number)


def test_nobody_can_take_it_off_through_netlink(device: Link, folder: Path, pin: Path) -> None:
    program, number = make_program(folder, "lb_xdp")
    attach(device, XdpMode.NATIVE, program, pin)
    for arguments in (["xdp", "off"], ["xdpgeneric", "off"], ["xdp", "pinned", str(program)]):
        subprocess.run(["ip", "-force", "link", "set", "dev", "up0", *arguments], check=False, capture_output=True)
        assert xdp_of("up0") == ("native", number)


def test_what_somebody_detached_is_attached_again(device: Link, folder: Path, pin: Path) -> None:
    program, number = make_program(folder, "lb_xdp")
    attach(device, XdpMode.NATIVE, program, pin)
    link = bpf_links.read_pinned(pin)
    assert link is not None
    run("bpftool", "link", "detach", "id", str(link.id))
    assert xdp_of("up0") is None
    assert attach(device, XdpMode.NATIVE, program, pin) == [f"up0: attached lb_xdp in native mode (program {number})"]
    assert xdp_of("up0") == ("native", number)
    pin.unlink()
    wait_until(lambda: xdp_of("up0") is None)
    assert len(attach(device, XdpMode.NATIVE, program, pin)) == 1


def test_a_new_program_replaces_without_losing_a_packet(device: Link, folder: Path, pin: Path) -> None:
    first, second = make_program(folder, "lb_xdp"), make_program(folder, "lb_xdp")
    attach(device, XdpMode.NATIVE, first[0], pin)
    before = bpf_links.read_pinned(pin)
    assert before is not None
    with datagrams_from_afar() as counts:
        for number in range(200):
            (path, identity) = (second, first)[number % 2]
            assert attach(device, XdpMode.NATIVE, path, pin) == [
                f"up0: replaced lb_xdp in native mode (program {identity})"
            ]
    assert xdp_of("up0") == ("native", first[1])
    after = bpf_links.read_pinned(pin)
    assert after is not None
    assert after.id == before.id
    assert counts["received"] == counts["sent"] > 200


@contextmanager
def datagrams_from_afar() -> Iterator[dict[str, int]]:
    """Let the far end send datagrams without a pause; afterwards the counts are in what this gives."""
    with inside(Path("/run/netns") / FAR):
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    stop, counts = threading.Event(), {"sent": 0, "received": 0}

    def send() -> None:
        while not stop.wait(0.0005):
            sender.send(b"x")
            counts["sent"] += 1
        sender.send(b"end")

    def receive() -> None:
        while receiver.recv(8) != b"end":
            counts["received"] += 1

    with sender, receiver:
        receiver.bind(("192.0.2.1", 9999))
        receiver.settimeout(10)
        sender.connect(("192.0.2.1", 9999))
        sender.send(b"x")  # resolves the neighbour
        counts["sent"] += 1
        threads = [threading.Thread(target=each) for each in (receive, send)]
        for thread in threads:
            thread.start()
        try:
            yield counts
        finally:
            stop.set()
            for thread in reversed(threads):
                thread.join()


@pytest.mark.parametrize("mode", XdpMode)
def test_anothers_program_is_named_and_never_touched(device: Link, folder: Path, pin: Path, mode: XdpMode) -> None:
    program, _ = make_program(folder, "lb_xdp")
    other, number = make_program(folder, "bystander")
    attribute = {XdpMode.NATIVE: "xdpdrv", XdpMode.GENERIC: "xdpgeneric"}[mode]
    run("ip", "link", "set", "dev", "up0", attribute, "pinned", str(other))
    words = rf"another's program {number} \(name bystander, tag \w{{16}}\) is attached through netlink in {mode} mode"
    for wanted in XdpMode:
        with pytest.raises(XdpRefusedError, match=words):
            attach(device, wanted, program, pin)
    assert xdp_of("up0") == (mode.value, number)
    assert not pin.exists()
    run("ip", "link", "set", "dev", "up0", attribute, "off")
    assert len(attach(device, mode, program, pin)) == 1


def test_anothers_link_is_named(device: Link, folder: Path, pin: Path) -> None:
    program, _ = make_program(folder, "lb_xdp")
    other, number = make_program(folder, "bystander")
    others_pin = folder / "links" / "theirs"
    attach(device, XdpMode.NATIVE, other, others_pin)
    link = bpf_links.read_pinned(others_pin)
    assert link is not None
    with pytest.raises(XdpRefusedError, match=rf"program {number} .* is attached by link {link.id} in native mode"):
        attach(device, XdpMode.NATIVE, program, pin)
    assert xdp_of("up0") == ("native", number)


def test_the_kernels_words_are_passed_on(device: Link, folder: Path, pin: Path) -> None:
    """A frame of 9,000 bytes does not fit into the one page that XDP gives it."""
    program, _ = make_program(folder, "lb_xdp")
    run("ip", "link", "set", "up0", "mtu", "9000")
    run("ip", "-n", FAR, "link", "set", "up1", "mtu", "9000")
    with pytest.raises(XdpRefusedError, match=r"the kernel refuses native XDP: .*Peer MTU is too large"):
        attach(device, XdpMode.NATIVE, program, pin)
    assert xdp_of("up0") is None
    with pytest.raises(XdpRefusedError, match="Peer MTU is too large"):
        try_native(device)


def test_a_driver_without_xdp_is_named(folder: Path, pin: Path) -> None:
    program, number = make_program(folder, "lb_xdp")
    with namespace("xdp") as path, inside(path):
        run("ip", "link", "add", "br0", "type", "bridge")
        device = Link(shown("br0")["ifindex"], "br0", "bridge")
        with pytest.raises(XdpRefusedError, match=r"refuses native XDP: .*driver does not support XDP in native mode"):
            attach(device, XdpMode.NATIVE, program, pin)
        attach(device, XdpMode.GENERIC, program, pin)
        assert xdp_of("br0") == ("generic", number)


def test_vanished_devices(device: Link, folder: Path, pin: Path) -> None:
    program, _ = make_program(folder, "lb_xdp")
    attach(device, XdpMode.NATIVE, program, pin)
    run("ip", "link", "del", "up0")
    link = bpf_links.read_pinned(pin)
    assert link is not None
    assert link.ifindex == 0
    assert attach(device, XdpMode.NATIVE, program, pin) == []
    assert try_native(device) == ""
    assert detach("up0", pin) == []
    assert not pin.exists()


def test_a_device_of_the_same_index_elsewhere_is_not_taken_for_this_one(device: Link, folder: Path, pin: Path) -> None:
    program, number = make_program(folder, "lb_xdp")
    attach(device, XdpMode.NATIVE, program, pin)
    with namespace("xdp-other") as path, inside(path):
        run("ip", "link", "add", "up0", "type", "veth", "peer", "name", "up2", "netns", FAR)
        assert shown("up0")["ifindex"] == device.ifindex
        assert attach(device, XdpMode.NATIVE, program, pin) == [
            f"up0: attached lb_xdp in native mode (program {number})"
        ]
        assert xdp_of("up0") == ("native", number)
    assert xdp_of("up0") is None


def test_a_device_that_moves_away_can_be_given_up_from_here(device: Link, folder: Path, pin: Path) -> None:
    program, number = make_program(folder, "lb_xdp")
    attach(device, XdpMode.NATIVE, program, pin)
    with namespace("xdp-other") as path:
        run("ip", "link", "set", "up0", "netns", path.name)
        with inside(path):
            assert xdp_of("up0") == ("native", number)
        detach("up0", pin)
        with inside(path):
            assert xdp_of("up0") is None


def test_a_missing_pin_is_named(device: Link, folder: Path, pin: Path) -> None:
    with pytest.raises(EbpflbError, match=r"the XDP program's pin .*/none cannot be opened"):
        attach(device, XdpMode.NATIVE, folder / "none", pin)


def test_a_trial_leaves_nothing(device: Link, folder: Path) -> None:
    assert try_native(device) == ""
    assert xdp_of("up0") is None
    other, number = make_program(folder, "bystander")
    run("ip", "link", "set", "dev", "up0", "xdpdrv", "pinned", str(other))
    assert f"program {number} (name bystander" in try_native(device)
    assert xdp_of("up0") == ("native", number)


def test_what_doctor_says_of_uplinks(device: Link, folder: Path) -> None:
    run("ip", "link", "add", "up-br", "type", "bridge")
    run("ip", "tuntap", "add", "up-tun", "mode", "tun")
    run("ip", "link", "add", "other0", "type", "bridge")
    findings = {finding.name: finding.detail for finding in probe_xdp(["up*"])}
    assert findings.keys() == {"xdp up0", "xdp up-br", "xdp up-tun"}
    assert findings["xdp up0"].startswith("native mode works; only used with --acceleration native: a veth may carry")
    assert findings["xdp up0"].endswith("XDP could not send frames out of it") is not can_transmit(device)
    assert findings["xdp up-br"].startswith("not possible: the kernel refuses native XDP: ")
    assert findings["xdp up-tun"] == "not possible: no Ethernet header; tc serves it"
    assert {name: xdp_of(name) for name in ("up0", "up-br")} == {"up0": None, "up-br": None}
    other, number = make_program(folder, "bystander")
    run("ip", "link", "set", "dev", "up0", "xdpgeneric", "pinned", str(other))
    (detail,) = [finding.detail for finding in probe_xdp(["up0"])]
    assert detail.startswith(f"not tried: program {number} (name bystander, tag ")
    assert probe_xdp([]) == []


def test_a_veth_can_transmit_while_its_peer_runs_xdp(device: Link, folder: Path) -> None:
    """Its peer may be in another namespace. GRO there is not enough: frames of XDP_TX would lie and wait."""
    program, _ = make_program(folder, "bystander")
    with NetdevFeatures() as features:
        known = features.read(device.ifindex)
        if known is None:
            pytest.skip("needs Linux 6.3: this kernel does not tell what XDP can do with a device")
        assert known & (XdpFeature.BASIC | XdpFeature.TRANSMIT) == XdpFeature.BASIC
        assert not can_transmit(device)
        at_far_end("xdpdrv", "pinned", str(program))
        wait_for_news(features, device)
        assert can_transmit(device)
        at_far_end("xdpdrv", "off")
        wait_for_news(features, device)
        assert not can_transmit(device)
        with inside(Path("/run/netns") / FAR):
            set_offload("up1", "gro", on=True)
        wait_for_news(features, device)
        assert not can_transmit(device)
        at_far_end("xdpgeneric", "pinned", str(program))
        assert not can_transmit(device)
        assert features.read(1 << 20) is None
    run("ip", "link", "del", "up0")
    assert not can_transmit(device)


def test_a_veth_whose_peer_is_here(folder: Path) -> None:
    program, _ = make_program(folder, "bystander")
    with namespace("xdp") as path, inside(path):
        run("ip", "link", "add", "up0", "type", "veth", "peer", "name", "up1")
        device = Link(shown("up0")["ifindex"], "up0", "veth")
        for name in ("up0", "up1"):
            run("ip", "link", "set", name, "up")
        assert not can_transmit(device)
        run("ip", "link", "set", "dev", "up1", "xdpdrv", "pinned", str(program))
        assert can_transmit(device)


def at_far_end(*xdp: str) -> None:
    with inside(Path("/run/netns") / FAR):  # `ip -n` would hide bpffs
        run("ip", "link", "set", "dev", "up1", *xdp)


def wait_for_news(features: NetdevFeatures, device: Link) -> None:
    readable, _, _ = select.select([features], [], [], 5)
    assert readable
    assert device.ifindex in set(features.changed())


def wait_until(check: Callable[[], bool]) -> None:
    waiting = threading.Event()
    for _ in range(500):
        if check():
            return
        waiting.wait(0.01)
    raise AssertionError("not within 5 s")
