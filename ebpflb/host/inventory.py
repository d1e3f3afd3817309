"""Which links and addresses this machine has, kept from netlink's facts one at a time. Pure: no socket, no clock.

Decides what counts as an address of the host, which devices have which role, and in which order a device's addresses
stand. Must not know how the facts arrive nor what is attached to a device.

    Link, Address (from netlink.py) -> Inventory -> Host (core.model), and the role of each device
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from ipaddress import ip_address
from typing import Final

from ebpflb.core.model import Device, Host

_BRIDGE_KINDS: Final = frozenset({"bridge", "openvswitch"})
"""What joins pods is no pod device: each packet would be seen twice."""


class DeviceRole(StrEnum):
    """What the programs on a device serve."""

    UPLINK = "uplink"
    POD = "pod"


@dataclass(frozen=True, slots=True)
class Link:
    """A network device."""

    ifindex: int
    name: str
    kind: str = ""
    """``veth``, ``bridge``, ``vxlan``...; empty for hardware."""
    loopback: bool = False


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
    usable: bool = True
    """False while IPv6 duplicate address detection runs, and after it failed."""
    secondary: bool = False
    """IPv4: not the first of its subnet. IPv6: a temporary privacy address."""
    deprecated: bool = False
    created: int = 0
    """In hundredths of a second since boot: the order in which a dump and a stream of events agree."""

    @property
    def rank(self) -> tuple[bool, bool, int]:
        """Return what the best source address has least of."""
        return (self.deprecated, self.secondary, self.created)


@dataclass(frozen=True, slots=True)
class RolePatterns:
    """Glob patterns of device names, for each role."""

    uplinks: Sequence[str] = ()
    pods: Sequence[str] = ()

    def role_of(self, link: Link) -> DeviceRole | None:
        """Return a device's role. Uplink wins; loopback has none; a bridge is never a pod device."""
        if link.loopback:
            return None
        if any(fnmatchcase(link.name, pattern) for pattern in self.uplinks):
            return DeviceRole.UPLINK
        if link.kind not in _BRIDGE_KINDS and any(fnmatchcase(link.name, pattern) for pattern in self.pods):
            return DeviceRole.POD
        return None


@dataclass(slots=True)
class Inventory:
    """The current links and addresses. Facts must be put in the order in which the kernel sent them."""

    patterns: RolePatterns
    links: dict[int, Link] = field(default_factory=dict)
    addresses: dict[AddressKey, Address] = field(default_factory=dict)

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
            devices=tuple(self._uplinks(usable)),
        )

    def _uplinks(self, usable: Sequence[Address]) -> Iterator[Device]:
        ranked = sorted((address for address in usable if address.is_global), key=lambda address: address.rank)
        for ifindex, link in sorted(self.links.items()):
            if self.patterns.role_of(link) is DeviceRole.UPLINK:
                own = dict.fromkeys(address.key.local for address in ranked if address.key.ifindex == ifindex)
                yield Device(ifindex, link.name, tuple(own))
