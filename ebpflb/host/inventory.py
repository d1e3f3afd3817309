"""Which links and addresses this machine has, kept from netlink's facts one at a time. Pure: no socket, no clock.

Decides what counts as an address of the host, which devices have which role, which addresses stand in for a client's
when a packet leaves by a device, and what about the devices deserves a warning. Must not know how the facts arrive nor
what is attached.

    Link, Address (from netlink.py) -> Inventory -> Host (core.model), the role of each device, warnings
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address

from ebpflb.core.abi import Family
from ebpflb.core.model import Device, Host
from ebpflb.host.links import DeviceRole, Link, RolePatterns
from ebpflb.host.pod_devices import devices_of_pods
from ebpflb.host.snat_source import of_family, with_borrowed


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
    direct_pods: Collection[int] = ()
    """Interface indexes of the devices whose pods can be handed a packet directly."""
    unserved: Collection[int] = ()
    """Interface indexes of the devices that did not take their programs."""

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
            devices=(*self._uplinks(), *self._pod_devices()),
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
        sources = self._sources()
        uplinks = [link for link in self._links() if self.patterns.role_of(link) is DeviceRole.UPLINK]
        last_lenders = [sources.get(link.ifindex, ()) for link in self._links() if link.loopback]
        usable = with_borrowed({link.ifindex: sources.get(link.ifindex, ()) for link in uplinks}, last_lenders)
        return [self._device(link, usable[link.ifindex], serves_pods=False) for link in uplinks]

    def _pod_devices(self) -> Iterator[Device]:
        """Yield the devices by which pods are reached. They borrow no addresses: most have none, and need none."""
        sources = self._sources()
        for link in devices_of_pods(self.links, self.roles(), self.unserved):
            yield self._device(link, sources.get(link.ifindex, ()), serves_pods=True)

    def _device(self, link: Link, addresses: Iterable[bytes], *, serves_pods: bool) -> Device:
        master = self.links.get(link.master)
        return Device(
            link.ifindex,
            link.name,
            tuple(addresses),
            link.mtu,
            supports_xdp=link.ifindex in self.xdp_targets,
            serves_pods=serves_pods,
            is_direct=link.ifindex in self.direct_pods,
            master=master.name if master is not None else "",
        )

    def _links(self) -> list[Link]:
        return [link for _, link in sorted(self.links.items())]

    def _sources(self) -> dict[int, list[bytes]]:
        """Return what each device's connections may come from, best first, by interface index."""
        found: dict[int, list[bytes]] = {}
        usable = (address for address in self.addresses.values() if address.is_source)
        for address in sorted(usable, key=lambda address: address.rank):
            own = found.setdefault(address.key.ifindex, [])
            if address.key.local not in own:
                own.append(address.key.local)
        return found
