"""What an agent knows of its node beside the maps, for ``ebpflb status``: hooks, devices, sizes of adopted maps.

Decides only what is news, and wakes the loop then. Must not know how any of it is found out.

    netlink: on_view(DeviceView) --------+
    opt-outs: on_opt_outs(OptOutView) ---+
    Health: on_health(HealthView) -------+
    Hooks: programs, repairs ------------+--> NodeStatus --node_status()--> loop
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields

from ebpflb.agent.health import HealthView
from ebpflb.agent.hooks import Hooks
from ebpflb.core.abi import SLOTS_PER_LINE, Family
from ebpflb.datapath.build import MapSizes
from ebpflb.datapath.pins import Pins
from ebpflb.datapath.store import open_map
from ebpflb.host.inventory import DeviceView
from ebpflb.host.links import DeviceRole, LinkHeader
from ebpflb.host.opt_outs import OptOutView
from ebpflb.reconcile.status import FailedDevice, NodeStatus, RoleHooks

_MAPS_OF_SIZE = {"sockets": ("sock_origins", "sock_choices")}


class Board:
    """Written by the threads that look at the node, read by the loop's."""

    def __init__(self, hooks: Hooks, wake: Callable[[], None], warnings: Sequence[str] = ()) -> None:
        self._hooks = hooks
        self._wake = wake
        self._warnings = tuple(warnings)
        self._lock = threading.Lock()
        self._devices = DeviceView()
        self._opt_outs = OptOutView()
        self._health = HealthView()
        self._status = self._compose()

    def node_status(self) -> NodeStatus:
        """Return the latest."""
        return self._status

    def on_view(self, view: DeviceView) -> None:
        """Take what the watcher found."""
        with self._lock:
            self._devices = view
            self._show()

    def on_opt_outs(self, view: OptOutView) -> None:
        """Take who is left to the packet hooks."""
        with self._lock:
            self._opt_outs = view
            self._show()

    def on_health(self, view: HealthView) -> None:
        """Take where health is asked for."""
        with self._lock:
            self._health = view
            self._show()

    def _show(self) -> None:
        status = self._compose()
        if status != self._status:
            self._status = status
            self._wake()

    def _compose(self) -> NodeStatus:
        view, acceleration = self._devices, self._hooks.acceleration
        return NodeStatus(
            cgroup=self._hooks.cgroup,
            socket_programs=self._hooks.socket_programs,
            devices=tuple(self._hooks_on(view)),
            failed=tuple(FailedDevice(each.device, each.role.value, each.error, each.remedy) for each in view.failed),
            xdp=acceleration.states,
            repairs=self._hooks.repairs + acceleration.repairs,
            warnings=(
                *(*self._warnings, *view.warnings, *acceleration.warnings()),
                *(*self._opt_outs.warnings, *self._health.warnings),
            ),
            opted_out=self._opt_outs.opted_out,
            awaiting_opt_out=self._opt_outs.waiting,
            health_ports=self._health.ports,
        )

    def _hooks_on(self, view: DeviceView) -> Iterator[RoleHooks]:
        for role in DeviceRole:
            for header in LinkHeader:
                names = tuple(link.name for link in view.served.get(role, ()) if link.header is header)
                if names:
                    yield RoleHooks(role.value, self._hooks.programs_of(role, header), names)


def sizes_by_name(sizes: MapSizes) -> dict[str, int]:
    """Return the wanted entries of every size that can be set."""
    return {item.name: getattr(sizes, item.name) for item in fields(sizes)}


def capacity_warnings(pins: Pins, families: Sequence[Family], sizes: MapSizes) -> tuple[str, ...]:
    """Return which pinned maps, adopted from a predecessor, have another size than is wanted now."""
    found: dict[str, None] = {}
    for family in families:
        for field, wanted in sizes_by_name(sizes).items():
            lines = SLOTS_PER_LINE if field == "slots" else 1
            for name in _MAPS_OF_SIZE.get(field, (field,)):
                with open_map(pins, family, name) as opened:
                    capacity = opened.info.max_entries * lines
                if capacity != wanted // lines * lines:
                    remedy = "run `ebpflb cleanup` (interrupts traffic) to have it made anew"
                    found[f"map {name} has {capacity} entries, {wanted} wanted: {remedy}"] = None
    return tuple(found)
