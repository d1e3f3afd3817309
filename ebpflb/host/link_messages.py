"""How rtnetlink's messages of links and addresses are read. Pure: no socket.

Decides which flags make an address usable or second rate. Must not know what follows from it.

    Message -> parse_link, parse_address -> Link, Address -> netlink.py
"""

from ipaddress import ip_address
from typing import Final

from ebpflb.host.inventory import Address, AddressKey
from ebpflb.host.links import Link, LinkHeader
from ebpflb.host.rtnetlink import Message
from ebpflb.host.xdp_messages import parse_state

_AF_UNSPEC: Final = 0
_IFF_LOOPBACK: Final = 0x8
_ETHERNET_TYPES: Final = frozenset({1, 772})
"""ARPHRD_ETHER, ARPHRD_LOOPBACK."""
_BARE_TYPES: Final = frozenset({512, 519, 768, 769, 776, 778, 823, 0xFFFE})
"""ARPHRD_PPP, RAWIP, TUNNEL, TUNNEL6, SIT, IPGRE, IP6GRE, NONE: those of which the kernel, too, says that what is
sent to them has no link header (``dev_is_mac_header_xmit``)."""
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
        header=_header_of(message["ifi_type"]),
        port_of=(details.get_attr("IFLA_INFO_SLAVE_KIND") if details is not None else None) or "",
        master=message.get_attr("IFLA_MASTER") or 0,
        mtu=message.get_attr("IFLA_MTU"),
        xdp_program=parse_state(message).program_id,
        leads_elsewhere=message.get_attr("IFLA_LINK_NETNSID") is not None,
    )


def _header_of(link_type: int) -> LinkHeader:
    if link_type in _ETHERNET_TYPES:
        return LinkHeader.ETHERNET
    return LinkHeader.NONE if link_type in _BARE_TYPES else LinkHeader.OTHER


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
