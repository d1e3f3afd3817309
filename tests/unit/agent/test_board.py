"""What the agent says of its node: hooks, failures, warnings, and maps of another size than wanted."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import pytest

from ebpflb.agent import board
from ebpflb.agent.acceleration import Accelerator
from ebpflb.agent.board import Board, capacity_warnings, sizes_by_name
from ebpflb.agent.config import Acceleration, AgentConfig
from ebpflb.agent.health import HealthView
from ebpflb.agent.hooks import Hooks
from ebpflb.core.abi import Family
from ebpflb.datapath.build import Build, MapSizes
from ebpflb.datapath.pins import Pins
from ebpflb.datapath.programs import PROGRAMS
from ebpflb.host.inventory import DeviceFailure, DeviceView
from ebpflb.host.links import DeviceRole, Link, LinkHeader
from ebpflb.host.opt_outs import OptOutView
from ebpflb.reconcile.status import FailedDevice, HealthPort, RoleHooks, XdpDevice

SOCKET_PROGRAMS = (
    *("lb_connect4", "lb_sendmsg4", "lb_recvmsg4", "lb_getpeername4", "lb_post_bind4", "lb_release4"),
    *("lb_v6_connect4", "lb_v6_recvmsg4", "lb_v6_peername4", "lb_v6_bind4"),
)


def make_hooks(cgroup: Path | None, acceleration: Acceleration = Acceleration.AUTO) -> Hooks:
    pins = {program.stem: Path("/pins") / program.stem for program in PROGRAMS}
    builds = {Family.IPV4: Build("key", pins, compiled=False, seconds=0.0, instructions={})}
    return Hooks(AgentConfig("node-1", cgroup=cgroup, acceleration=acceleration), builds)


def test_hooks_by_role_with_their_programs() -> None:
    woken: list[int] = []
    hooks = make_hooks(Path("/cg"))
    one = Board(hooks, lambda: woken.append(1), ["map flows is small"])
    assert one.node_status().socket_programs == SOCKET_PROGRAMS
    failure = DeviceFailure("veth3", DeviceRole.POD, "refused", "look")
    uplinks = (Link(2, "eth0"), Link(3, "wg0", "wireguard", header=LinkHeader.NONE), Link(4, "eth1"))
    view = DeviceView({DeviceRole.UPLINK: uplinks, DeviceRole.POD: ()}, (failure,), ("none matches",))
    one.on_view(view)
    one.on_view(view)
    status = one.node_status()
    assert woken == [1]
    assert status.cgroup == "/cg"
    assert status.devices == (
        RoleHooks("uplink", ("lb_uplink_in4", "lb_out4"), ("eth0", "eth1")),
        RoleHooks("uplink", ("lb_uplink_l3_4", "lb_out_l3_4"), ("wg0",)),
    )
    assert status.failed == (FailedDevice("veth3", "pod", "refused", "look"),)
    assert status.warnings == ("map flows is small", "none matches")
    hooks.repairs = 1
    hooks.acceleration.repairs = 2
    one.on_view(view)
    assert (len(woken), one.node_status().repairs) == (2, 3)


def test_health_ports_are_shown_with_what_is_wrong_about_them() -> None:
    woken: list[int] = []
    one = Board(make_hooks(None), lambda: woken.append(1), ["map flows is small"])
    ports = (HealthPort("shop/web", 32000, {"IPv4": 1}, "taken"),)
    view = HealthView(ports, ("health check of Service shop/web: taken",))
    one.on_health(view)
    one.on_health(view)
    assert woken == [1]
    assert one.node_status().health_ports == ports
    assert one.node_status().warnings == ("map flows is small", "health check of Service shop/web: taken")


def test_xdp_is_shown_for_each_uplink(monkeypatch: pytest.MonkeyPatch) -> None:
    states = (XdpDevice("eth0", "native", transmits=True), XdpDevice("eth1", reason="busy"))
    monkeypatch.setattr(Accelerator, "states", states)
    hooks = make_hooks(None, Acceleration.NATIVE)
    status = Board(hooks, lambda: None).node_status()
    assert status.xdp == states
    assert status.warnings == ("device eth1: --acceleration native: busy",)
    assert Board(make_hooks(None), lambda: None).node_status().warnings == ()


def test_opt_outs_and_devices_are_shown_together() -> None:
    woken: list[int] = []
    one = Board(make_hooks(Path("/cg")), lambda: woken.append(1))
    one.on_view(DeviceView({DeviceRole.POD: (Link(8, "veth1"),)}))
    one.on_opt_outs(OptOutView(frozenset({7}), ("pod a/b (why)",), ("pod c/d (why)",), ("pod e/f has no chance",)))
    one.on_opt_outs(OptOutView(frozenset({8}), ("pod a/b (why)",), ("pod c/d (why)",), ("pod e/f has no chance",)))
    status = one.node_status()
    assert len(woken) == 2, "a cookie is shown to nobody"
    assert [hooks.devices for hooks in status.devices] == [("veth1",)]
    assert (status.opted_out, status.awaiting_opt_out) == (("pod a/b (why)",), ("pod c/d (why)",))
    assert status.warnings == ("pod e/f has no chance",)


def test_without_a_cgroup_there_are_no_socket_programs() -> None:
    status = Board(make_hooks(None), lambda: None).node_status()
    assert (status.cgroup, status.socket_programs) == ("", ())


class Opened:
    """Stands in for a pinned map."""

    def __init__(self, entries: int) -> None:
        self.info = SimpleNamespace(max_entries=entries)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def test_maps_of_another_size_than_wanted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sizes = MapSizes(flows=128, sockets=32, slots=1000)
    entries = sizes_by_name(sizes) | {"flows": 64, "sock_origins": 32, "sock_choices": 33, "slots": 62}

    def open_map(pins: Pins, family: Family, name: str) -> Any:
        assert (pins.instance, family) == ("blue", Family.IPV4)
        return Opened(entries[name])

    monkeypatch.setattr(board, "open_map", open_map)
    remedy = "run `ebpflb cleanup` (interrupts traffic) to have it made anew"
    assert capacity_warnings(Pins(tmp_path, "blue"), [Family.IPV4], sizes) == (
        f"map flows has 64 entries, 128 wanted: {remedy}",
        f"map sock_choices has 33 entries, 32 wanted: {remedy}",
    )
