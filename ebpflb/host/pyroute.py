"""The names of pyroute2 that an agent needs, from where they are defined.

Decides that the package is loaded in parts, of which who imports them here needs not know. Must not add to them.

    lean_pyroute2.py --parts--> names --> whatever speaks netlink
"""

import ebpflb.host.lean_pyroute2  # noqa: F401 - before pyroute2

# isort: split
from pyroute2.netlink import nla, nlmsg
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.rtnl import (
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_DELQDISC,
    RTM_DELTFILTER,
    RTM_GETADDR,
    RTM_GETLINK,
    RTM_GETQDISC,
    RTM_GETTFILTER,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWQDISC,
    RTM_NEWTFILTER,
    RTM_SETLINK,
    RTMGRP_IPV4_IFADDR,
    RTMGRP_IPV6_IFADDR,
    RTMGRP_LINK,
)
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.iprsocket import IPRSocket
from pyroute2.netlink.rtnl.tcmsg import tcmsg

__all__ = [
    "RTMGRP_IPV4_IFADDR",
    "RTMGRP_IPV6_IFADDR",
    "RTMGRP_LINK",
    "RTM_DELADDR",
    "RTM_DELLINK",
    "RTM_DELQDISC",
    "RTM_DELTFILTER",
    "RTM_GETADDR",
    "RTM_GETLINK",
    "RTM_GETQDISC",
    "RTM_GETTFILTER",
    "RTM_NEWADDR",
    "RTM_NEWLINK",
    "RTM_NEWQDISC",
    "RTM_NEWTFILTER",
    "RTM_SETLINK",
    "IPRSocket",
    "NetlinkError",
    "ifaddrmsg",
    "ifinfmsg",
    "nla",
    "nlmsg",
    "tcmsg",
]
