"""What XDP can do with a device of the test, and how doctor finds out without leaving a trace."""

import select
from collections.abc import Iterator
from pathlib import Path

import pytest

from ebpflb.host.inventory import Link
from ebpflb.host.netdev import NetdevFeatures, XdpFeature, can_transmit
from ebpflb.host.xdp import try_native
from ebpflb.host.xdp_probe import probe_xdp
from tests.netns.host_helpers import inside, namespace, run, set_offload
from tests.netns.xdp_devices import FAR, bpf_folder, make_program, shown, veth_pair, xdp_of

pytestmark = pytest.mark.root


@pytest.fixture
def folder() -> Iterator[Path]:
    with bpf_folder() as made:
        yield made


@pytest.fixture
def device() -> Iterator[Link]:
    with veth_pair() as link:
        yield link


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
