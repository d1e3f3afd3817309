"""How a connection ends that was good for one question: by both sides, before the test goes on.

Whoever only closes leaves the server to close when it gets its turn: its FIN, and what answers that, would be counted,
and captured, as what the test does next.
"""

import socket

from ebpflb.bench.clients import TcpSession

PATIENCE_SECONDS = 30.0
"""However soon the question would have been given up: who was answered is to hear of the end, too."""
_REST = 65_536


def hang_up(session: TcpSession) -> None:
    """Say that nothing more comes, and hear the same. What breaks is over, too; of silence ``TimeoutError`` tells."""
    session.socket.settimeout(PATIENCE_SECONDS)
    try:
        session.socket.shutdown(socket.SHUT_WR)
        while session.socket.recv(_REST):
            pass
    except TimeoutError:
        raise
    except OSError:
        return
