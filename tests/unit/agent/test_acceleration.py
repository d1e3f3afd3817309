"""Which uplinks get XDP, in which mode, what they may do there, and what is said about those that do not."""

import logging
from collections.abc import Mapping
from pathlib import Path

import pytest

from ebpflb.agent import acceleration
from ebpflb.agent.acceleration import Accelerator
from ebpflb.agent.config import Acceleration, AgentConfig
from ebpflb.core.abi import Family
from ebpflb.datapath.pins import Pins
from ebpflb.host.links import Link, LinkHeader
from ebpflb.host.xdp import XdpMode, XdpRefusedError
from ebpflb.reconcile.status import XdpDevice

CARD = Link(3, "eth0")
VETH = Link(8, "uplink0", "veth")
TUNNEL = Link(9, "wg0", "wireguard", header=LinkHeader.NONE)
PROGRAMS = {Family.IPV4: Path("/pins/lb_xdp_in")}
DISPATCHER = Path("/pins/lb_xdp")


class Kernel:
    """Stands in for the XDP hooks of devices and for the dispatcher."""

    def __init__(self) -> None:
        self.attached: dict[str, XdpMode] = {}
        self.refusal: Exception | None = None
        self.transmits = True
        self.is_pinned = True
        self.calls: list[str] = []

    def attach(self, device: Link, mode: XdpMode, program: Path, pin: Path) -> list[str]:
        assert (program, pin.name) == (DISPATCHER, str(device.ifindex))
        if self.refusal:
            raise self.refusal
        changes = [] if self.attached.get(device.name) is mode else [f"{device.name}: attached"]
        self.attached[device.name] = mode
        return changes

    def detach(self, device: str, pin: Path) -> list[str]:
        del pin
        return [f"{device}: detached"] if self.attached.pop(device, None) else []

    def dispatcher(self, pins: Pins, programs: Mapping[Family, Path]) -> "Kernel":
        assert (pins.instance, programs) == ("blue", PROGRAMS)
        return self

    def ready(self) -> Path:
        self.calls.append("ready")
        return DISPATCHER

    def adopt(self) -> None:
        self.calls.append("adopt")

    def remove(self) -> None:
        self.calls.append("remove")


@pytest.fixture(name="kernel")
def _kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    kernel = Kernel()
    monkeypatch.setattr(acceleration, "attach", kernel.attach)
    monkeypatch.setattr(acceleration, "detach", kernel.detach)
    monkeypatch.setattr(acceleration, "can_transmit", lambda _device: kernel.transmits)
    monkeypatch.setattr(acceleration, "Dispatcher", kernel.dispatcher)
    return kernel


def make(wish: Acceleration, folder: Path = Path("/none")) -> Accelerator:
    return Accelerator(AgentConfig("node-1", instance="blue", bpffs=folder, acceleration=wish), PROGRAMS)


@pytest.mark.parametrize(
    ("wish", "modes"),
    [
        (Acceleration.AUTO, {"eth0": "native", "uplink0": "", "wg0": ""}),
        (Acceleration.NATIVE, {"eth0": "native", "uplink0": "native", "wg0": ""}),
        (Acceleration.GENERIC, {"eth0": "generic", "uplink0": "generic", "wg0": ""}),
        (Acceleration.OFF, {}),
    ],
)
def test_the_wish_and_the_device_decide(kernel: Kernel, wish: Acceleration, modes: dict[str, str]) -> None:
    one = make(wish)
    for device in (CARD, VETH, TUNNEL):
        one.attach(device)
    assert {state.device: state.mode for state in one.states} == modes
    assert kernel.attached == {device: XdpMode(mode) for device, mode in modes.items() if mode}
    assert one.devices().keys() == {device.ifindex for device in (CARD, VETH) if modes.get(device.name)}
    assert all(state.reason for state in one.states if not state.mode)


@pytest.mark.parametrize(
    ("wish", "device", "words"),
    [
        (Acceleration.NATIVE, VETH, "the other end of this veth runs no XDP program"),
        (Acceleration.AUTO, CARD, "the driver takes no frames from XDP"),
        (Acceleration.GENERIC, VETH, ""),
    ],
)
def test_a_device_that_would_lose_frames_is_no_target(
    kernel: Kernel, wish: Acceleration, device: Link, words: str
) -> None:
    kernel.transmits = False
    one = make(wish)
    one.attach(device)
    (state,) = one.states
    assert words in state.reason
    assert one.devices() == {device.ifindex: not words}
    kernel.transmits = True
    one.attach(device)
    assert one.states == (XdpDevice(device.name, state.mode, transmits=True),)
    assert one.devices() == {device.ifindex: True}


