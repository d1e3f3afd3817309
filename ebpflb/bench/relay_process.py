"""Brings a process of a lab's namespace to servers that only the machine's own network reaches.

    python -m ebpflb.bench.relay_process --netns FILE          stdout: listening PORT

An HTTP proxy on a loopback address inside the namespace; it dials from outside. CONNECT opens a tunnel, so that TLS is
between client and server; a request with a whole URL is sent on as it is, with everything that follows it. A socket
belongs to the namespace in which it was made: neither namespace gets a device, an address or a rule for this. Decides
nothing about what passes.
"""

import argparse
import socket
import sys
import threading
from contextlib import suppress
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import Final
from urllib.parse import urlsplit

from ebpflb.bench.namespaces import inside

_CHUNK: Final = 1 << 18
_HEAD_MOST: Final = 1 << 16
_HEAD_END: Final = b"\r\n\r\n"
_DIAL_S: Final = 10.0
_OPENED: Final = b"HTTP/1.1 200 Connection established\r\n\r\n"
_BAD: Final = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_UNREACHED: Final = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


def listening_inside(netns: Path) -> socket.socket:
    """Return a listening socket of another network namespace."""
    return inside(netns, lambda: socket.create_server(("127.0.0.1", 0)))


def target_of(head: bytes) -> tuple[str, int]:
    """Return whom a request's first line asks for. Raises ``ValueError`` where it names nobody."""
    method, url, _version = head.partition(b"\r\n")[0].decode("ascii").split(" ")
    parts = urlsplit(f"//{url}" if method == "CONNECT" else url)
    if not parts.hostname:
        raise ValueError("no host")
    return parts.hostname, parts.port or (80 if parts.scheme == "http" else 443)


class Server(ThreadingTCPServer):
    """Two threads a connection: one for each direction."""

    block_on_close = False
    daemon_threads = True

    def __init__(self, listener: socket.socket) -> None:
        """Serve what comes to a socket that listens already."""
        super().__init__(listener.getsockname(), Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener


class Handler(BaseRequestHandler):
    """One client, until either side ends."""

    request: socket.socket

    def handle(self) -> None:
        """Dial whom the client asks for, and carry what both say."""
        near = self.request
        near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with suppress(OSError):
            try:
                head = _head(near)
                target = target_of(head)
            except ValueError:
                near.sendall(_BAD)
                return
            try:
                far = socket.create_connection(target, timeout=_DIAL_S)
            except OSError:
                near.sendall(_UNREACHED)
                return
            with far:
                far.settimeout(None)
                far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                is_tunnel = head.startswith(b"CONNECT ")
                (near if is_tunnel else far).sendall(_OPENED if is_tunnel else head)
                back = threading.Thread(target=_carry, args=(far, near))
                back.start()
                _carry(near, far)
                back.join()


def _head(near: socket.socket) -> bytes:
    """Read a request up to its body; a client waits for an answer before it sends more. Raises ``ValueError``."""
    head = b""
    while not head.endswith(_HEAD_END):
        more = near.recv(_CHUNK)
        head += more
        if not more or len(head) > _HEAD_MOST:
            raise ValueError("no request")
        if not head.startswith(b"CONNECT ") and _HEAD_END in head:
            break  # what follows is the body's beginning, and passes with the head
    return head


def _carry(source: socket.socket, sink: socket.socket) -> None:
    """Carry one direction to its end, and end the other with it."""
    try:
        while data := source.recv(_CHUNK):
            sink.sendall(data)
    except OSError:
        pass  # either side has gone: so it ends
    for each in (source, sink):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


def main() -> int:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(description="A proxy between two network namespaces.")
    parser.add_argument("--netns", type=Path, required=True)
    listener = listening_inside(parser.parse_args().netns)
    sys.stdout.write(f"listening {listener.getsockname()[1]}\n")
    sys.stdout.flush()
    with Server(listener) as server:
        server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
