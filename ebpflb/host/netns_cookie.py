"""The kernel's number for this network namespace, as the socket programs see it (``bpf_get_netns_cookie``).

a throw-away socket -> getsockopt(SO_NETNS_COOKIE) -> int
"""

import socket
import struct
from typing import Final

_SO_NETNS_COOKIE: Final = 71
"""Linux 5.14; the socket module of Python 3.11 has no name for it."""


def netns_cookie() -> int | None:
    """Return the cookie of the calling thread's network namespace, ``None`` on kernels before 5.14."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            raw = probe.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8)
        except OSError:
            return None
    (cookie,) = struct.unpack("=Q", raw)
    return int(cookie)
