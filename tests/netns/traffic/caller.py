"""A client that stays at its place and does what it is told: a test's sockets, in another namespace and cgroup.

    python -m tests.netns.traffic.caller    {"do": "open", "kind": "udp", "target": [...]} -> {"handle": 3}

One JSON command a line on stdin, one JSON answer a line on stdout. An ``OSError`` is an answer too: its errno's name.
The other end is ``callers.py``. Starting a process for each call would take longer than all calls together.
"""

import json
import socket
import struct
import sys
import time
from collections.abc import Callable
from typing import Any

from ebpflb.bench.clients import Target, TcpSession, UdpSession
from ebpflb.bench.report import ClosedError, failure_reason
from ebpflb.bench.servers import die_with_parent
from tests.netns.traffic.endings import hang_up

Session = TcpSession | UdpSession
Answer = dict[str, Any]

TIMEOUT = "timeout"
"""What ``failure_reason`` calls it."""

_sessions: dict[int, Session] = {}


def connect(kind: str, target: Target) -> Session:
    """Open a session; ``udp`` is an unconnected socket."""
    if kind == "tcp":
        return TcpSession(target)
    return UdpSession(target, connected=kind == "udp-connected")


def answered(session: Session) -> Answer:
    """Ask once."""
    exchange = session.ask()
    return {"backend": exchange.backend, "client": exchange.client, "peer": exchange.peer}


def ask_fresh(kind: str, target: list[Any], count: int) -> Answer:
    """Ask ``count`` times, each on its own socket, but never again after a timeout: whoever waits would give up."""
    answers: list[Answer] = []
    for _ in range(count):
        answers.append(attempt(lambda: _ask_once(kind, Target(*target))))
        if answers[-1].get("error") == TIMEOUT:
            break
    return {"answers": answers}


def _ask_once(kind: str, target: Target) -> Answer:
    with connect(kind, target) as session:
        answer = answered(session)
        if isinstance(session, TcpSession):
            hang_up(session)
        return answer


def open_session(kind: str, target: list[Any]) -> Answer:
    """Open a session that stays open."""
    session = connect(kind, Target(*target))
    handle = session.socket.fileno()
    _sessions[handle] = session
    return {"handle": handle}


def ask_session(handle: int, timeout: float) -> Answer:
    """Ask on an open session."""
    session = _sessions[handle]
    session.socket.settimeout(timeout)
    return answered(session)


def close_session(handle: int, *, reset: bool) -> Answer:
    """Close a session, with RST instead of FIN if asked."""
    with _sessions.pop(handle) as session:
        if reset:
            session.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return {}


COMMANDS: dict[str, Callable[..., Answer]] = {
    "ask": ask_fresh,
    "open": open_session,
    "ask-session": ask_session,
    "close": close_session,
}


def attempt(command: Callable[[], Answer]) -> Answer:
    """Run a command; return what it answers or how it failed, and how long it took."""
    begun = time.monotonic()
    try:
        answer = command()
    except OSError as error:
        answer = {"error": "closed" if isinstance(error, ClosedError) else failure_reason(error)}
    return {**answer, "seconds": time.monotonic() - begun}


def main() -> None:
    """Serve until stdin ends."""
    die_with_parent()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        request: dict[str, Any] = json.loads(line)
        command = COMMANDS[request.pop("do")]
        number = request.pop("number")
        answer = attempt(lambda run=command, arguments=request: run(**arguments))  # type: ignore[misc]
        sys.stdout.write(f"{number} {json.dumps(answer)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
