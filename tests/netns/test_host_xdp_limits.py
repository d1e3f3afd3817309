"""What XDP can do with a device of the test, and how doctor finds out without leaving a trace."""

import os
import select
import socket
import struct
from pathlib import Path

import pytest

from ebpflb.host.links import Link
from ebpflb.host.netdev import NetdevFeatures, XdpFeature, can_transmit
from ebpflb.host.xdp import try_native
from ebpflb.host.xdp_probe import probe_xdp
from tests.netns.host_helpers import PATIENCE_S, inside, namespace, run, set_offload
from tests.netns.xdp_devices import FAR, make_program, shown, xdp_of

pytestmark = pytest.mark.root

_ETHERTYPE = 0x88B5
"""IEEE: for experiments. No stack takes it."""


def test_a_trial_leaves_nothing(veth: Link, xdp_folder: Path) -> None:
    assert try_native(veth) == ""
    assert xdp_of("up0") is None
    other, number = make_program(xdp_folder, "bystander")
    run("ip", "link", "set", "dev", "up0", "xdpdrv", "pinned", str(other))
    assert f"program {number} (name bystander" in try_native(veth)
    assert xdp_of("up0") == ("native", number)


def test_what_doctor_says_of_uplinks(veth: Link, xdp_folder: Path) -> None:
    run("ip", "link", "add", "up-br", "type", "bridge")
    run("ip", "tuntap", "add", "up-tun", "mode", "tun")
    run("ip", "link", "add", "other0", "type", "bridge")
    findings = {finding.name: finding.detail for finding in probe_xdp(["up*"])}
    assert findings.keys() == {"xdp up0", "xdp up-br", "xdp up-tun"}
    assert findings["xdp up0"].startswith("native mode works; only used with --acceleration native: a veth may carry")
    assert findings["xdp up0"].endswith("XDP could not send frames out of it") is not can_transmit(veth)
    assert findings["xdp up-br"].startswith("not possible: the kernel refuses native XDP: ")
    assert findings["xdp up-tun"] == "not possible: no Ethernet header; tc serves it"
    assert {name: xdp_of(name) for name in ("up0", "up-br")} == {"up0": None, "up-br": None}
    other, number = make_program(xdp_folder, "bystander")
    run("ip", "link", "set", "dev", "up0", "xdpgeneric", "pinned", str(other))
    (detail,) = [finding.detail for finding in probe_xdp(["up0"])]
    assert detail.startswith(f"not tried: program {number} (name bystander, tag ")
    assert probe_xdp([]) == []


def test_a_veth_can_transmit_while_its_peer_runs_xdp(veth: Link, xdp_folder: Path) -> None:
    """Its peer may be in another namespace. GRO there is not enough: frames of XDP_TX would lie and wait."""
    program, _ = make_program(xdp_folder, "bystander")
    with NetdevFeatures() as features:
        known = features.read(veth.ifindex)
        if known is None:
            pytest.skip("needs Linux 6.3: this kernel does not tell what XDP can do with a device")
        assert known & (XdpFeature.BASIC | XdpFeature.TRANSMIT) == XdpFeature.BASIC
        assert not can_transmit(veth)
        at_far_end("xdpdrv", "pinned", str(program))
        wait_for_news(features, veth)
        assert can_transmit(veth)
        at_far_end("xdpdrv", "off")
        wait_for_news(features, veth)
        assert not can_transmit(veth)
        with inside(Path("/run/netns") / FAR):
            set_offload("up1", "gro", on=True)
        wait_for_news(features, veth)
        assert not can_transmit(veth)
        at_far_end("xdpgeneric", "pinned", str(program))
        assert not can_transmit(veth)
        assert features.read(1 << 20) is None
    run("ip", "link", "del", "up0")
    assert not can_transmit(veth)


def test_a_veth_whose_peer_is_here(xdp_folder: Path) -> None:
    program, _ = make_program(xdp_folder, "bystander")
    with namespace("xdp") as path, inside(path):
        run("ip", "link", "add", "up0", "type", "veth", "peer", "name", "up1")
        device = Link(shown("up0")["ifindex"], "up0", "veth")
        for name in ("up0", "up1"):
            run("ip", "link", "set", name, "up")
        assert not can_transmit(device)
        run("ip", "link", "set", "dev", "up1", "xdpdrv", "pinned", str(program))
        assert can_transmit(device)


@pytest.mark.parametrize("way", ["sent back", "redirected"])
def test_what_the_answer_promises_is_so(veth: Link, xdp_folder: Path, way: str) -> None:
    """A frame that comes in by up0 leaves by up0, or by up2, and is looked for at the other end."""
    run("ip", "link", "add", "up2", "type", "veth", "peer", "name", "up3", "netns", FAR)
    run("ip", "link", "set", "up2", "up")
    with inside(Path("/run/netns") / FAR):
        run("ip", "link", "set", "up3", "up")
    other = Link(shown("up2")["ifindex"], "up2", "veth")
    code = {"sent back": _SEND_BACK, "redirected": _redirect_to(other.ifindex)}[way]
    exit_device, far_end = {"sent back": (veth, "up1"), "redirected": (other, "up3")}[way]
    sender, _ = make_program(xdp_folder, "bystander", code)
    passing, _ = make_program(xdp_folder, "bystander")
    run("ip", "link", "set", "dev", "up0", "xdpdrv", "pinned", str(sender))
    assert not can_transmit(exit_device)
    assert not arrives(far_end, within_s=0.5)
    with inside(Path("/run/netns") / FAR):
        run("ip", "link", "set", "dev", far_end, "xdpdrv", "pinned", str(passing))
    assert can_transmit(exit_device)
    assert all(arrives(far_end) for _ in range(5))


_SEND_BACK = bytes.fromhex("b700000003000000 9500000000000000")
"""r0 = XDP_TX; exit."""


def _redirect_to(ifindex: int) -> bytes:
    """Return a call of bpf_redirect(ifindex, 0)."""
    rows = ((0xB7, 1, 0, ifindex), (0xB7, 2, 0, 0), (0x85, 0, 0, 23), (0x95, 0, 0, 0))
    return b"".join(struct.pack("=BBhi", *row) for row in rows)


def arrives(far_end: str, within_s: float = PATIENCE_S) -> bool:
    """Send one frame in by up1, and say whether it comes to the far end in which it should end."""
    payload = os.urandom(16)
    frame = b"\xff" * 6 + bytes(6) + _ETHERTYPE.to_bytes(2) + payload + bytes(30)
    with inside(Path("/run/netns") / FAR):
        receiver = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETHERTYPE))
        sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    with receiver, sender:
        receiver.bind((far_end, _ETHERTYPE))
        receiver.settimeout(within_s)
        sender.bind(("up1", 0))
        sender.send(frame)
        try:
            while True:
                data, address = receiver.recvfrom(2048)
                if payload in data and address[2] != socket.PACKET_OUTGOING:
                    return True
        except TimeoutError:
            return False


def at_far_end(*xdp: str) -> None:
    with inside(Path("/run/netns") / FAR):  # `ip -n` would hide bpffs
        run("ip", "link", "set", "dev", "up1", *xdp)


def wait_for_news(features: NetdevFeatures, device: Link) -> None:
    readable, _, _ = select.select([features], [], [], PATIENCE_S)
    assert readable
    assert device.ifindex in set(features.changed())
