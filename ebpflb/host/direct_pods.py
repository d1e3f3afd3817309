"""Says to which pods a packet can be handed directly, where they receive it, past the host's side of their veth.

Decides who would be passed by: a queue that shapes a pod's traffic, another's program or filter on its device's egress,
and of what tc hands over also the pod's own XDP program. Where there is one, packets take the way through the device.
Must not know who hands packets over.

    device --access_to--> Access: of tc, of XDP
"""

import errno
import struct
from dataclasses import dataclass
from typing import Final

from ebpflb.host import syscalls
from ebpflb.host.links import Link
from ebpflb.host.netdev import NetdevFeatures, XdpFeature
from ebpflb.host.pyroute import RTM_GETLINK, RTM_NEWTFILTER, ifinfmsg
from ebpflb.host.rtnetlink import Message, NetlinkError, Rtnetlink
from ebpflb.host.tc import filters_at
from ebpflb.host.tc_messages import FilterMessage, TcHook, parse_filter
from ebpflb.host.xdp_messages import peer_runs_xdp

_NO_QUEUES: Final = frozenset({"noqueue", "noop"})
"""What a veth has when nobody gave it a queue: up, and down."""
_PROG_QUERY: Final = 16  # enum bpf_cmd
_TCX_EGRESS: Final = 47  # enum bpf_attach_type
_QUERY: Final = struct.Struct("=IIIIQII")
"""Interface index, attach type, flags of the query, flags found, programs' ids, their count, padding."""
_COUNT: Final = 5
_UNKNOWN: Final = frozenset({errno.EINVAL, errno.ENODEV})
"""The kernel has no tcx (before 6.6); the device is gone."""


@dataclass(frozen=True, slots=True)
class Access:
    """How a pod may be reached past the host's side of its veth."""

    by_tc: bool = False
    """Packets can be handed over where the pod's end receives them."""
    by_xdp: bool = False
    """XDP may send frames: the pod's end polls. Kernels before 6.3 do not tell."""


def access_to(device: Link, instance: str) -> Access:
    """Return how the pod at a device's other end may be reached. Raises ``OSError`` when the kernel refuses to say.

    Not at all, when anybody but this instance is between the device and the pod, or the device has vanished.
    """
    if not _is_clear(device, instance):
        return Access()
    with NetdevFeatures() as features:
        known = features.read(device.ifindex)
    polls = known is not None and XdpFeature.TRANSMIT in known
    return Access(by_tc=not peer_runs_xdp(device.ifindex), by_xdp=polls)


def _is_clear(device: Link, instance: str) -> bool:
    try:
        with Rtnetlink(parsers={RTM_NEWTFILTER: FilterMessage}) as netlink:
            request = ifinfmsg()
            request["index"] = device.ifindex
            (link,) = netlink.get(request, RTM_GETLINK)
            return _is_cable(link) and not _has_others(netlink, device, instance) and not _has_tcx(device.ifindex)
    except NetlinkError as error:
        if error.code == errno.ENODEV:
            return False
        raise OSError(error.code, f"device {device.name}: what is on it cannot be read ({error.args[-1]})") from error


def _is_cable(link: Message) -> bool:
    """Say whether a link is a veth without a queue whose other end is in another namespace."""
    details = link.get_attr("IFLA_LINKINFO")
    kind = details.get_attr("IFLA_INFO_KIND") if details is not None else ""
    is_elsewhere = link.get_attr("IFLA_LINK_NETNSID") is not None
    return kind == "veth" and is_elsewhere and link.get_attr("IFLA_QDISC") in _NO_QUEUES


def _has_others(netlink: Rtnetlink, device: Link, instance: str) -> bool:
    """Say whether somebody else has a filter at the egress hook; what has no handle is the head of a priority."""
    for message in filters_at(netlink, device, TcHook.EGRESS):
        found = parse_filter(message, device, TcHook.EGRESS)
        if message["handle"] and (found is None or found.instance != instance):
            return True
    return False


def _has_tcx(ifindex: int) -> bool:
    try:
        _, answer = syscalls.bpf(_PROG_QUERY, _QUERY.pack(ifindex, _TCX_EGRESS, 0, 0, 0, 0, 0))
    except OSError as error:
        if error.errno in _UNKNOWN:
            return False
        raise
    return bool(_QUERY.unpack_from(answer)[_COUNT])
