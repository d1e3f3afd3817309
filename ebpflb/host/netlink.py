"""Watches links and addresses and says what changed: a fresh ``Host``, devices that came, devices that went.

Decides when something is worth a call, and that nothing is lost between reading and watching: it subscribes first,
then dumps over the same socket, where the kernel keeps events and dump entries in order. Must not know what is
attached to a device.

    rtnetlink, netdev -> parse_link, parse_address -> Inventory -> on_host, on_device, on_gone, on_view
"""

import logging
import os
import select
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from ebpflb.core.abi import Family
from ebpflb.core.model import Host
from ebpflb.errors import EbpflbError
from ebpflb.host.inventory import DeviceFailure, DeviceView, Inventory
from ebpflb.host.link_messages import parse_address, parse_link
from ebpflb.host.links import DeviceRole, Link, RolePatterns
from ebpflb.host.netdev import NetdevFeatures
from ebpflb.host.pyroute import (
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_GETADDR,
    RTM_GETLINK,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTMGRP_IPV4_IFADDR,
    RTMGRP_IPV6_IFADDR,
    RTMGRP_LINK,
    ifaddrmsg,
    ifinfmsg,
)
from ebpflb.host.rtnetlink import DumpInterruptedError, Message, OverrunError, Rtnetlink

log = logging.getLogger(__name__)

RETRY_SECONDS: Final = 5.0
"""After this long a device whose handler failed is handed over again."""
CHECK_SECONDS: Final = 30.0
"""This often every device is handed over again: others may have removed what was attached."""

_GROUPS: Final = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR


