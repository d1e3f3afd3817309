"""Network devices, and the roles that glob patterns of names give them. Pure: no socket.

Decides which devices the programs serve, and why they do not serve one that is named. Must not know what is attached
to a device, nor its addresses.

    Link, RolePatterns --role_of, obstacle_to, unmatched--> DeviceRole, warnings
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Final

BRIDGE_KINDS: Final = frozenset({"bridge", "openvswitch"})
"""What joins pods is no pod device: each packet would be seen twice."""
_AGGREGATE_KINDS: Final = frozenset({"bond", "team"})
"""What has taken devices in, and shows their packets as its own: there they are served, with its addresses."""


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
    master: int = 0
    """The interface index of that device; 0: none has."""
    mtu: int = 1500
    """In bytes, network header included."""
    xdp_program: int = 0
    """The kernel's id of the XDP program on it; 0: none, or several."""
    leads_elsewhere: bool = field(default=False, compare=False)
    """Its other end is in another network namespace, as a pod's is."""


_SERVED_HEADERS: Final = frozenset({LinkHeader.ETHERNET, LinkHeader.NONE})


class DeviceRole(StrEnum):
    """What the programs on a device serve."""

    UPLINK = "uplink"  # first: where patterns of both name a device, it wins
    POD = "pod"


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
        unfit = link.loopback or (role is DeviceRole.POD and link.kind in BRIDGE_KINDS)
        return not unfit and fnmatchcase(link.name, pattern)
