"""Forgets connections and neighbours of network namespaces, so that modes start alike.

    names of namespaces --forget--> conntrack entries and neighbours gone

Conntrack by one netlink message: the tool for it is rarely installed. A kernel or namespace without it has none. A
thread that ends goes from namespace to namespace: to start a process in each takes longer than what it does there.
"""

import errno
import os
import socket
import struct
from collections.abc import Iterable
from typing import Final

from ebpflb.bench.namespaces import inside, namespace_path, run_ip

_NETLINK_NETFILTER: Final = 12
_DELETE: Final = 1 << 8 | 2
"""NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_DELETE: without a tuple, all."""
_REQUEST_AND_ACK: Final = 1 | 4
_HEADER: Final = struct.Struct("=IHHII")
_FAMILY: Final = struct.pack("=BBH", socket.AF_UNSPEC, 0, 0)
_UNKNOWN: Final = {errno.EINVAL, errno.EOPNOTSUPP, errno.ENOENT, errno.EPROTONOSUPPORT}


def forget(namespaces: Iterable[str]) -> None:
    """Forget both in each namespace. Raises ``OSError`` or ``EbpflbError`` where the kernel has some and keeps them."""
    for namespace in namespaces:
        inside(namespace_path(namespace), _flush_conntrack)
        run_ip(["neigh flush all"], namespace)


def _flush_conntrack() -> None:
    try:
        netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
    except OSError as error:
        if error.errno in _UNKNOWN:
            return
        raise
    with netlink:
        netlink.send(_HEADER.pack(_HEADER.size + len(_FAMILY), _DELETE, _REQUEST_AND_ACK, 1, 0) + _FAMILY)
        code = -int(struct.unpack_from("=i", netlink.recv(4096), _HEADER.size)[0])
    if code and code not in _UNKNOWN:
        raise OSError(code, f"conntrack: {os.strerror(code)}")
