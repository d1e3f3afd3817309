"""Forgets connections and neighbours of the network namespace that it is started in, so that modes start alike.

    python -m ebpflb.bench.rig_reset -> conntrack entries and neighbours gone

Conntrack by one netlink message: the tool for it is rarely installed. A kernel or namespace without it has none.
"""

import errno
import os
import socket
import struct
import subprocess
import sys
from typing import Final

_NETLINK_NETFILTER: Final = 12
_DELETE: Final = 1 << 8 | 2
"""NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_DELETE: without a tuple, all."""
_REQUEST_AND_ACK: Final = 1 | 4
_HEADER: Final = struct.Struct("=IHHII")
_FAMILY: Final = struct.pack("=BBH", socket.AF_UNSPEC, 0, 0)
_UNKNOWN: Final = {errno.EINVAL, errno.EOPNOTSUPP, errno.ENOENT, errno.EPROTONOSUPPORT}


def flush_conntrack() -> None:
    """Forget all connections. Raises ``OSError`` where the kernel has some and keeps them."""
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


def main() -> None:
    """Forget both."""
    try:
        flush_conntrack()
        subprocess.run(["ip", "neigh", "flush", "all"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"rig_reset: {error}")


if __name__ == "__main__":
    main()
