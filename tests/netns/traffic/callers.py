"""The test's end of ``caller.py``: calls made at a place of the lab, as values.

Caller.ask(kind, target) -> [Outcome]            Caller.open(kind, target) -> Conversation.ask() -> Outcome
"""

import itertools
import json
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from ebpflb.bench.load import parse_target
from ebpflb.bench.topology import Place

KINDS = ("tcp", "udp", "udp-connected")
ANSWER_SECONDS = 30.0
"""For what will come, however long the machine has other things to do."""
COMMAND_SECONDS = 4 * ANSWER_SECONDS
"""One socket may wait for its connection, for the answer and for the end; none is asked after one that gave up."""
ASKED_AT_ONCE, MOST_ASKED = 20, 200
"""Of three backends, one is missed by so many asks once in 10^35 times."""
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


def backends(outcomes: Collection[Outcome]) -> set[str]:
    """Return who answered; nobody may have failed to."""
    failed = [outcome for outcome in outcomes if outcome.error]
    assert not failed, failed
    return {outcome.backend for outcome in outcomes}


class Caller:
    """A process at a place that opens sockets there for as long as the test wants."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._numbers = itertools.count(1)
        self._running = place.popen_module("tests.netns.traffic.caller", [])
        self._running.wait_for_line(lambda line: line == "ready", COMMAND_SECONDS)

    def ask(
        self,
        kind: str,
        target: str,
        count: int = 1,
        *,
        source: str = "",
        port: int = 0,
        timeout: float = ANSWER_SECONDS,
    ) -> list[Outcome]:
        """Ask ``count`` times, each on its own socket; a timeout is the last outcome."""
        done = self.command(do="ask", kind=kind, target=_target(target, source, port, timeout), count=count)
        return [Outcome(**answer) for answer in done["answers"]]

    def ask_each(self, kind: str, target: str, backends: Collection[str]) -> list[Outcome]:
        """Ask until each of these backends has answered, or so often that chance is no excuse; or something failed."""
        outcomes: list[Outcome] = []
        while len(outcomes) < MOST_ASKED and not set(backends) <= {outcome.backend for outcome in outcomes}:
            outcomes += self.ask(kind, target, count=ASKED_AT_ONCE)
            if any(outcome.error for outcome in outcomes):
                break
        return outcomes

    def open(
        self, kind: str, target: str, *, source: str = "", port: int = 0, timeout: float = ANSWER_SECONDS
    ) -> "Conversation":
        """Open a socket that stays open, in a ``with`` block; raises ``OSError`` when it cannot."""
        done = self.command(do="open", kind=kind, target=_target(target, source, port, timeout))
        if "error" in done:
            raise OSError(f"{self.place.name}: {kind} {target}: {done['error']}")
        return Conversation(self, done["handle"], timeout)

    def command(self, **command: Any) -> dict[str, Any]:
        """Have one command done."""
        number = next(self._numbers)
        self._running.tell(json.dumps({**command, "number": number}))
        line = self._running.wait_for_line(lambda line: line.startswith(f"{number} "), COMMAND_SECONDS)
        answer: dict[str, Any] = json.loads(line.partition(" ")[2])
        return answer


class Conversation:
    """One open socket at a caller's place."""

    def __init__(self, caller: Caller, handle: int, timeout: float) -> None:
        self._caller = caller
        self._timeout = timeout
        self._handle = handle
        self._is_open = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def ask(self, timeout: float = 0.0) -> Outcome:
        """Ask on this socket; unless told otherwise, wait for the answer as long as for the connection."""
        timeout = timeout or self._timeout
        return Outcome(**self._caller.command(do="ask-session", handle=self._handle, timeout=timeout))

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
            conversation = stack.enter_context(caller.open(kind, dialled))
            if conversation.ask().backend == backend:
                yield conversation
                return
        raise AssertionError(f"{caller.place.name} never got {backend}")


def _target(target: str, source: str, port: int, timeout: float) -> list[Any]:
    return [*parse_target(target), timeout, source, port]
