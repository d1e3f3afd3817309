"""The relay: tunnels carry what both sides say, plain requests pass as they are, and nobody waits for a bad one."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from socketserver import StreamRequestHandler, TCPServer, ThreadingTCPServer

import pytest

from ebpflb.bench.relay_process import Server, target_of


@pytest.mark.parametrize(
    ("line", "target"),
    [
        (b"CONNECT api.example:6443 HTTP/1.1", ("api.example", 6443)),
        (b"CONNECT [2001:db8::1]:6443 HTTP/1.1", ("2001:db8::1", 6443)),
        (b"GET http://127.0.0.1:8001/api?limit=1 HTTP/1.1", ("127.0.0.1", 8001)),
        (b"GET http://api.example/ HTTP/1.1", ("api.example", 80)),
    ],
)
def test_the_first_line_names_the_target(line: bytes, target: tuple[str, int]) -> None:
    assert target_of(line + b"\r\nHost: other\r\n\r\n") == target


@pytest.mark.parametrize("line", [b"GET / HTTP/1.1", b"nonsense", b"CONNECT :1 HTTP/1.1", b"CONNECT a:b HTTP/1.1"])
def test_a_line_without_target_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        target_of(line)


class Far(StreamRequestHandler):
    """Answers each line in capitals until there is none."""

    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(line.upper())


@contextmanager
def serving(server: TCPServer) -> Iterator[int]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()  # joins the threads of its connections


class Joined(Server):
    block_on_close = True
    daemon_threads = False


def talk(first: Callable[[int], bytes], then: bytes = b"") -> bytes:
    """Return what a client hears which says ``first`` (given the far server's port), and more when it has an answer."""
    far = ThreadingTCPServer(("127.0.0.1", 0), Far)
    with (
        serving(far) as far_port,
        serving(Joined(socket.create_server(("127.0.0.1", 0)))) as port,
        socket.create_connection(("127.0.0.1", port), timeout=30) as client,
        client.makefile("rb") as heard,
    ):
        client.sendall(first(far_port))
        answer = b"".join(iter(heard.readline, b"\r\n"))
        if then:
            client.sendall(then)
            answer += heard.readline()
        client.shutdown(socket.SHUT_RDWR)
        return answer


def test_a_tunnel_carries_both_ways() -> None:
    heard = talk(lambda port: b"CONNECT 127.0.0.1:%d HTTP/1.1\r\n\r\n" % port, b"hello\n")
    assert heard == b"HTTP/1.1 200 Connection established\r\nHELLO\n"


def test_a_plain_request_passes_as_it_is() -> None:
    heard = talk(lambda port: b"get http://127.0.0.1:%d/ http/1.1\r\nhost: far\r\n\r\nbody\n" % port, b"more\n")
    assert heard.splitlines()[1:] == [b"HOST: FAR", b"BODY"]


def test_who_cannot_be_reached_is_told_of() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert talk(lambda _port: b"CONNECT 127.0.0.1:%d HTTP/1.1\r\n\r\n" % port).startswith(b"HTTP/1.1 502 ")


def test_nonsense_is_answered() -> None:
    assert talk(lambda _port: b"nonsense\r\n\r\n").startswith(b"HTTP/1.1 400 ")
