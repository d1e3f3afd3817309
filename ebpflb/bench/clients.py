"""One exchange at a time with a backend of the lab, over TCP or UDP; decides nothing about how many or how often.

    Target -> TcpSession, UdpSession -> Exchange (who answered, as whom we were seen, as whom we see it)

A session is one socket. What the socket hooks translate shows in ``peer``: getpeername() for TCP and connected UDP,
recvfrom() for unconnected UDP.
"""

import os
import socket
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from ebpflb.bench.protocol import (
    CHUNK,
    Checksum,
    Received,
    decode_answer,
    decode_received,
    format_peer,
    pattern_chunks,
)
from ebpflb.bench.report import ClosedError

NONCE_BYTES = 8


@dataclass(frozen=True, slots=True)
class Target:
    """Whom to call, and how."""

    host: str
    port: int
    timeout_seconds: float = 3.0
    source_host: str = ""
    source_port: int = 0
    """0: the kernel's choice."""

    @property
    def family(self) -> socket.AddressFamily:
        """The address family of ``host``."""
        return socket.AF_INET6 if ":" in self.host else socket.AF_INET

    def open_socket(self, kind: socket.SocketKind) -> socket.socket:
        """Return a socket with the timeout, bound if a source is asked for."""
        sock = socket.socket(self.family, kind)
        sock.settimeout(self.timeout_seconds)
        if self.source_host or self.source_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((self.source_host, self.source_port))
        return sock


@dataclass(frozen=True, slots=True)
class Exchange:
    """One answered request."""

    backend: str
    client: str
    """This client as the server saw it."""
    peer: str
    """The server as this client sees it."""


class _Session:
    """A socket that is closed at the end of the block."""

    _socket: socket.socket

    @property
    def socket(self) -> socket.socket:
        """The socket itself, for what no method here does."""
        return self._socket

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the socket."""
        self._socket.close()


class TcpSession(_Session):
    """One TCP connection, used for as many exchanges as wanted."""

    def __init__(self, target: Target) -> None:
        self._socket = target.open_socket(socket.SOCK_STREAM)
        self._buffer = b""
        try:
            self._socket.connect((target.host, target.port))
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError:
            self._socket.close()
            raise

    def ask(self) -> Exchange:
        """Ask who answers."""
        self._socket.sendall(b"who\n")
        answer = decode_answer(self._line())
        return Exchange(answer.name, answer.client, format_peer(self._socket.getpeername()))

    def upload(self, length: int) -> Received:
        """Send ``length`` bytes of the pattern; return what the server received."""
        self._socket.sendall(b"sink %d\n" % length)
        for chunk in pattern_chunks(length):
            self._socket.sendall(chunk)
        return decode_received(self._line())

    def download(self, length: int) -> Received:
        """Receive ``length`` bytes; return what arrived. The server's own count must be the same."""
        self._socket.sendall(b"source %d\n" % length)
        checksum = Checksum()
        while checksum.length < length:
            data = self._buffer or self._receive()
            missing = length - checksum.length
            checksum.add(data[:missing])
            self._buffer = data[missing:]
        if decode_received(self._line()) != checksum.received():
            raise OSError("mismatch")
        return checksum.received()

    def _line(self) -> bytes:
        while b"\n" not in self._buffer:
            self._buffer += self._receive()
        line, self._buffer = self._buffer.split(b"\n", 1)
        return line

    def _receive(self) -> bytes:
        data = self._socket.recv(CHUNK)
        if not data:
            raise ClosedError("closed")
        return data


class UdpSession(_Session):
    """One UDP socket, connected or not."""

    def __init__(self, target: Target, *, connected: bool, payload_bytes: int = NONCE_BYTES) -> None:
        self._target = target
        self._connected = connected
        self._payload_bytes = max(payload_bytes, NONCE_BYTES)
        self._socket = target.open_socket(socket.SOCK_DGRAM)
        if connected:
            try:
                self._socket.connect((target.host, target.port))
            except OSError:
                self._socket.close()
                raise

    def ask(self) -> Exchange:
        """Send a datagram with a fresh nonce and wait for its answer; late answers to earlier ones are passed over."""
        payload = os.urandom(NONCE_BYTES) + bytes(self._payload_bytes - NONCE_BYTES)
        if self._connected:
            self._socket.send(payload)
        else:
            self._socket.sendto(payload, (self._target.host, self._target.port))
        while True:
            data, source = self._socket.recvfrom(CHUNK)
            line, _, echoed = data.partition(b"\n")
            if echoed == payload:
                break
        answer = decode_answer(line)
        seen = self._socket.getpeername() if self._connected else source
        return Exchange(answer.name, answer.client, format_peer(seen))
