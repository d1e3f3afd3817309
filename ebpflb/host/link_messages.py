"""How rtnetlink's messages of links and addresses are read. Pure: no socket.

Decides which flags make an address usable or second rate. Must not know what follows from it.

    Message -> parse_link, parse_address -> Link, Address -> netlink.py
"""

from ipaddress import ip_address
from typing import Final

from ebpflb.host.inventory import Address, AddressKey, Link
from ebpflb.host.rtnetlink import Message

_AF_UNSPEC: Final = 0
_IFF_LOOPBACK: Final = 0x8
_ARPHRD_ETHER: Final = 1
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
        ethernet=message["ifi_type"] == _ARPHRD_ETHER,
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
