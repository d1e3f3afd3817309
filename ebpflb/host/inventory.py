"""Which links and addresses this machine has, kept from netlink's facts one at a time. Pure: no socket, no clock.

Decides what counts as an address of the host, which devices have which role, which addresses stand in for a client's
when a packet leaves by a device, and what about the devices deserves a warning. Must not know how the facts arrive nor
what is attached.

    Link, Address (from netlink.py) -> Inventory -> Host (core.model), the role of each device, warnings
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from ipaddress import ip_address
from typing import Final

from ebpflb.core.abi import Family
from ebpflb.core.model import Device, Host
from ebpflb.host.snat_source import of_family, with_borrowed

_BRIDGE_KINDS: Final = frozenset({"bridge", "openvswitch"})
"""What joins pods is no pod device: each packet would be seen twice."""
_AGGREGATE_KINDS: Final = frozenset({"bond", "team"})
"""What has taken devices in, and shows their packets as its own: there they are served, with its addresses."""


class DeviceRole(StrEnum):
    """What the programs on a device serve."""

    UPLINK = "uplink"  # first: where patterns of both name a device, it wins
    POD = "pod"


class LinkHeader(StrEnum):
    """What stands before the IP header of a device's packets, where tc's programs see them."""

    ETHERNET = "ethernet"
    NONE = "none"
    """tun, WireGuard, IPIP, GRE, PPP, LTE modems."""
    OTHER = "other"
    """InfiniBand, 802.15.4: nothing that the programs read."""


@dataclass(frozen=True, slots=True)
class Link:
    """A network device."""

    ifindex: int
    name: str
    kind: str = ""
    """``veth``, ``bridge``, ``vxlan``...; empty for hardware."""
    loopback: bool = False
    header: LinkHeader = LinkHeader.ETHERNET
    port_of: str = ""
    """The kind of the device that has taken this one in, ``bridge`` or ``bond``; empty: none has."""
    mtu: int = 1500
    """In bytes, network header included."""
    xdp_program: int = 0
    """The kernel's id of the XDP program on it; 0: none, or several."""


_SERVED_HEADERS: Final = frozenset({LinkHeader.ETHERNET, LinkHeader.NONE})


@dataclass(frozen=True, slots=True)
class AddressKey:
    """What makes an address unique in a network namespace."""

    ifindex: int
    local: bytes
    peer: bytes
    prefix_length: int


@dataclass(frozen=True, slots=True)
class Address:
    """An address of a device, with what decides its rank."""

    key: AddressKey
    is_global: bool = True
    """False: link-local, or of the host alone."""
    usable: bool = True
    """False while IPv6 duplicate address detection runs, and after it failed."""
    secondary: bool = False
    """IPv4: not the first of its subnet. IPv6: a temporary privacy address."""
    deprecated: bool = False
    """No new connection shall use it: it is about to go, or is a service address (keepalived marks those so)."""
    created: int = 0
    """In hundredths of a second since boot: the order in which a dump and a stream of events agree."""

    @property
    def is_source(self) -> bool:
        """Say whether connections of the host may use it towards anybody."""
        return self.is_global and self.usable and not self.deprecated

    @property
    def rank(self) -> tuple[bool, int]:
        """Return what the best source address has least of."""
        return (self.secondary, self.created)


@dataclass(frozen=True, slots=True)
class RolePatterns:
    """Glob patterns of device names, for each role."""

    uplinks: Sequence[str] = ()
    pods: Sequence[str] = ()

    def role_of(self, link: Link) -> DeviceRole | None:
        """Return a device's role: the one that the patterns name, where the device can have it."""
        return None if self.obstacle_to(link) else self._named_role_of(link)

    def obstacle_to(self, link: Link) -> str:
        """Return why a device that the patterns name is not served; empty: nothing is in the way."""
        if self._named_role_of(link) is None:
            return ""
        if link.header not in _SERVED_HEADERS:
            return "has a link header that is not served: neither Ethernet nor none"
        if link.port_of in _AGGREGATE_KINDS:
            return f"is a port of a {link.port_of}: not served, name that instead"
        return ""

    def _named_role_of(self, link: Link) -> DeviceRole | None:
        """Return the role that the patterns name. Uplink wins; a bridge is never a pod device; loopback has none."""
        for role in DeviceRole:
            if any(self._matches(role, pattern, link) for pattern in self._of(role)):
                return role
        return None

    def unmatched(self, links: Collection[Link]) -> Iterator[tuple[DeviceRole, str]]:
        """Yield each pattern that names no device."""
        for role in DeviceRole:
            for pattern in self._of(role):
                if not any(self._matches(role, pattern, link) for link in links):
                    yield role, pattern

    def _of(self, role: DeviceRole) -> Sequence[str]:
        return self.uplinks if role is DeviceRole.UPLINK else self.pods

    @staticmethod
    def _matches(role: DeviceRole, pattern: str, link: Link) -> bool:
        unfit = link.loopback or (role is DeviceRole.POD and link.kind in _BRIDGE_KINDS)
        return not unfit and fnmatchcase(link.name, pattern)


