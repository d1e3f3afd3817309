"""XDP attachments on veth devices in a namespace of the test, against what `ip` and `bpftool` show."""

import errno
import subprocess
from pathlib import Path

import pytest

from ebpflb.errors import EbpflbError
from ebpflb.host import bpf_links, syscalls
from ebpflb.host.links import Link
from ebpflb.host.xdp import XdpMode, XdpRefusedError, attach, detach, try_native
from tests.netns.host_helpers import inside, namespace, run
from tests.netns.life_helpers import until
from tests.netns.xdp_devices import FAR, make_program, shown, xdp_of

pytestmark = pytest.mark.root

LINK_GET_FD_BY_ID = 30  # enum bpf_cmd


@pytest.fixture
def pin(xdp_folder: Path) -> Path:
    return xdp_folder / "links" / "3"


@pytest.mark.parametrize("mode", XdpMode)
def test_attaches_adopts_and_detaches(veth: Link, xdp_folder: Path, pin: Path, mode: XdpMode) -> None:
    program, number = make_program(xdp_folder, "lb_xdp")
    assert attach(veth, mode, program, pin) == [f"up0: attached lb_xdp in {mode} mode (program {number})"]
    assert xdp_of("up0") == (mode.value, number)
    assert attach(veth, mode, program, pin) == []
    assert detach("up0", pin) == [f"up0: detached program {number}"]
    assert xdp_of("up0") is None
    assert not pin.exists()
    assert detach("up0", pin) == []


def test_another_mode_is_attached_anew(veth: Link, xdp_folder: Path, pin: Path) -> None:
    program, number = make_program(xdp_folder, "lb_xdp")
    attach(veth, XdpMode.NATIVE, program, pin)
    assert attach(veth, XdpMode.GENERIC, program, pin) == [f"up0: attached lb_xdp in generic mode (program {number})"]
    assert xdp_of("up0") == ("generic", number)


def test_nobody_can_take_it_off_through_netlink(veth: Link, xdp_folder: Path, pin: Path) -> None:
    program, number = make_program(xdp_folder, "lb_xdp")
    attach(veth, XdpMode.NATIVE, program, pin)
    for arguments in (["xdp", "off"], ["xdpgeneric", "off"], ["xdp", "pinned", str(program)]):
        subprocess.run(["ip", "-force", "link", "set", "dev", "up0", *arguments], check=False, capture_output=True)
        assert xdp_of("up0") == ("native", number)


def test_what_somebody_detached_is_attached_again(veth: Link, xdp_folder: Path, pin: Path) -> None:
    program, number = make_program(xdp_folder, "lb_xdp")
    attach(veth, XdpMode.NATIVE, program, pin)
    link = bpf_links.read_pinned(pin)
    assert link is not None
    run("bpftool", "link", "detach", "id", str(link.id))
    assert xdp_of("up0") is None
    assert attach(veth, XdpMode.NATIVE, program, pin) == [f"up0: attached lb_xdp in native mode (program {number})"]
    assert xdp_of("up0") == ("native", number)
    pin.unlink()
    until(lambda: xdp_of("up0") is None)
    assert len(attach(veth, XdpMode.NATIVE, program, pin)) == 1


@pytest.mark.parametrize("mode", XdpMode)
def test_anothers_program_is_named_and_never_touched(veth: Link, xdp_folder: Path, pin: Path, mode: XdpMode) -> None:
    program, _ = make_program(xdp_folder, "lb_xdp")
    other, number = make_program(xdp_folder, "bystander")
    attribute = {XdpMode.NATIVE: "xdpdrv", XdpMode.GENERIC: "xdpgeneric"}[mode]
    run("ip", "link", "set", "dev", "up0", attribute, "pinned", str(other))
    words = rf"another's program {number} \(name bystander, tag \w{{16}}\) is attached through netlink in {mode} mode"
    for wanted in XdpMode:
        with pytest.raises(XdpRefusedError, match=words):
            attach(veth, wanted, program, pin)
    assert xdp_of("up0") == (mode.value, number)
    assert not pin.exists()
    run("ip", "link", "set", "dev", "up0", attribute, "off")
    assert len(attach(veth, mode, program, pin)) == 1


def test_anothers_link_is_named(veth: Link, xdp_folder: Path, pin: Path) -> None:
    program, _ = make_program(xdp_folder, "lb_xdp")
    other, number = make_program(xdp_folder, "bystander")
    others_pin = xdp_folder / "links" / "theirs"
    attach(veth, XdpMode.NATIVE, other, others_pin)
    link = bpf_links.read_pinned(others_pin)
    assert link is not None
    with pytest.raises(XdpRefusedError, match=rf"program {number} .* is attached by link {link.id} in native mode"):
        attach(veth, XdpMode.NATIVE, program, pin)
    assert xdp_of("up0") == ("native", number)


