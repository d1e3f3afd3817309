"""How a connection ends that was good for one question: by both sides, before the test goes on.

Whoever only closes leaves the server to close when it gets its turn: its FIN, and what answers that, would be counted,
and captured, as what the test does next.
"""

import contextlib
import socket

from ebpflb.bench.clients import TcpSession

_REST = 65_536


def hang_up(session: TcpSession) -> None:
    """Say that nothing more comes, and hear the same. What breaks on the way is over, too."""
    sock = session._socket
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(_REST):
            pass
