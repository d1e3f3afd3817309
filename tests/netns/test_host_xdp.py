"""XDP attachments on veth devices in a namespace of the test, against what `ip` and `bpftool` show."""

import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ebpflb.errors import EbpflbError
from ebpflb.host import bpf_links
from ebpflb.host.links import Link
from ebpflb.host.xdp import XdpMode, XdpRefusedError, attach, detach, try_native
from tests.netns.host_helpers import inside, namespace, run
from tests.netns.xdp_devices import FAR, bpf_folder, make_program, shown, veth_pair, xdp_of

pytestmark = pytest.mark.root


@pytest.fixture
def folder() -> Iterator[Path]:
    with bpf_folder() as made:
        yield made


@pytest.fixture
def pin(folder: Path) -> Path:
    return folder / "links" / "3"


@pytest.fixture
def device() -> Iterator[Link]:
    with veth_pair() as link:
        yield link


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


def wait_until(check: Callable[[], bool]) -> None:
    waiting = threading.Event()
    for _ in range(500):
        if check():
            return
        waiting.wait(0.01)
    raise AssertionError("not within 5 s")
