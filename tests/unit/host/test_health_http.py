"""The HTTP server: what it reads, what it refuses, and what it does to clients that dawdle."""

import errno
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection, HTTPMessage
from typing import Any, ClassVar

import pytest

from ebpflb.host import http_server
from ebpflb.host.http_messages import Request, Response
from ebpflb.host.http_server import HttpServer, Listener, open_socket

SECONDS = 60.0
"""For what comes in any case; and a server's patience, where no test is about that."""


@pytest.fixture(name="server")
def _server(monkeypatch: pytest.MonkeyPatch) -> Iterator[HttpServer]:
    for limit in ("MOST_SECONDS", "_LINGER_SECONDS"):
        monkeypatch.setattr(http_server, limit, SECONDS)
    with HttpServer("test") as server:
        yield server


def echo(request: Request) -> Response:
    return Response(f"{request.path} at {request.local_address}", headers=(("X-Test", "yes"),))


@pytest.fixture(name="listener")
def _listener(server: HttpServer) -> Listener:
    return server.listen("127.0.0.1", 0, echo)


@dataclass(frozen=True)
class Answer:
    status: int
    headers: HTTPMessage
    body: bytes


def ask(listener: Listener, method: str = "GET", path: str = "/", body: bytes | None = None) -> Answer:
    with closing(HTTPConnection(*listener.address, timeout=SECONDS)) as connection:
        connection.request(method, path, body=body)
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read())


def raw(listener: Listener, request: bytes) -> bytes:
    """Send as it is, and return all that comes back until the server closes."""
    with socket.create_connection(listener.address, timeout=SECONDS) as connection:
        connection.sendall(request)
        with connection.makefile("rb") as file:
            return file.read()


def send_for_ever(connection: socket.socket) -> None:
    while True:
        connection.sendall(b"x" * 65_536)


def test_get_is_answered_with_headers_and_body(listener: Listener) -> None:
    answer = ask(listener, path="/healthz?verbose=1")
    assert (answer.status, answer.body) == (200, b"/healthz at 127.0.0.1")
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.headers["Content-Length"] == str(len(answer.body))
    assert answer.headers["Connection"] == "close"
    assert answer.headers["X-Test"] == "yes"


def test_head_is_answered_as_get_without_body(listener: Listener) -> None:
    answer = ask(listener, "HEAD", "/x")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["Content-Length"] == str(len(b"/x at 127.0.0.1"))


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "M-SEARCH"])
def test_other_methods_are_answered_as_get(listener: Listener, method: str) -> None:
    answer = ask(listener, method, "/x", body=b"x" * 100_000)
    assert (answer.status, answer.body) == (200, b"/x at 127.0.0.1")


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /x HTTP/1.1\nHost: a\n\n",
        b"GET /x HTTP/1.0\n\n",
        b"GET /x HTTP/1.1\r\nHost: a\n\r\n",
        b"GET /x HTTP/1.1\nHost: a\r\n\n",
    ],
)
def test_a_bare_line_feed_ends_a_line(listener: Listener, request_: bytes) -> None:
    answer = raw(listener, request_)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"\r\n\r\n/x at 127.0.0.1")


@pytest.mark.parametrize(
    ("request_line", "path"),
    [
        (b"GET http://node:10256/healthz HTTP/1.1", b"/healthz"),
        (b"GET /a%20b#c HTTP/1.0", b"/a b"),
        (b"GET  HTTP/1.1", b""),
        (b"GET //x HTTP/1.1", b"/"),
    ],
)
def test_targets(listener: Listener, request_line: bytes, path: bytes) -> None:
    answer = raw(listener, request_line + b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"\r\n\r\n" + (path or b"/") + b" at 127.0.0.1")


@pytest.mark.parametrize(
    "head",
    [
        b"GET /",
        b"GET / HTTP/2",
        b"GET /a b HTTP/1.1",
        b"\x16\x03\x01",
        b"",
        b"G/T / HTTP/1.1",
        b"GET http://[ HTTP/1.1",
    ],
)
def test_what_is_no_request_is_refused(listener: Listener, head: bytes) -> None:
    assert raw(listener, head + b"\r\n\r\n").startswith(b"HTTP/1.1 400 Bad Request\r\n")


@pytest.mark.parametrize("filler", [b"x" * (2 * http_server.MOST_REQUEST_BYTES), b"X: y\n" * 2000])
def test_a_request_that_is_too_long_is_refused(listener: Listener, filler: bytes) -> None:
    answer = raw(listener, b"GET / HTTP/1.1\r\nX: " + filler)
    assert answer.startswith(b"HTTP/1.1 431 ")


def test_a_client_that_leaves_half_way_disturbs_nobody(listener: Listener) -> None:
    with socket.create_connection(listener.address, timeout=SECONDS) as connection:
        connection.sendall(b"GET / HT")
    assert ask(listener).status == 200


def test_a_client_that_dawdles_is_cut_off(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "MOST_SECONDS", 0.2)
    assert raw(listener, b"GET / HTTP/1.1\r\n") == b""


