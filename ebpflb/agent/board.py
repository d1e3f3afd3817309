"""What an agent knows of its node beside the maps, for ``ebpflb status``: hooks, devices, sizes of adopted maps.

Decides only what is news, and wakes the loop then. Must not know how any of it is found out.

    netlink: on_view(DeviceView) --+
    Hooks: programs, repairs ------+--> NodeStatus --node_status()--> loop
"""

from collections.abc import Callable, Sequence
from dataclasses import fields

from ebpflb.agent.hooks import Hooks
from ebpflb.core.abi import SLOTS_PER_LINE, Family
from ebpflb.datapath.build import MapSizes
from ebpflb.datapath.pins import Pins
from ebpflb.datapath.store import open_map
from ebpflb.host.inventory import DeviceRole, DeviceView
from ebpflb.reconcile.status import FailedDevice, NodeStatus, RoleHooks

_MAPS_OF_SIZE = {"sockets": ("sock_origins", "sock_choices")}


class Board:
    """Written by the netlink thread, read by the loop's."""

    def __init__(self, hooks: Hooks, wake: Callable[[], None], warnings: Sequence[str] = ()) -> None:
        self._hooks = hooks
        self._wake = wake
        self._warnings = tuple(warnings)
        self._status = self._compose(DeviceView())

    def node_status(self) -> NodeStatus:
        """Return the latest."""
        return self._status

    def on_view(self, view: DeviceView) -> None:
        """Take what the watcher found."""
        status = self._compose(view)
        if status != self._status:
            self._status = status
            self._wake()

    def _compose(self, view: DeviceView) -> NodeStatus:
        return NodeStatus(
            cgroup=self._hooks.cgroup,
            socket_programs=self._hooks.socket_programs,
            devices=tuple(
                RoleHooks(role.value, self._hooks.programs_of(role), view.served[role])
                for role in DeviceRole
                if view.served.get(role)
            ),
            failed=tuple(FailedDevice(each.device, each.role.value, each.error, each.remedy) for each in view.failed),
            repairs=self._hooks.repairs,
            warnings=(*self._warnings, *view.warnings),
        )


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