@dataclass(frozen=True, slots=True)
class DeviceFailure:
    """A device that did not take its programs."""

    device: str
    role: DeviceRole
    error: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class DeviceView:
    """How the devices that the patterns name are doing."""

    served: Mapping[DeviceRole, tuple[Link, ...]] = field(default_factory=dict)
    failed: tuple[DeviceFailure, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(slots=True)
class Inventory:
    """The current links and addresses. Facts must be put in the order in which the kernel sent them."""

    patterns: RolePatterns
    links: dict[int, Link] = field(default_factory=dict)
    addresses: dict[AddressKey, Address] = field(default_factory=dict)
    xdp_targets: Collection[int] = ()
    """Interface indexes of the devices that XDP may send frames out of."""

    def put_link(self, link: Link) -> None:
        """Take a new or changed link."""
        self.links[link.ifindex] = link

    def drop_link(self, ifindex: int) -> None:
        """Forget a link and its addresses."""
        self.links.pop(ifindex, None)
        for key in [key for key in self.addresses if key.ifindex == ifindex]:
            del self.addresses[key]

    def put_address(self, address: Address) -> None:
        """Take a new or changed address."""
        self.addresses[address.key] = address

    def drop_address(self, key: AddressKey) -> None:
        """Forget an address."""
        self.addresses.pop(key, None)

    def roles(self) -> dict[int, DeviceRole]:
        """Return the role of every device that has one, by interface index."""
        found = {link.ifindex: self.patterns.role_of(link) for link in self.links.values()}
        return {ifindex: role for ifindex, role in found.items() if role is not None}

    def host(self) -> Host:
        """Return the host as the compiler sees it."""
        usable = [address for address in self.addresses.values() if address.usable]
        return Host(
            addresses=frozenset(
                address.key.local for address in usable if not ip_address(address.key.local).is_loopback
            ),
            devices=tuple(self._uplinks()),
        )

    def warnings(self, families: Sequence[Family]) -> Iterator[str]:
        """Yield what somebody who chose the patterns would want to hear."""
        for role, pattern in self.patterns.unmatched(self._links()):
            yield f"no device matches --{role}-devices {pattern}"
        for link in self._links():
            if obstacle := self.patterns.obstacle_to(link):
                yield f"device {link.name} {obstacle}"
        devices = self._uplinks()
        for family in families:
            if devices and not any(of_family(device.addresses, family) for device in devices):
                name = f"IPv{family.value}"
                yield f"no uplink has a global {name} address: {name} is served but where it had to be masqueraded"

    def _uplinks(self) -> list[Device]:
        uplinks = [link for link in self._links() if self.patterns.role_of(link) is DeviceRole.UPLINK]
        last_lenders = (self._sources(link) for link in self._links() if link.loopback)
        usable = with_borrowed({link.ifindex: self._sources(link) for link in uplinks}, last_lenders)
        return [
            Device(link.ifindex, link.name, usable[link.ifindex], link.mtu, link.ifindex in self.xdp_targets)
            for link in uplinks
        ]

    def _links(self) -> list[Link]:
        return [link for _, link in sorted(self.links.items())]

    def _sources(self, link: Link) -> list[bytes]:
        own = (address for address in self.addresses.values() if address.key.ifindex == link.ifindex)
        ranked = sorted((address for address in own if address.is_source), key=lambda address: address.rank)
        return list(dict.fromkeys(address.key.local for address in ranked))
