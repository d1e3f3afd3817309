"""Knows to which pods packets can be handed directly: looks at a pod's device whenever it is looked at anyway.

Decides when to look. What stands in the way is the host's business (``host/direct_pods.py``), what becomes of the
answer the compiler's.

    device from netlink --> hooks, then access_to --> by_tc(), by_xdp() (HostWatcher -> Host -> map)
"""

import logging
from collections.abc import Collection, Mapping
from typing import Protocol

from ebpflb.host.direct_pods import Access, access_to
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
        self._access: dict[int, Access] = {}

    def by_tc(self) -> Collection[int]:
        """Return the interface indexes of the devices whose pods can be handed packets."""
        return {ifindex for ifindex, access in self._access.items() if access.by_tc}

    def by_xdp(self) -> Mapping[int, bool]:
        """Return whether XDP may send frames to the pods at these devices, by interface index."""
        return {ifindex: access.by_xdp for ifindex, access in self._access.items()}

    def attach_device(self, role: DeviceRole, device: Link) -> None:
        """Have a device get its programs; then look who else is on it."""
        self._access.pop(device.ifindex, None)
        self._hooks.attach_device(role, device)
        if role is DeviceRole.POD:
            access = self._access[device.ifindex] = access_to(device, self._instance)
            log.debug("device_direct device=%s tc=%s xdp=%s", device.name, access.by_tc, access.by_xdp)

    def detach_device(self, role: DeviceRole, device: Link) -> None:
        """Forget a device, and have its programs taken off."""
        self._access.pop(device.ifindex, None)
        self._hooks.detach_device(role, device)
