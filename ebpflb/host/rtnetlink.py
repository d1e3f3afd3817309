"""One rtnetlink socket: requests, dumps, and the stream of events between their answers.

Decides how answers are told from events and when a dump is complete. Must not know what a link or a filter means to us.
pyroute2's ``IPRSocket`` packs and parses; unlike its ``IPRoute`` it runs no asyncio loop, so it can be polled and
used from any thread.

    netlink.py (events, dumps), tc.py (requests) -> Rtnetlink -> kernel
"""

import errno
import socket
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Final, Self

from ebpflb.host.pyroute import IPRSocket, NetlinkError

NLM_F_REQUEST: Final = 0x1
NLM_F_ACK: Final = 0x4
NLM_F_DUMP_INTR: Final = 0x10
NLM_F_DUMP: Final = 0x300
NLM_F_REPLACE: Final = 0x100
NLM_F_EXCL: Final = 0x200
NLM_F_CREATE: Final = 0x400

_NLMSG_ERROR: Final = 2
_NLMSG_DONE: Final = 3
_RECEIVE_BYTES: Final = 1 << 16

__all__ = ["DumpInterruptedError", "NetlinkError", "OverrunError", "Rtnetlink"]

Message = Any
"""A pyroute2 message: a dict of the fixed header, with ``get_attr`` for attributes."""


class OverrunError(Exception):
    """The kernel dropped events because the socket's buffer was full: what we know may be stale."""


class DumpInterruptedError(Exception):
    """The kernel's list changed during a dump: the dump may have missed an entry."""


class Rtnetlink:
    """An open socket in the calling thread's network namespace; for one thread at a time."""

    def __init__(self, groups: int = 0, parsers: dict[int, type[Any]] | None = None) -> None:
        self._socket = IPRSocket(ext_ack=True)
        self._socket.bind(groups=groups)
        self._socket.marshal.msg_map.update(parsers or {})
        self._sequence = 0

    def __enter__(self) -> Self:
        """Return the socket."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self._socket.close()

    def fileno(self) -> int:
        """Return the descriptor, to poll."""
        return int(self._socket.socket.fileno())

    def request(self, message: Message, kind: int, flags: int = 0) -> None:
        """Send a request and wait for its acknowledgement; raises pyroute2's ``NetlinkError``."""
        for _ in self._exchange(message, kind, flags | NLM_F_ACK):
            pass

    def get(self, message: Message, kind: int) -> list[Message]:
        """Return the answer to a request for one thing; raises ``NetlinkError`` when there is no such thing."""
        answers = self._exchange(message, kind, NLM_F_ACK)
        return [answer for answer in answers if answer["header"]["sequence_number"] == self._sequence]

    def dump(self, message: Message, kind: int) -> list[Message]:
        """Return all entries of a dump, without events; a dump that the kernel interrupted is repeated."""
        while True:
            try:
                answers = self._exchange(message, kind, NLM_F_DUMP)
                return [answer for answer in answers if answer["header"]["sequence_number"] == self._sequence]
            except DumpInterruptedError:
                continue

    def dump_and_events(self, message: Message, kind: int) -> Iterator[Message]:
        """Yield a dump's entries and the events that come between them, in the kernel's order."""
        return self._exchange(message, kind, NLM_F_DUMP)

    def pending(self) -> Iterator[Message]:
        """Yield what has arrived, without waiting."""
        while True:
            try:
                yield from self._receive(socket.MSG_DONTWAIT)
            except BlockingIOError:
                return

    def _exchange(self, message: Message, kind: int, flags: int) -> Iterator[Message]:
        self._sequence += 1
        self._socket.put(message, msg_type=kind, msg_flags=NLM_F_REQUEST | flags, msg_seq=self._sequence)
        interrupted = False
        while True:
            for answer in self._receive(0):
                header = answer["header"]
                if header["sequence_number"] != self._sequence:
                    yield answer
                    continue
                interrupted = interrupted or bool(header["flags"] & NLM_F_DUMP_INTR)
                if header["type"] == _NLMSG_ERROR and header["error"] is not None:
                    raise header["error"]
                if header["type"] in {_NLMSG_ERROR, _NLMSG_DONE}:
                    if interrupted:
                        raise DumpInterruptedError
                    return
                yield answer

    def _receive(self, flags: int) -> list[Message]:
        try:
            data = self._socket.socket.recv(_RECEIVE_BYTES, flags)
        except OSError as error:
            if error.errno == errno.ENOBUFS:
                raise OverrunError from error
            raise
        return list(self._socket.marshal.parse(data))
