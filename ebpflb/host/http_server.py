"""A small HTTP server for probes and scrapers: many ports, one thread that waits, few that answer.

Decides how a request is read, and bounds its size, its time and how many there are at once. Must not know what is
answered: a handler per listener says that.

    socket --listen--> HttpServer --Request--> handler --Response--> socket

Every connection carries one request: probes come every few seconds, and a port that closes must close at once.
"""

import asyncio
import errno
import logging
import socket
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from types import TracebackType
from typing import Any, Final, Self

from ebpflb.host.http_messages import HEAD, RefusedError, Request, Response, parse_head, render

log = logging.getLogger(__name__)

MOST_REQUEST_BYTES: Final = 8192
"""Request line and headers together."""
MOST_SECONDS: Final = 5.0
"""From accept() to the last byte of the request; as long again for the answer."""
MOST_CONNECTIONS: Final = 256
"""At once, of all listeners of a server together. For one more, the client that has kept us waiting longest is cut off:
whoever holds connections open must not keep a probe out.
"""
_LINGER_SECONDS: Final = 1.0
"""For a client to close; otherwise what it sent on could cost it our answer (RFC 9112, 9.6)."""
_PAUSE_SECONDS: Final = 1.0
_NO_ROOM: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_WORKERS: Final = 4
_BACKLOG: Final = 256

Handler = Callable[[Request], Response]
"""Called in one of the server's threads."""