def test_a_link_in_the_making_is_passed_over(
    veth: Link, xdp_folder: Path, pin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until it is attached it has a number, and whoever asks for it is told to try again."""
    program, _ = make_program(xdp_folder, "lb_xdp")
    other, _ = make_program(xdp_folder, "bystander")
    run("ip", "link", "add", "br0", "type", "bridge")
    attach(Link(shown("br0")["ifindex"], "br0", "bridge"), XdpMode.GENERIC, other, xdp_folder / "links" / "early")
    attach(veth, XdpMode.NATIVE, other, xdp_folder / "links" / "theirs")
    unfinished = [BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")]
    ask = syscalls.bpf

    def bpf(command: int, attributes: bytes) -> tuple[int, bytes]:
        if command == LINK_GET_FD_BY_ID and unfinished:
            raise unfinished.pop()
        return ask(command, attributes)

    monkeypatch.setattr(syscalls, "bpf", bpf)
    with pytest.raises(XdpRefusedError, match="is attached by link"):
        attach(veth, XdpMode.NATIVE, program, pin)
    assert unfinished == []


def test_the_kernels_words_are_passed_on(veth: Link, xdp_folder: Path, pin: Path) -> None:
    """A frame of 9,000 bytes does not fit into the one page that XDP gives it."""
    program, _ = make_program(xdp_folder, "lb_xdp")
    run("ip", "link", "set", "up0", "mtu", "9000")
    run("ip", "-n", FAR, "link", "set", "up1", "mtu", "9000")
    with pytest.raises(XdpRefusedError, match=r"the kernel refuses native XDP: .*Peer MTU is too large"):
        attach(veth, XdpMode.NATIVE, program, pin)
    assert xdp_of("up0") is None
    with pytest.raises(XdpRefusedError, match="Peer MTU is too large"):
        try_native(veth)


def test_a_driver_without_xdp_is_named(xdp_folder: Path, pin: Path) -> None:
    program, number = make_program(xdp_folder, "lb_xdp")
    with namespace("xdp") as path, inside(path):
        run("ip", "link", "add", "br0", "type", "bridge")
        device = Link(shown("br0")["ifindex"], "br0", "bridge")
        with pytest.raises(XdpRefusedError, match=r"refuses native XDP: .*driver does not support XDP in native mode"):
            attach(device, XdpMode.NATIVE, program, pin)
        attach(device, XdpMode.GENERIC, program, pin)
        assert xdp_of("br0") == ("generic", number)


def test_vanished_devices(veth: Link, xdp_folder: Path, pin: Path) -> None:
    program, _ = make_program(xdp_folder, "lb_xdp")
    attach(veth, XdpMode.NATIVE, program, pin)
    run("ip", "link", "del", "up0")
    link = bpf_links.read_pinned(pin)
    assert link is not None
    assert link.ifindex == 0
    assert attach(veth, XdpMode.NATIVE, program, pin) == []
    assert try_native(veth) == ""
    assert detach("up0", pin) == []
    assert not pin.exists()


def test_a_device_of_the_same_index_elsewhere_is_not_taken_for_it(veth: Link, xdp_folder: Path, pin: Path) -> None:
    program, number = make_program(xdp_folder, "lb_xdp")
    attach(veth, XdpMode.NATIVE, program, pin)
    with namespace("xdp-other") as path, inside(path):
        index = str(veth.ifindex)
        run("ip", "link", "add", "up0", "index", index, "type", "veth", "peer", "name", "up2", "netns", FAR)
        assert attach(veth, XdpMode.NATIVE, program, pin) == [f"up0: attached lb_xdp in native mode (program {number})"]
        assert xdp_of("up0") == ("native", number)
    assert xdp_of("up0") is None


def test_a_device_that_moves_away_can_be_given_up_from_here(veth: Link, xdp_folder: Path, pin: Path) -> None:
    program, number = make_program(xdp_folder, "lb_xdp")
    attach(veth, XdpMode.NATIVE, program, pin)
    with namespace("xdp-other") as path:
        run("ip", "link", "set", "up0", "netns", path.name)
        with inside(path):
            assert xdp_of("up0") == ("native", number)
        detach("up0", pin)
        with inside(path):
            assert xdp_of("up0") is None


def test_a_missing_pin_is_named(veth: Link, xdp_folder: Path, pin: Path) -> None:
    with pytest.raises(EbpflbError, match=r"the XDP program's pin .*/none cannot be opened"):
        attach(veth, XdpMode.NATIVE, xdp_folder / "none", pin)
