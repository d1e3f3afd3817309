"""Knows to which pods packets can be handed directly: looks at a pod's device whenever it is looked at anyway.

Decides when to look. What stands in the way is the host's business (``host/direct_pods.py``), what becomes of the
answer the compiler's.

    device from netlink --> hooks, then is_direct, takes_frames --> devices() (HostWatcher -> Host -> map)
"""

import logging
from collections.abc import Mapping
from typing import Protocol

from ebpflb.host.direct_pods import is_direct, takes_frames
from ebpflb.host.links import DeviceRole, Link

log = logging.getLogger(__name__)


class DeviceHooks(Protocol):
    """Who puts programs on devices."""

    def attach_device(self, role: DeviceRole, device: Link) -> None:
        """Put them on a device, or mend what is gone."""

    def detach_device(self, role: DeviceRole, device: Link) -> None:
        """Take them off."""


class DirectPods:
    """The devices of one agent's pods that packets need not pass. All calls come from one thread."""

    def __init__(self, hooks: DeviceHooks, instance: str) -> None:
        self._hooks = hooks
        self._instance = instance
        self._devices: dict[int, bool] = {}

    def devices(self) -> Mapping[int, bool]:
        """Return the devices by interface index, and whether XDP may send frames to their pods, too."""
        return dict(self._devices)

    def attach_device(self, role: DeviceRole, device: Link) -> None:
        """Have a device get its programs; then look who else is on it."""
        self._devices.pop(device.ifindex, None)
        self._hooks.attach_device(role, device)
        if role is DeviceRole.POD and is_direct(device, self._instance):
            self._devices[device.ifindex] = takes_frames(device.ifindex)
        log.debug("device_direct device=%s direct=%s", device.name, device.ifindex in self._devices)

    def detach_device(self, role: DeviceRole, device: Link) -> None:
        """Forget a device, and have its programs taken off."""
        self._devices.pop(device.ifindex, None)
        self._hooks.detach_device(role, device)