@pytest.mark.parametrize("error", [XdpRefusedError("another's program 7"), OSError(28, "no space")])
@pytest.mark.parametrize("wish", [Acceleration.AUTO, Acceleration.NATIVE])
def test_a_refusal_is_said_once_and_tried_again(
    kernel: Kernel, caplog: pytest.LogCaptureFixture, wish: Acceleration, error: Exception
) -> None:
    caplog.set_level(logging.INFO)
    kernel.refusal = error
    one = make(wish)
    for _ in range(2):
        one.attach(CARD)
    assert one.states == (XdpDevice("eth0", reason=str(error)),)
    assert one.devices() == {}
    (record,) = caplog.records
    assert record.getMessage() == f"xdp device=eth0 mode=none reason={str(error)!r}"
    is_wanted = wish is Acceleration.NATIVE
    assert record.levelno == (logging.WARNING if is_wanted else logging.INFO)
    assert one.warnings() == ((f"device eth0: --acceleration native: {error}",) if is_wanted else ())
    kernel.refusal = None
    one.attach(CARD)
    assert one.states == (XdpDevice("eth0", "native", transmits=True),)
    assert (one.warnings(), one.repairs) == ((), 0)


def test_what_others_took_away_is_attached_again_and_counted(kernel: Kernel, caplog: pytest.LogCaptureFixture) -> None:
    one = make(Acceleration.AUTO)
    for _ in range(2):
        one.attach(CARD)
    assert one.repairs == 0
    kernel.attached.clear()
    one.attach(CARD)
    assert one.repairs == 1
    assert "xdp_repaired device=eth0 repairs=1" in caplog.messages


def test_a_device_that_leaves_is_forgotten(kernel: Kernel) -> None:
    one = make(Acceleration.AUTO)
    one.attach(CARD)
    one.release(CARD)
    assert (kernel.attached, one.states, one.devices()) == ({}, (), {})


def test_what_an_earlier_run_was_told_otherwise_is_undone(kernel: Kernel) -> None:
    kernel.attached["uplink0"] = XdpMode.NATIVE
    make(Acceleration.AUTO).attach(VETH)
    assert kernel.attached == {}


@pytest.mark.parametrize(
    ("wish", "left", "calls"),
    [(Acceleration.AUTO, {"lo"}, ["adopt"]), (Acceleration.OFF, set(), ["remove"])],
)
def test_links_of_an_earlier_run_stay_where_they_belong(
    *, kernel: Kernel, tmp_path: Path, wish: Acceleration, left: set[str], calls: list[str]
) -> None:
    one = make(wish, tmp_path)
    links = Pins(tmp_path, "blue").xdp_links
    links.mkdir(parents=True)
    for ifindex, name in ((1, "lo"), (1 << 30, f"{1 << 30} (gone)")):
        (links / str(ifindex)).touch()
        kernel.attached[name] = XdpMode.NATIVE
    one.adopt(lambda device: device == Link(1, "lo"))
    assert kernel.attached.keys() == left
    assert kernel.calls == calls


def test_programs_are_built_when_the_first_device_needs_them(kernel: Kernel) -> None:
    config = AgentConfig("node-1", instance="blue", acceleration=Acceleration.AUTO)
    accelerator = Accelerator(config, PROGRAMS, lambda: kernel.calls.append("build"))
    accelerator.attach(TUNNEL)
    assert kernel.calls == []
    accelerator.attach(Link(2, "eth0"))
    assert kernel.calls == ["build", "ready"]


@pytest.mark.parametrize("is_pinned", [True, False])
def test_a_predecessors_dispatcher_needs_them_at_once(kernel: Kernel, tmp_path: Path, is_pinned: bool) -> None:
    kernel.is_pinned = is_pinned
    config = AgentConfig("node-1", instance="blue", bpffs=tmp_path)
    Accelerator(config, PROGRAMS, lambda: kernel.calls.append("build")).adopt(lambda _: True)
    assert kernel.calls == (["build", "adopt"] if is_pinned else [])
