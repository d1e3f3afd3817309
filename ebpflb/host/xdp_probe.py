"""The part of ``ebpflb doctor`` about XDP: could the named uplinks have it in native mode?

Decides by trying, for a moment: no table of drivers knows MTU, queues and firmware. Leaves nothing behind. Must not
know what the agent was told to do with XDP.

    patterns, links -> try_native -> list[Finding]
"""

from collections.abc import Iterator, Sequence

from ebpflb.errors import EbpflbError
from ebpflb.host.finding import Finding, Level
from ebpflb.host.link_messages import parse_link
from ebpflb.host.links import Link, LinkHeader, RolePatterns
from ebpflb.host.netdev import can_transmit
from ebpflb.host.pyroute import RTM_GETLINK, ifinfmsg
from ebpflb.host.rtnetlink import Rtnetlink
from ebpflb.host.xdp import XdpRefusedError, has_unfinished_checksums, try_native


def probe_xdp(uplink_patterns: Sequence[str]) -> list[Finding]:
    """Try native XDP on each uplink of the calling thread's network namespace. None of them is ill without it."""
    patterns = RolePatterns(uplinks=uplink_patterns)
    return [check_device(link) for link in _links() if patterns.role_of(link) is not None]


def check_device(device: Link) -> Finding:
    """Say what XDP can do for one device."""
    name = f"xdp {device.name}"
    if device.header is not LinkHeader.ETHERNET:
        return Finding(name, Level.OK, "not possible: no Ethernet header; tc serves it")
    try:
        found = try_native(device)
    except XdpRefusedError as error:
        return Finding(name, Level.OK, f"not possible: {error}; tc serves it")
    except (EbpflbError, OSError) as error:
        return Finding(name, Level.WARNING, f"not tried: {error}", "run doctor as root")
    if found:
        return Finding(name, Level.OK, f"not tried: {found}")
    return Finding(name, Level.OK, f"native mode works{_limits(device)}")


def _limits(device: Link) -> str:
    if not has_unfinished_checksums(device):  # a card may take frames only while it has a program: nothing is known yet
        return ""
    limits = f"; only used with --acceleration native: a {device.kind} may carry unfinished checksums"
    return limits if can_transmit(device) else f"{limits}; as it is, XDP could not send frames out of it"


def _links() -> Iterator[Link]:
    with Rtnetlink() as netlink:
        for message in netlink.dump(ifinfmsg(), RTM_GETLINK):
            link = parse_link(message)
            if link is not None:
                yield link