def test_a_client_that_never_closes_is_cut_off(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "_LINGER_SECONDS", 0.1)
    with socket.create_connection(listener.address, timeout=SECONDS) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
        with connection.makefile("rb") as file:
            assert file.read().endswith(b"/ at 127.0.0.1")
        connection.settimeout(SECONDS)
        # Whatever is sent on is answered by a reset, once the server's end is gone.
        with pytest.raises(ConnectionError):
            send_for_ever(connection)


def test_a_large_answer_arrives_whole(server: HttpServer) -> None:
    body = bytes(range(256)) * 40_000
    listener = server.listen("127.0.0.1", 0, lambda _: Response(body))
    assert ask(listener).body == body


def test_of_too_many_clients_who_dawdles_longest_is_cut_off(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_server, "MOST_CONNECTIONS", 3)
    with ExitStack() as stack:
        dawdlers = [
            stack.enter_context(closing(socket.create_connection(listener.address, timeout=SECONDS))) for _ in range(20)
        ]
        assert ask(listener).status == 200  # who comes last is heard
        for dawdler in dawdlers[:17]:
            assert dawdler.recv(1) == b""
        dawdlers[-1].sendall(b"GET /last HTTP/1.1\r\n\r\n")
        assert dawdlers[-1].recv(12) == b"HTTP/1.1 200"


def test_who_waits_for_us_is_never_cut_off(server: HttpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "MOST_CONNECTIONS", 1)
    is_heard, may_go = threading.Event(), threading.Event()

    def handle(_: Request) -> Response:
        is_heard.set()
        assert may_go.wait(SECONDS)
        return Response("first")

    listener = server.listen("127.0.0.1", 0, handle)
    with socket.create_connection(listener.address, timeout=SECONDS) as first:
        first.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert is_heard.wait(SECONDS)
        with closing(socket.create_connection(listener.address, timeout=SECONDS)) as second:
            assert second.recv(1) == b""
        may_go.set()
        with first.makefile("rb") as file:
            assert file.read().endswith(b"\r\n\r\nfirst")


class Exhausted(socket.socket):
    """A socket of a process that has no descriptors left, as often as ``times`` says."""

    times: ClassVar[int] = 0

    def accept(self) -> tuple[socket.socket, Any]:
        if Exhausted.times:
            Exhausted.times -= 1
            raise OSError(errno.EMFILE, "too many open files")
        return super().accept()


@pytest.fixture(name="exhausted")
def _exhausted(server: HttpServer, monkeypatch: pytest.MonkeyPatch) -> Listener:
    monkeypatch.setattr(socket, "socket", Exhausted)
    listener = server.listen("127.0.0.1", 0, echo)
    monkeypatch.undo()
    return listener


def test_without_descriptors_it_tries_again_later(exhausted: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "_PAUSE_SECONDS", 0.1)
    monkeypatch.setattr(Exhausted, "times", 2)
    began = time.monotonic()
    assert ask(exhausted).status == 200
    assert time.monotonic() - began >= 0.2


def test_without_descriptors_who_dawdles_makes_room(exhausted: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "_PAUSE_SECONDS", 3600)
    with socket.create_connection(exhausted.address, timeout=SECONDS) as dawdler:
        assert ask(exhausted).status == 200
        monkeypatch.setattr(Exhausted, "times", 1)
        assert ask(exhausted).status == 200
        assert dawdler.recv(1) == b""


def test_a_port_that_closes_while_it_pauses_stays_closed(listener: Listener) -> None:
    listener.close()
    listener._resume()  # of an open one, this is only possible in the server's thread
    with pytest.raises(ConnectionRefusedError):
        ask(listener)


def test_a_handler_that_fails_is_an_internal_error(server: HttpServer, caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: Request) -> Response:
        raise RuntimeError("handler broke")

    assert ask(server.listen("127.0.0.1", 0, fail)).status == HTTPStatus.INTERNAL_SERVER_ERROR
    assert "handler broke" in caplog.text


def test_ipv6_has_sockets_of_its_own(server: HttpServer) -> None:
    six = server.listen("::1", 0, echo)
    four = server.listen("127.0.0.1", six.address[1], echo)
    assert (ask(six).body, ask(four).body) == (b"/ at ::1", b"/ at 127.0.0.1")


def test_a_port_closes_at_once_and_can_be_had_again(server: HttpServer, listener: Listener) -> None:
    assert ask(listener).status == 200
    with pytest.raises(OSError, match="in use"):
        server.listen(*listener.address, echo)
    listener.close()
    with pytest.raises(ConnectionRefusedError):
        ask(listener)
    assert ask(server.listen(*listener.address, echo)).status == 200


def test_the_end_of_the_server_closes_ports_and_connections() -> None:
    with HttpServer("test") as server:
        listener = server.listen("127.0.0.1", 0, echo)
        waiting = socket.create_connection(listener.address, timeout=SECONDS)
        waiting.sendall(b"GET /")
        assert ask(listener).status == 200
    with closing(waiting):
        assert waiting.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        ask(listener)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("test")]


def test_a_socket_that_cannot_be_bound_is_closed() -> None:
    with pytest.raises(OSError, match="assign"):
        open_socket("192.0.2.1", 0)
