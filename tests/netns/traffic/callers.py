"""The test's end of ``caller.py``: calls made at a place of the lab, as values.

Caller.ask(kind, target) -> [Outcome]            Caller.open(kind, target) -> Conversation.ask() -> Outcome
"""

import itertools
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from ebpflb.bench.load import parse_target
from ebpflb.bench.topology import Place

KINDS = ("tcp", "udp", "udp-connected")
COMMAND_SECONDS = 60.0
CLOSED = {"ECONNABORTED", "EDESTADDRREQ"}
"""What recv() says on a UDP socket that was destroyed, and send(): the kernel also disconnects it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one request met: an answer, or an error."""

    backend: str = ""
    client: str = ""
    """address:port of the caller as the server saw it."""
    peer: str = ""
    """What getpeername() or recvfrom() named."""
    error: str = ""
    """An errno's name, ``timeout`` or ``closed``; empty: it was answered."""
    seconds: float = 0.0

    @property
    def seen_as(self) -> str:
        """The caller's address without port, as the server saw it."""
        return self.client.rpartition(":")[0].strip("[]")


class Caller:
    """A process at a place that opens sockets there for as long as the test wants."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._numbers = itertools.count(1)
        self._running = place.popen_module("tests.netns.traffic.caller", [])
        self._running.wait_for_line(lambda line: line == "ready")

    def ask(
        self, kind: str, target: str, count: int = 1, *, source: str = "", port: int = 0, timeout: float = 3.0
    ) -> list[Outcome]:
        """Ask ``count`` times, each on its own socket."""
        done = self.command(do="ask", kind=kind, target=_target(target, source, port, timeout), count=count)
        return [Outcome(**answer) for answer in done["answers"]]

    def open(self, kind: str, target: str, *, source: str = "", port: int = 0, timeout: float = 3.0) -> "Conversation":
        """Open a socket that stays open, in a ``with`` block; raises ``OSError`` when it cannot."""
        done = self.command(do="open", kind=kind, target=_target(target, source, port, timeout))
        if "error" in done:
            raise OSError(f"{self.place.name}: {kind} {target}: {done['error']}")
        return Conversation(self, done["handle"])

    def command(self, **command: Any) -> dict[str, Any]:
        """Have one command done."""
        number = next(self._numbers)
        self._running.tell(json.dumps({**command, "number": number}))
        line = self._running.wait_for_line(lambda line: line.startswith(f"{number} "), COMMAND_SECONDS)
        answer: dict[str, Any] = json.loads(line.partition(" ")[2])
        return answer


class Conversation:
    """One open socket at a caller's place."""

    def __init__(self, caller: Caller, handle: int) -> None:
        self._caller = caller
        self._handle = handle
        self._is_open = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def ask(self) -> Outcome:
        """Ask on this socket."""
        return Outcome(**self._caller.command(do="ask-session", handle=self._handle))

    def close(self, *, reset: bool = False) -> None:
        """Close the socket, if it is not; with ``reset`` by RST."""
        if self._is_open:
            self._is_open = False
            self._caller.command(do="close", handle=self._handle, reset=reset)


@contextmanager
def conversation_with(caller: Caller, kind: str, dialled: str, backend: str) -> Iterator[Conversation]:
    """Open sockets until one talks to this backend."""
    with ExitStack() as stack:
        for _ in range(100):
            conversation = stack.enter_context(caller.open(kind, dialled, timeout=3.0))
            if conversation.ask().backend == backend:
                yield conversation
                return
        raise AssertionError(f"{caller.place.name} never got {backend}")


def _target(target: str, source: str, port: int, timeout: float) -> list[Any]:
    return [*parse_target(target), timeout, source, port]
