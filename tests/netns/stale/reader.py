"""Opens one socket, asks who answers, and then only waits: as a client that expects an answer for minutes.

    python -m tests.netns.stale.reader tcp|udp HOST PORT [NETNS]  ->  asked BACKEND
                                                                      ended ERRNO SECONDS (CLOCK_MONOTONIC)

The socket is made in the namespace NETNS, by path; this process does not stay there.
"""

import errno
import socket
import sys
import time
from contextlib import nullcontext
from pathlib import Path

from ebpflb.bench.clients import Target, TcpSession, UdpSession
from ebpflb.bench.servers import die_with_parent
from tests.netns.host_helpers import inside

MOST_SECONDS = 30.0
"""For one exchange; the wait has no limit of its own."""


def open_session(kind: str, host: str, port: int, netns: Path | None) -> TcpSession | UdpSession:
    """Return a session with its socket in a namespace."""
    target = Target(host, port, MOST_SECONDS)
    with nullcontext() if netns is None else inside(netns):
        return TcpSession(target) if kind == "tcp" else UdpSession(target, connected=True)


def wait_for_the_end(sock: socket.socket) -> str:
    """Block in recv() until it ends; return how."""
    sock.settimeout(None)
    try:
        data = sock.recv(1)
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, "unknown")
    return "data" if data else "closed"


def say(line: str) -> None:
    """Write a line that is read at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    """Ask, say who answered, wait, say how that ended."""
    die_with_parent()
    kind, host, port, *rest = sys.argv[1:]
    with open_session(kind, host, int(port), Path(rest[0]) if rest else None) as session:
        say(f"asked {session.ask().backend}")
        ending = wait_for_the_end(session.socket)
        say(f"ended {ending} {time.monotonic()}")


if __name__ == "__main__":
    main()
