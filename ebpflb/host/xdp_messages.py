"""The rtnetlink messages about a device's XDP program: what is on it, and why the kernel refuses another.

Decides how they are packed and read. Must not know whose a program is.

    xdp.py, netdev.py -> read_state, ask_why, peer_runs_xdp -> rtnetlink        link_messages.py -> parse_state
"""

from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from ebpflb.host.pyroute import RTM_GETLINK, RTM_SETLINK, ifinfmsg
from ebpflb.host.rtnetlink import Message, NetlinkError, Rtnetlink

_NO_PROGRAM: Final = -1
_UPDATE_IF_NOEXIST: Final = 1  # XDP_FLAGS_*
_REPLACE: Final = 16


class XdpMode(StrEnum):
    """Where in the receive path an XDP program runs."""

    NATIVE = "native"
    """In the driver, before there is an skb."""
    GENERIC = "generic"
    """In the stack, on an skb: works everywhere, saves little."""


MODE_FLAGS: Final = {XdpMode.NATIVE: 4, XdpMode.GENERIC: 2}
"""XDP_FLAGS_DRV_MODE and XDP_FLAGS_SKB_MODE."""
_MODES: Final = {"xdp": XdpMode.NATIVE, "xdpgeneric": XdpMode.GENERIC}
_PROGRAM_IDS: Final = (
    "IFLA_XDP_PROG_ID",
    "IFLA_XDP_DRV_PROG_ID",
    "IFLA_XDP_SKB_PROG_ID",
    "IFLA_XDP_HW_PROG_ID",
)
"""The first is missing where programs run in several modes at once."""


@dataclass(frozen=True, slots=True)
class XdpState:
    """What is on a device."""

    program_id: int = 0
    """0: nothing."""
    mode: XdpMode | None = None
    """``None`` with a program: it runs on the card, or several run at once; ours never do."""


def parse_state(message: Message) -> XdpState:
    """Return the XDP state in a message of a link."""
    xdp = message.get_attr("IFLA_XDP")
    if xdp is None:
        return XdpState()
    program_id = next((number for name in _PROGRAM_IDS if (number := xdp.get_attr(name))), 0)
    return XdpState(program_id, _MODES.get(xdp.get_attr("IFLA_XDP_ATTACHED"))) if program_id else XdpState()


def read_state(netlink: Rtnetlink, ifindex: int) -> XdpState:
    """Ask for a device's state; raises ``NetlinkError`` when there is no such device."""
    request = ifinfmsg()
    request["index"] = ifindex
    (answer,) = netlink.get(request, RTM_GETLINK)
    return parse_state(answer)


def peer_runs_xdp(ifindex: int) -> bool:
    """Say whether the other end of a veth has a native program; no, where that end is out of sight."""
    request = ifinfmsg()
    request["index"] = ifindex
    try:
        with Rtnetlink() as netlink:
            (link,) = netlink.get(request, RTM_GETLINK)
            namespace = link.get_attr("IFLA_LINK_NETNSID")
            question = ifinfmsg()
            question["index"] = link.get_attr("IFLA_LINK")
            if namespace is not None:
                question["attrs"] = [["IFLA_IF_NETNSID", namespace]]
            (peer,) = netlink.get(question, RTM_GETLINK)
    except NetlinkError:  # gone, or in a namespace that we may not look into
        return False
    return parse_state(peer).mode is XdpMode.NATIVE


def ask_why(netlink: Rtnetlink, ifindex: int, program: int, mode: XdpMode) -> str:
    """Return the kernel's words when it refuses a program, which bpf(2) does not pass on; empty: it has none.

    The same request once more, through netlink, where a refusal carries a text. If it is granted this time, what was
    attached is taken off again: the caller wants a link, and tries that another time.
    """
    try:
        netlink.request(_set_program(ifindex, program, MODE_FLAGS[mode] | _UPDATE_IF_NOEXIST), RTM_SETLINK)
    except NetlinkError as error:
        return str(error.args[-1])
    with suppress(NetlinkError):
        netlink.request(_set_program(ifindex, _NO_PROGRAM, MODE_FLAGS[mode] | _REPLACE, program), RTM_SETLINK)
    return ""


def _set_program(ifindex: int, program: int, flags: int, expected: int | None = None) -> Message:
    attributes = [["IFLA_XDP_FD", program], ["IFLA_XDP_FLAGS", flags]]
    if expected is not None:
        attributes.append(["IFLA_XDP_EXPECTED_FD", expected])
    message = ifinfmsg()
    message["index"] = ifindex
    message["attrs"] = [["IFLA_XDP", {"attrs": attributes}]]
    return message