class HostWatcher:
    """Reports this network namespace's addresses and devices, from the first reading until told to stop.

    ``on_device`` is called for each device that takes on a role, also by a rename; again for known ones after an
    overrun, every ``CHECK_SECONDS`` and when their XDP state changes, and every ``RETRY_SECONDS`` while it raises
    ``EbpflbError`` or ``OSError``: attaching must be idempotent. ``on_gone`` is called when a device that was handed
    over, even in vain, vanishes or loses its role; ``on_view`` after every look. ``xdp_devices`` is asked which devices
    XDP knows, and whether it may send frames out of them, ``direct_pods`` which pods can be handed packets. All calls
    come from the thread of ``run``.
    """

    def __init__(
        self,
        uplink_patterns: Sequence[str],
        pod_patterns: Sequence[str],
        on_host: Callable[[Host], None],
        on_device: Callable[[DeviceRole, Link], None],
        on_gone: Callable[[DeviceRole, Link], None],
        *,
        on_view: Callable[[DeviceView], None] | None = None,
        families: Sequence[Family] = (),
        xdp_devices: Callable[[], Mapping[int, bool]] = dict,
        direct_pods: Callable[[], Collection[int]] = tuple,
    ) -> None:
        self._patterns = RolePatterns(tuple(uplink_patterns), tuple(pod_patterns))
        self._on_host = on_host
        self._on_device = on_device
        self._on_gone = on_gone
        self._inventory = Inventory(self._patterns)
        self._announced: dict[int, tuple[DeviceRole, Link]] = {}
        self._failed: dict[int, DeviceFailure] = {}
        """Of the announced ones."""
        self._last_host: Host | None = None
        self._on_view = on_view
        self._families = families
        self._xdp_devices = xdp_devices
        self._direct_pods = direct_pods
        self._stale: set[int] = set()
        """Of the announced ones: to be handed over again."""
        self._warned: set[str] = set()

    def run(self, stop: threading.Event) -> None:
        """Watch the calling thread's network namespace until ``stop`` is set."""
        with _readable_when_set(stop) as stopped, Rtnetlink(_GROUPS) as netlink, NetdevFeatures() as features:
            poller = select.poll()
            poller.register(stopped, select.POLLIN)
            poller.register(netlink.fileno(), select.POLLIN)
            poller.register(features.fileno(), select.POLLIN)
            self._read_everything(netlink)
            self._publish()
            check_at = time.monotonic() + CHECK_SECONDS
            while not stop.is_set():
                patience = max(0.0, check_at - time.monotonic())
                poller.poll(min(patience, RETRY_SECONDS if self._failed else patience) * 1000)
                if stop.is_set():
                    return
                try:
                    for message in netlink.pending():
                        self._take(message)
                    self._stale |= self._xdp_devices().keys() & set(features.changed())
                except OverrunError:
                    log.warning("netlink_overrun action=read_again")
                    self._read_everything(netlink)
                is_check = time.monotonic() >= check_at
                if is_check:
                    check_at = time.monotonic() + CHECK_SECONDS
                self._publish(again=is_check)

    def _read_everything(self, netlink: Rtnetlink) -> None:
        """Start over from a complete dump. Devices that are still there are announced again."""
        before = self._announced
        while True:
            self._inventory = Inventory(self._patterns)
            self._announced, self._failed = {}, {}
            try:
                for _ in netlink.pending():
                    """What was sent before the dump is in the dump."""
                for message in netlink.dump_and_events(ifinfmsg(), RTM_GETLINK):
                    self._take(message)
                for message in netlink.dump_and_events(ifaddrmsg(), RTM_GETADDR):
                    self._take(message)
                break
            except (OverrunError, DumpInterruptedError) as error:
                log.debug("netlink_dump_repeated reason=%s", type(error).__name__)
        roles = self._inventory.roles()
        for ifindex, (role, link) in before.items():
            if roles.get(ifindex) is not role:
                self._leave(role, link)

    def _take(self, message: Message) -> None:
        kind = message["header"]["type"]
        if kind in {RTM_NEWLINK, RTM_DELLINK}:
            link = parse_link(message)
            if link is not None:
                self._take_link(link, gone=kind == RTM_DELLINK)
        elif kind == RTM_NEWADDR:
            self._inventory.put_address(parse_address(message))
        elif kind == RTM_DELADDR:
            self._inventory.drop_address(parse_address(message).key)

    def _take_link(self, link: Link, *, gone: bool) -> None:
        if not gone:
            self._inventory.put_link(link)
            _, known = self._announced.get(link.ifindex, (None, link))
            if (known.xdp_program, known.leads_elsewhere) != (link.xdp_program, link.leads_elsewhere):
                self._stale.add(link.ifindex)
            return
        self._inventory.drop_link(link.ifindex)
        # Said at once: a device that leaves for another namespace and returns keeps its index but not its filters.
        if link.ifindex in self._announced:
            self._forget(link.ifindex)

    def _publish(self, *, again: bool = False) -> None:
        """Make the calls that are due; ``again``: hand over known devices, too.

        Devices first: who waits for the Host before programming anything finds the programs in place.
        """
        roles = self._inventory.roles()
        for ifindex, (role, _) in list(self._announced.items()):
            if roles.get(ifindex) is not role:
                self._forget(ifindex)
        for ifindex, role in roles.items():
            if again or ifindex not in self._announced or ifindex in self._failed or ifindex in self._stale:
                self._hand_over(role, self._inventory.links[ifindex])
        self._stale.clear()
        if self._on_view is not None:
            self._on_view(self._view(roles))
        self._inventory.xdp_targets = {ifindex for ifindex, can_send in self._xdp_devices().items() if can_send}
        self._inventory.direct_pods = self._direct_pods()
        self._inventory.unserved = self._failed.keys()
        host = self._inventory.host()
        if host != self._last_host:
            self._last_host = host
            self._on_host(host)

    def _view(self, roles: Mapping[int, DeviceRole]) -> DeviceView:
        warnings = tuple(self._inventory.warnings(self._families))
        for text in warnings:
            if text not in self._warned:
                log.warning("device_warning text=%r", text)
        self._warned = set(warnings)
        served = [(roles[ifindex], ifindex) for ifindex in sorted(roles) if ifindex not in self._failed]
        links = {role: tuple(self._inventory.links[i] for each, i in served if each is role) for role in DeviceRole}
        return DeviceView(links, tuple(self._failed[ifindex] for ifindex in sorted(self._failed)), warnings)

    def _hand_over(self, role: DeviceRole, link: Link) -> None:
        self._announced[link.ifindex] = (role, link)  # also one that fails may have taken a part
        self._failed.pop(link.ifindex, None)
        try:
            self._on_device(role, link)
        except (EbpflbError, OSError) as error:
            log.warning("device_failed device=%s role=%s retry_s=%g error=%s", link.name, role, RETRY_SECONDS, error)
            text, remedy = (error.message, error.remedy) if isinstance(error, EbpflbError) else (str(error), "")
            self._failed[link.ifindex] = DeviceFailure(link.name, role, text, remedy)

    def _forget(self, ifindex: int) -> None:
        self._failed.pop(ifindex, None)
        self._leave(*self._announced.pop(ifindex))

    def _leave(self, role: DeviceRole, link: Link) -> None:
        try:
            self._on_gone(role, link)
        except (EbpflbError, OSError) as error:
            log.warning("device_release_failed device=%s role=%s error=%s", link.name, role, error)


@contextmanager
def _readable_when_set(stop: threading.Event) -> Iterator[int]:
    """Yield a descriptor that becomes readable when ``stop`` is set, so that poll() needs no time limit."""
    descriptor = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    own = os.dup(descriptor)

    def forward() -> None:
        stop.wait()
        os.eventfd_write(own, 1)
        os.close(own)

    threading.Thread(target=forward, name="host-watcher-stop", daemon=True).start()
    try:
        yield descriptor
    finally:
        os.close(descriptor)
