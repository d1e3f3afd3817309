"""Watches links and addresses and says what changed: a fresh ``Host``, devices that came, devices that went.

Decides when something is worth a call, and that nothing is lost between reading and watching: it subscribes first,
then dumps over the same socket, where the kernel keeps events and dump entries in order. Must not know what is
attached to a device.

    rtnetlink -> parse_link, parse_address -> Inventory -> on_host, on_device, on_gone
"""

import logging
import os
import select
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Final

from pyroute2.netlink.rtnl import (
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_GETADDR,
    RTM_GETLINK,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTMGRP_IPV4_IFADDR,
    RTMGRP_IPV6_IFADDR,
    RTMGRP_LINK,
)
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from ebpflb.core.model import Host
from ebpflb.errors import EbpflbError
from ebpflb.host.inventory import Address, AddressKey, DeviceRole, Inventory, Link, RolePatterns
from ebpflb.host.rtnetlink import DumpInterruptedError, Message, OverrunError, Rtnetlink

log = logging.getLogger(__name__)

RETRY_SECONDS: Final = 5.0
"""After this long a device whose handler failed is handed over again."""

_GROUPS: Final = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR
_AF_UNSPEC: Final = 0
_IFF_LOOPBACK: Final = 0x8
_RT_SCOPE_UNIVERSE: Final = 0
_IFA_F_SECONDARY: Final = 0x01
_IFA_F_OPTIMISTIC: Final = 0x04
_IFA_F_DADFAILED: Final = 0x08
_IFA_F_DEPRECATED: Final = 0x20
_IFA_F_TENTATIVE: Final = 0x40


def parse_link(message: Message) -> Link | None:
    """Return the link of a message; ``None`` for a bridge's word about its port, which is no link that came or went."""
    if message["family"] != _AF_UNSPEC:
        return None
    details = message.get_attr("IFLA_LINKINFO")
    return Link(
        ifindex=message["index"],
        name=message.get_attr("IFLA_IFNAME"),
        kind=(details.get_attr("IFLA_INFO_KIND") if details is not None else None) or "",
        loopback=bool(message["flags"] & _IFF_LOOPBACK),
    )


def parse_address(message: Message) -> Address:
    """Return the address of a message. On point-to-point devices IFA_ADDRESS is the peer, IFA_LOCAL is ours."""
    peer = message.get_attr("IFA_ADDRESS")
    local = message.get_attr("IFA_LOCAL") or peer
    flags = message.get_attr("IFA_FLAGS") or message["flags"]
    times = message.get_attr("IFA_CACHEINFO")
    return Address(
        key=AddressKey(
            message["index"], ip_address(local).packed, ip_address(peer or local).packed, message["prefixlen"]
        ),
        is_global=message["scope"] == _RT_SCOPE_UNIVERSE,
        usable=not flags & _IFA_F_DADFAILED and (not flags & _IFA_F_TENTATIVE or bool(flags & _IFA_F_OPTIMISTIC)),
        secondary=bool(flags & _IFA_F_SECONDARY),
        deprecated=bool(flags & _IFA_F_DEPRECATED),
        created=times["cstamp"] if times is not None else 0,
    )


class HostWatcher:
    """Reports this network namespace's addresses and devices, from the first reading until told to stop.

    ``on_device`` is called for each device that takes on a role, also by a rename; again for known ones after an
    overrun, and again every ``RETRY_SECONDS`` while it raises ``EbpflbError``: attaching must be idempotent.
    ``on_gone`` is called when a device vanishes or loses its role. All calls come from the thread of ``run``.
    """

    def __init__(
        self,
        uplink_patterns: Sequence[str],
        pod_patterns: Sequence[str],
        on_host: Callable[[Host], None],
        on_device: Callable[[DeviceRole, Link], None],
        on_gone: Callable[[DeviceRole, Link], None],
    ) -> None:
        self._patterns = RolePatterns(tuple(uplink_patterns), tuple(pod_patterns))
        self._on_host = on_host
        self._on_device = on_device
        self._on_gone = on_gone
        self._inventory = Inventory(self._patterns)
        self._announced: dict[int, tuple[DeviceRole, Link]] = {}
        self._last_host: Host | None = None

    def run(self, stop: threading.Event) -> None:
        """Watch the calling thread's network namespace until ``stop`` is set."""
        with _readable_when_set(stop) as stopped, Rtnetlink(_GROUPS) as netlink:
            poller = select.poll()
            poller.register(stopped, select.POLLIN)
            poller.register(netlink.fileno(), select.POLLIN)
            self._read_everything(netlink)
            complete = self._publish()
            while not stop.is_set():
                poller.poll(None if complete else RETRY_SECONDS * 1000)
                if stop.is_set():
                    return
                try:
                    for message in netlink.pending():
                        self._take(message)
                except OverrunError:
                    log.warning("netlink_overrun action=read_again")
                    self._read_everything(netlink)
                complete = self._publish()

    def _read_everything(self, netlink: Rtnetlink) -> None:
        """Start over from a complete dump. Devices that are still there are announced again."""
        before = self._announced
        while True:
            self._inventory = Inventory(self._patterns)
            self._announced = {}
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
            return
        self._inventory.drop_link(link.ifindex)
        # Said at once: a device that leaves for another namespace and returns keeps its index but not its filters.
        known = self._announced.pop(link.ifindex, None)
        if known is not None:
            self._leave(*known)

    def _publish(self) -> bool:
        """Make the calls that are due; return whether every device was handed over.

        Devices first: who waits for the Host before programming anything finds the programs in place.
        """
        roles = self._inventory.roles()
        for ifindex, (role, link) in list(self._announced.items()):
            if roles.get(ifindex) is not role:
                del self._announced[ifindex]
                self._leave(role, link)
        missing = [ifindex for ifindex in roles if ifindex not in self._announced]
        handed_over = [self._hand_over(roles[ifindex], self._inventory.links[ifindex]) for ifindex in missing]
        host = self._inventory.host()
        if host != self._last_host:
            self._last_host = host
            self._on_host(host)
        return all(handed_over)

    def _hand_over(self, role: DeviceRole, link: Link) -> bool:
        try:
            self._on_device(role, link)
        except EbpflbError as error:
            log.warning("device_failed device=%s role=%s retry_s=%g error=%s", link.name, role, RETRY_SECONDS, error)
            return False
        self._announced[link.ifindex] = (role, link)
        return True

    def _leave(self, role: DeviceRole, link: Link) -> None:
        try:
            self._on_gone(role, link)
        except EbpflbError as error:
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
