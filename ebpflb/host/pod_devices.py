"""Decides by which devices packets reach pods whose answers meet our programs: there they may be masqueraded. Pure.

Knows links, roles and who did not take the programs; knows nothing of addresses. A packet that was masqueraded towards
a pod is lost if the answer comes in where no program restores it, while one that was not takes the way that it always
had. So a bridge counts only while none of its ports leads to a pod that is out of our sight.

    links, roles, unserved --devices_of_pods--> links that ``Host.devices`` lists with ``serves_pods``
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Final

from ebpflb.host.links import BRIDGE_KINDS, DeviceRole, Link

_OPEN_VSWITCH: Final = "openvswitch"
_CABLE_KINDS: Final = frozenset({"veth", "tun"})
"""What leads to pods and virtual machines: as a port without our programs, it hides some."""


def devices_of_pods(
    links: Mapping[int, Link], roles: Mapping[int, DeviceRole], unserved: Collection[int]
) -> Iterator[Link]:
    """Yield pods' devices and the bridges of such, by interface index. A bridge that is an uplink stays one."""
    for ifindex, link in sorted(links.items()):
        if ifindex not in roles:
            is_theirs = link.kind in BRIDGE_KINDS and _serves_pods(_ports(link, links), roles, unserved)
        else:
            is_theirs = roles[ifindex] is DeviceRole.POD and ifindex not in unserved
        if is_theirs:
            yield link


def _ports(bridge: Link, links: Mapping[int, Link]) -> list[Link]:
    """Return what a bridge has taken in. Open vSwitch names one device as the master of the ports of all bridges."""
    if bridge.kind == _OPEN_VSWITCH:
        return [link for link in links.values() if link.port_of == _OPEN_VSWITCH]
    return [link for link in links.values() if link.master == bridge.ifindex]


def _serves_pods(ports: Collection[Link], roles: Mapping[int, DeviceRole], unserved: Collection[int]) -> bool:
    has_hidden = any(
        port.ifindex in unserved or (port.ifindex not in roles and port.kind in _CABLE_KINDS) for port in ports
    )
    return not has_hidden and any(roles.get(port.ifindex) is DeviceRole.POD for port in ports)
