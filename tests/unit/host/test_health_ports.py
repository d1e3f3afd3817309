"""Ports that are wanted are open, others are closed, and what fails is told once and tried again."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import Queue

import pytest

from ebpflb.core.abi import Family
from ebpflb.errors import PrerequisiteError, UsageError
from ebpflb.host.http_messages import Request, Response
from ebpflb.host.http_ports import Endpoint, HttpPorts, Wanted, endpoints_of
from ebpflb.host.http_server import Handler, HttpServer, open_socket
from tests.ports import LOOPBACK, free_port, free_ports, until

SECONDS = 60.0


def named(name: str) -> Handler:
    return lambda _: Response(name)


def fetch(port: int) -> str:
    """Return what is answered there; empty: nobody listens."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=SECONDS) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
            with connection.makefile("r") as file:
                return file.read().partition("\n\n")[2]
    except ConnectionError:
        return ""


@dataclass
class Desk:
    """Ports at work, and what was said about them."""

    ports: HttpPorts
    server: HttpServer
    changes: "Queue[None]"
    failures: "Queue[str]" = field(default_factory=Queue)

    def wanted(self, *ports: int, name: str = "x", address: str = LOOPBACK) -> Wanted:
        return Wanted(self.server, tuple(Endpoint(address, port) for port in ports), named(name), self.failures.put)


@contextmanager
def desk(retry_s: float = 3600.0) -> Iterator[Desk]:
    changes: Queue[None] = Queue()
    stop = threading.Event()
    with HttpServer("test") as server:
        ports = HttpPorts(lambda: changes.put(None), retry_s=retry_s)
        thread = threading.Thread(target=ports.run, args=(stop,))
        thread.start()
        try:
            yield Desk(ports, server, changes)
        finally:
            stop.set()
            thread.join()


def test_ports_open_and_close_as_they_are_wanted() -> None:
    one, two = free_ports()
    with desk() as at:
        at.ports.want("services", {"a": at.wanted(one, name="a")})
        until(lambda: fetch(one) == "a")
        at.ports.want("services", {"b": at.wanted(two, name="b")})
        until(lambda: fetch(two) == "b")
        assert fetch(one) == ""
        assert at.ports.failures("services") == {}
    assert fetch(two) == ""


def test_a_port_can_pass_from_one_to_another() -> None:
    port = free_port()
    with desk() as at:
        at.ports.want("services", {"a": at.wanted(port, name="a")})
        until(lambda: fetch(port) == "a")
        at.ports.want("services", {"b": at.wanted(port, name="b")})
        until(lambda: fetch(port) == "b")
        assert at.failures.empty()


def test_groups_do_not_touch_each_other() -> None:
    one, two = free_ports()
    with desk() as at:
        at.ports.want("services", {"a": at.wanted(one, name="a")})
        at.ports.want("proxy", {"a": at.wanted(two, name="proxy")})
        until(lambda: (fetch(one), fetch(two)) == ("a", "proxy"))
        at.ports.want("services", {})
        until(lambda: fetch(one) == "")
        assert fetch(two) == "proxy"


def test_a_conflict_is_told_once_and_tried_again() -> None:
    port = free_port()
    with desk(retry_s=0.05) as at, open_socket(LOOPBACK, port) as other:
        at.ports.want("services", {"a": at.wanted(port, name="a")})
        reason = at.failures.get(timeout=SECONDS)
        assert reason == f"cannot listen at {LOOPBACK}:{port}: another process, or another Service, has that port"
        at.changes.get(timeout=SECONDS)
        assert at.ports.failures("services") == {"a": reason}
        assert at.ports.failures("proxy") == {}
        other.close()
        until(lambda: fetch(port) == "a")
        at.changes.get(timeout=SECONDS)
        assert at.ports.failures("services") == {}
        assert at.failures.empty()


def test_any_change_is_an_occasion_to_try_again() -> None:
    port = free_port()
    with desk() as at, open_socket(LOOPBACK, port) as other:
        wanted = at.wanted(port, name="a")
        at.ports.want("services", {"a": wanted})
        at.failures.get(timeout=SECONDS)
        other.close()
        at.ports.want("services", {"a": wanted})
        until(lambda: fetch(port) == "a")


def test_one_address_that_fails_does_not_spoil_the_others() -> None:
    port = free_port()
    with desk() as at:
        both = Wanted(at.server, (Endpoint("192.0.2.1", port), Endpoint(LOOPBACK, port)), named("a"), at.failures.put)
        at.ports.want("services", {"a": both})
        reason = at.failures.get(timeout=SECONDS)
        assert reason == f"cannot listen at 192.0.2.1:{port}: this node does not have that address"
        until(lambda: fetch(port) == "a")


def test_a_failure_that_is_fatal_ends_the_run() -> None:
    port = free_port()

    def end(reason: str) -> None:
        raise PrerequisiteError(reason)

    with HttpServer("test") as server, open_socket(LOOPBACK, port):
        ports = HttpPorts()
        ports.want("proxy", {"a": Wanted(server, (Endpoint(LOOPBACK, port),), named("a"), end)})
        with pytest.raises(PrerequisiteError, match="has that port"):
            ports.run(threading.Event())


def test_a_stop_is_heard_that_comes_while_news_are_taken_as_read() -> None:
    stop, ports = threading.Event(), HttpPorts()

    class News(threading.Event):
        """Has the stop come, and be told, just before what was told is forgotten."""

        def clear(self) -> None:
            stop.set()
            assert self.wait(SECONDS)
            super().clear()

    ports._news = News()
    thread = threading.Thread(target=ports.run, args=(stop,), daemon=True)
    thread.start()
    thread.join(SECONDS)
    assert not thread.is_alive()


def test_endpoints_in_words() -> None:
    assert [str(Endpoint("10.0.0.1", 80)), str(Endpoint("fd00::1", 80))] == ["10.0.0.1:80", "[fd00::1]:80"]


def test_the_handler_hears_what_was_dialled() -> None:
    heard: Queue[Request] = Queue()

    def handle(request: Request) -> Response:
        heard.put(request)
        return Response()

    port = free_port()
    with desk() as at:
        at.ports.want("services", {"a": Wanted(at.server, (Endpoint("0.0.0.0", port),), handle, at.failures.put)})
        until(lambda: fetch(port) == "" and not heard.empty())
        assert heard.get().local_address == LOOPBACK


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ()),
        ("127.0.0.1:10249", (Endpoint("127.0.0.1", 10249),)),
        ("[::1]:10249", (Endpoint("::1", 10249),)),
        ("fd00::1:10249", (Endpoint("fd00::1", 10249),)),
        ("0.0.0.0:10256", (Endpoint("0.0.0.0", 10256), Endpoint("::", 10256))),
        ("[::]:10256", (Endpoint("0.0.0.0", 10256), Endpoint("::", 10256))),
    ],
)
def test_bind_addresses(text: str, expected: tuple[Endpoint, ...]) -> None:
    assert endpoints_of(text, tuple(Family)) == expected
    assert endpoints_of("0.0.0.0:1", [Family.IPV6]) == (Endpoint("::", 1),)


@pytest.mark.parametrize("text", ["10256", "node:10256", "0.0.0.0", "0.0.0.0:http", ":10256"])
def test_bind_addresses_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="is not an IP address and a port"):
        endpoints_of(text, tuple(Family))