class Listener:
    """One listening socket of a server.

    It accepts by itself, in one step: asyncio's own way can be cut between accept() and whoever was to have the client.
    """

    def __init__(self, server: "HttpServer", bound: socket.socket, handler: Handler) -> None:
        self._server = server
        self._bound = bound
        self._handler = handler
        self.address: tuple[str, int] = bound.getsockname()[:2]

    def close(self) -> None:
        """Close the port at once; answers under way are finished."""
        self._server.forget(self)

    async def start(self) -> None:
        """Begin to accept. To be called in the server's thread, as ``stop`` is."""
        asyncio.get_running_loop().add_reader(self._bound, self._accept)

    async def stop(self) -> None:
        """Accept no more."""
        asyncio.get_running_loop().remove_reader(self._bound)
        self._bound.close()

    def _accept(self) -> None:
        try:
            connection, _ = self._bound.accept()
        except OSError as error:  # the client has left again, or there is no room for it: then it waits on
            log.debug("http_accept_failed at=%s error=%r", self.address, error)
            if error.errno in _NO_ROOM and not self._server.let_go():
                self._pause()
        else:
            connection.setblocking(False)
            self._server.serve(connection, self._handler)

    def _pause(self) -> None:
        """Try again later: who waits in the backlog would call us at once, for ever."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._bound)
        loop.call_later(_PAUSE_SECONDS, self._resume)

    def _resume(self) -> None:
        if self._bound.fileno() >= 0:
            asyncio.get_running_loop().add_reader(self._bound, self._accept)


class HttpServer:
    """A context manager: serves its listeners for the length of the block. Thread-safe."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix=f"{name}-answer")
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._listeners: set[Listener] = set()
        self._conversations: set[asyncio.Task[None]] = set()
        self._waiting: dict[asyncio.Task[None], None] = {}
        """Those of them in which it is the client's turn, from the one whose turn it has been for longest."""

    def __enter__(self) -> Self:
        """Start the thread."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close every port, cut off who is still there, end the threads."""
        self._run_inside(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._pool.shutdown()

    def listen(self, address: str, port: int, handler: Handler) -> Listener:
        """Listen at an address, in the network namespace of the calling thread. Raises ``OSError``."""
        listener = Listener(self, open_socket(address, port), handler)
        self._listeners.add(listener)
        self._run_inside(listener.start())
        return listener

    def forget(self, listener: Listener) -> None:
        """Close one port."""
        self._listeners.discard(listener)
        self._run_inside(listener.stop())

    def serve(self, connection: socket.socket, handler: Handler) -> None:
        """Answer a client; of too many, let go of who dawdles. To be called in the server's thread."""
        if len(self._conversations) >= MOST_CONNECTIONS and not self.let_go():
            connection.close()
            return
        task = self._loop.create_task(self._answer(connection, handler))
        self._conversations.add(task)
        self._waiting[task] = None
        task.add_done_callback(lambda _: self._end(task, connection))

    def let_go(self) -> bool:
        """Cut off who has been waited for longest; return whether there was one. In the server's thread."""
        dawdler = next(iter(self._waiting), None)
        if dawdler is None:
            return False
        del self._waiting[dawdler]
        dawdler.cancel()
        log.debug("http_cut_off connections=%d", len(self._conversations))
        return True

    def _end(self, task: asyncio.Task[None], connection: socket.socket) -> None:
        self._conversations.discard(task)
        self._waiting.pop(task, None)
        connection.close()

    async def _run_handler(self, handler: Handler, request: Request) -> Response:
        """Answer in a thread of the pool; meanwhile it is our turn."""
        task = asyncio.current_task()
        assert task is not None
        self._waiting.pop(task, None)
        response = await self._loop.run_in_executor(self._pool, _guarded, handler, request)
        self._waiting[task] = None
        return response

    def _run_inside(self, task: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine in the server's thread, and wait for it."""
        asyncio.run_coroutine_threadsafe(task, self._loop).result()

    async def _answer(self, connection: socket.socket, handler: Handler) -> None:
        try:
            reader, writer = await asyncio.open_connection(sock=connection, limit=MOST_REQUEST_BYTES)
            try:
                await self._converse(reader, writer, handler)
            finally:
                writer.transport.abort()
        except (TimeoutError, OSError, EOFError) as error:
            log.debug("http_abandoned error=%r", error)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, handler: Handler) -> None:
        method = ""
        try:
            async with asyncio.timeout(MOST_SECONDS):
                head = await _read_head(reader)
            method, path = parse_head(head)
            response = await self._run_handler(handler, Request(path, writer.get_extra_info("sockname")[0]))
        except RefusedError as refused:
            response = Response(f"{refused.status.phrase}\n", refused.status)
        writer.transport.set_write_buffer_limits(0)  # drain() then waits until the kernel has everything
        writer.write(render(response, with_body=method != HEAD))
        async with asyncio.timeout(MOST_SECONDS):
            await writer.drain()
            writer.write_eof()
            async with asyncio.timeout(_LINGER_SECONDS):
                while await reader.read(MOST_REQUEST_BYTES):
                    pass

    async def _stop(self) -> None:
        for listener in self._listeners:
            await listener.stop()
        for task in self._conversations:
            task.cancel()
        await asyncio.gather(*self._conversations, return_exceptions=True)


def open_socket(address: str, port: int) -> socket.socket:
    """Return a socket bound to an address of its own family only. Raises ``OSError`` when that cannot be."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind((address, port))
        bound.listen(_BACKLOG)  # two sockets may be bound to one port; that both listen is refused only here
        bound.setblocking(False)
    except BaseException:
        bound.close()
        raise
    return bound


async def _read_head(reader: asyncio.StreamReader) -> bytes:
    """Return the lines up to the first empty one. A bare line feed ends a line, too: RFC 9112, 2.2, and Go takes it."""
    head = b""
    try:
        while line := (await reader.readuntil(b"\n")).removesuffix(b"\n").removesuffix(b"\r"):
            head += line + b"\n"
            if len(head) > MOST_REQUEST_BYTES:
                raise RefusedError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
    except asyncio.LimitOverrunError:
        raise RefusedError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE) from None
    return head


def _guarded(handler: Handler, request: Request) -> Response:
    try:
        return handler(request)
    except Exception:
        log.exception("http_failed path=%r", request.path)
        return Response("500 internal server error\n", HTTPStatus.INTERNAL_SERVER_ERROR)
