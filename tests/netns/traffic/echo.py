"""A server that sends every datagram back as it is, over both families, however long.

python -m tests.netns.traffic.echo PORT      -> "ready" when it listens
"""

import contextlib
import os
import selectors
import socket
import sys

from ebpflb.bench.servers import die_with_parent

LONGEST = 65_536
RECEIVE_BUFFER = 1 << 22
"""A datagram of 65,000 bytes arrives as 45 fragments, each of which takes the room of a page."""


def listen(family: socket.AddressFamily, port: int) -> socket.socket:
    """Return a socket of one family on every address."""
    server = socket.socket(family, socket.SOCK_DGRAM)
    if family == socket.AF_INET6:
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    server.bind(("", port))
    return server


def main() -> None:
    """Echo for ever; an ICMP error reported on the socket concerns an earlier answer.

    On one CPU: from two, the fragments of an answer may overtake each other.
    """
    die_with_parent()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with selectors.DefaultSelector() as selector:
        for family in (socket.AF_INET, socket.AF_INET6):
            selector.register(listen(family, int(sys.argv[1])), selectors.EVENT_READ)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while True:
            for key, _ in selector.select():
                server = key.fileobj
                assert isinstance(server, socket.socket)
                with contextlib.suppress(OSError):
                    data, client = server.recvfrom(LONGEST)
                    server.sendto(data, client)


if __name__ == "__main__":
    main()
