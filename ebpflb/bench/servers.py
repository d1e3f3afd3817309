"""A backend for the lab: answers with its name and the client's address as it sees it.

    python -m ebpflb.bench.servers --name POD --host :: --tcp 8080 --udp 5353 -> "ready", then protocol.py, until killed

Knows nothing of Services: what it reports is how tests see whether the client's address survived. One process, one
selector, so that a closed pod closes all its sockets at one moment. It dies with its parent.
"""

import argparse
import ctypes
import os
import selectors
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from typing import Protocol

from ebpflb.bench.protocol import (
    CHUNK,
    LINE_LIMIT,
    Answer,
    Checksum,
    encode_line,
    format_peer,
    http_response,
    pattern_chunks,
)

PR_SET_PDEATHSIG = 1
BACKLOG = 1024


class Handler(Protocol):
    """What the selector holds for a socket."""

    def on_event(self, events: int) -> None:
        """Act on readiness."""


class Connection:
    """One TCP client: commands in, answers out, with back-pressure."""

    def __init__(self, selector: selectors.BaseSelector, sock: socket.socket, name: str) -> None:
        self._selector = selector
        self._socket = sock
        self._answer = Answer(name, format_peer(sock.getpeername()), format_peer(sock.getsockname()))
        self._incoming = b""
        self._outgoing = b""
        self._source: Iterator[bytes] = iter(())
        self._sink: Checksum | None = None
        self._sink_left = 0
        self._http = False
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        selector.register(sock, selectors.EVENT_READ, self)

    def on_event(self, events: int) -> None:
        """Read, answer, and close when the client has gone."""
        try:
            if events & selectors.EVENT_READ and not self._read():
                self._close()
                return
            self._write()
        except (OSError, ValueError, IndexError):
            # The client reset, or sent a command whose number is missing or none.
            self._close()

    def _read(self) -> bool:
        data = self._socket.recv(CHUNK)
        if not data:
            return False
        if self._sink is not None:
            data = self._fill_sink(data)
        self._incoming += data
        while self._sink is None and b"\n" in self._incoming:
            line, self._incoming = self._incoming.split(b"\n", 1)
            self._command(line.strip())
        return len(self._incoming) <= LINE_LIMIT

    def _command(self, line: bytes) -> None:
        word, *arguments = line.split()[:2] or [b""]
        if self._http:
            if not line:
                self._http = False
                self._outgoing += http_response(encode_line(self._answer))
        elif word == b"GET":
            self._http = True
        elif word == b"who":
            self._outgoing += encode_line(self._answer)
        elif word == b"sink":
            self._sink, self._sink_left = Checksum(), int(arguments[0])
            self._incoming = self._fill_sink(self._incoming)
        elif word == b"source":
            self._source = _source(int(arguments[0]))
        else:
            self._outgoing += b'{"error": "unknown command"}\n'

    def _fill_sink(self, data: bytes) -> bytes:
        assert self._sink is not None
        taken, rest = data[: self._sink_left], data[self._sink_left :]
        self._sink.add(taken)
        self._sink_left -= len(taken)
        if self._sink_left == 0:
            self._outgoing += encode_line(self._sink.received())
            self._sink = None
        return rest

    def _write(self) -> None:
        if not self._outgoing:
            self._outgoing = next(self._source, b"")
        if self._outgoing:
            try:
                sent = self._socket.send(self._outgoing)
            except BlockingIOError:
                sent = 0
            self._outgoing = self._outgoing[sent:] or next(self._source, b"")
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._outgoing else 0)
        if self._selector.get_key(self._socket).events != wanted:
            self._selector.modify(self._socket, wanted, self)

    def _close(self) -> None:
        self._selector.unregister(self._socket)
        self._socket.close()


def _source(length: int) -> Iterator[bytes]:
    checksum = Checksum()
    for chunk in pattern_chunks(length):
        checksum.add(chunk)
        yield bytes(chunk)
    yield encode_line(checksum.received())


class TcpListener:
    """Accepts clients."""

    def __init__(self, selector: selectors.BaseSelector, host: str, port: int, name: str) -> None:
        self._selector = selector
        self._name = name
        self._socket = _bound_socket(socket.SOCK_STREAM, host, port)
        self._socket.listen(BACKLOG)
        self._socket.setblocking(False)
        selector.register(self._socket, selectors.EVENT_READ, self)

    def on_event(self, _events: int) -> None:
        """Accept one client; one that left again before is no matter."""
        try:
            sock, _ = self._socket.accept()
            Connection(self._selector, sock, self._name)
        except OSError:
            return


class UdpResponder:
    """Answers each datagram."""

    def __init__(self, selector: selectors.BaseSelector, host: str, port: int, name: str) -> None:
        self._name = name
        self._socket = _bound_socket(socket.SOCK_DGRAM, host, port)
        self._socket.setblocking(False)
        self._server = format_peer(self._socket.getsockname())
        selector.register(self._socket, selectors.EVENT_READ, self)

    def on_event(self, _events: int) -> None:
        """Answer one datagram; an ICMP error reported on the socket concerns an earlier answer."""
        try:
            data, client = self._socket.recvfrom(CHUNK)
            self._socket.sendto(encode_line(Answer(self._name, format_peer(client), self._server)) + data, client)
        except OSError:
            return


def _bound_socket(kind: socket.SocketKind, host: str, port: int) -> socket.socket:
    """Return a socket of the host's family alone: each family has its own, as in a server that asks for both."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, kind)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    if kind == socket.SOCK_STREAM:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((host, port))
    return sock


def die_with_parent() -> None:
    """Ask the kernel for SIGKILL when the parent ends; leave at once if it ended already.

    The kernel means the thread that forked: whoever starts servers from a thread keeps that thread alive.
    """
    parent = os.getppid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)


def serve(name: str, hosts: Sequence[str], tcp: Sequence[int], udp: Sequence[int]) -> None:
    """Listen, say ``ready``, and answer for ever."""
    selector = selectors.DefaultSelector()
    for host in hosts:
        for port in tcp:
            TcpListener(selector, host, port, name)
        for port in udp:
            UdpResponder(selector, host, port, name)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while True:
        for key, events in selector.select():
            handler: Handler = key.data
            handler.on_event(events)


def main() -> None:
    """Parse the arguments and serve."""
    parser = argparse.ArgumentParser(description="a backend of the ebpflb lab")
    parser.add_argument("--name", required=True)
    parser.add_argument("--tcp", type=int, action="append", default=[], metavar="PORT")
    parser.add_argument("--udp", type=int, action="append", default=[], metavar="PORT")
    parser.add_argument("--host", action="append", required=True, metavar="ADDRESS")
    arguments = parser.parse_args()
    die_with_parent()
    serve(arguments.name, arguments.host, arguments.tcp, arguments.udp)


if __name__ == "__main__":
    main()
