"""Real sockets in namespaces of the test: destroyed are the named ones, and no other."""

import errno
import logging
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from ebpflb.core.abi import Protocol
from ebpflb.host import sock_diag, sockets
from ebpflb.host.netns_cookie import netns_cookie
from ebpflb.host.sockets import StaleSocket, destroy_sockets
from tests.netns.host_helpers import inside, namespace, run

pytestmark = pytest.mark.root

BACKEND = ("127.0.0.9", 5353)
KINDS = {Protocol.UDP: socket.SOCK_DGRAM, Protocol.TCP: socket.SOCK_STREAM}


def cookie_of(client: socket.socket) -> int:
    (cookie,) = struct.unpack("=Q", client.getsockopt(socket.SOL_SOCKET, 57, 8))
    return int(cookie)


def protocol_of(client: socket.socket) -> Protocol:
    return Protocol.TCP if client.type is socket.SOCK_STREAM else Protocol.UDP


def stale(client: socket.socket, address: str = BACKEND[0], port: int = BACKEND[1]) -> StaleSocket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return StaleSocket(cookie_of(client), socket.inet_pton(family, address), port, protocol_of(client))


def connected(protocol: Protocol, address: str = BACKEND[0], port: int = BACKEND[1]) -> socket.socket:
    client = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, KINDS[protocol])
    client.connect((address, port))
    client.setblocking(False)
    return client


def is_aborted(client: socket.socket) -> bool:
    try:
        client.recv(1)
    except OSError as error:
        return error.errno == errno.ECONNABORTED
    return False


@contextmanager
def listening(*ports: int) -> Iterator[None]:
    """Take TCP connections to every address of this namespace; nothing is ever said."""
    with ExitStack() as stack:
        for port in ports:
            listener = stack.enter_context(socket.socket(socket.AF_INET6))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            listener.bind(("::", port))
            listener.listen()
        yield


@pytest.fixture
def pod() -> Iterator[Path]:
    with namespace("sock") as path, ExitStack() as stack:
        with inside(path):
            stack.enter_context(listening(BACKEND[1], 53))
        yield path


@pytest.fixture(params=KINDS)
def protocol(request: pytest.FixtureRequest) -> Protocol:
    return Protocol(request.param)


@pytest.mark.usefixtures("destroys_sockets")
def test_destroys_only_the_named_socket_in_another_namespace(pod: Path, protocol: Protocol) -> None:
    with (
        inside(pod),
        connected(protocol) as victim,
        connected(protocol) as sibling,
        connected(protocol, "127.0.0.8") as other,
    ):
        home = netns_cookie()
        assert destroy_sockets({stale(victim)}, [pod]) == {stale(victim)}
        assert netns_cookie() == home
        assert is_aborted(victim)
        assert not is_aborted(sibling)
        assert not is_aborted(other)


@pytest.mark.usefixtures("destroys_sockets")
def test_finds_the_namespace_by_itself_from_outside(pod: Path, protocol: Protocol) -> None:
    with inside(pod):
        victim = connected(protocol)
    with victim:
        before = netns_cookie()
        assert destroy_sockets({stale(victim)}) == {stale(victim)}
        assert is_aborted(victim)
        assert netns_cookie() == before


@pytest.mark.usefixtures("destroys_sockets")
def test_both_protocols_of_one_port_in_one_call(pod: Path) -> None:
    """pitfalls 7.1: a DNS Service has TCP and UDP on one port."""
    with inside(pod), connected(Protocol.TCP) as tcp, connected(Protocol.UDP) as udp, connected(Protocol.UDP) as other:
        wanted = {stale(tcp), stale(udp)}
        assert destroy_sockets(wanted, [pod]) == wanted
        assert [is_aborted(each) for each in (tcp, udp, other)] == [True, True, False]


def test_spares_a_socket_that_has_moved_to_another_backend(pod: Path) -> None:
    with inside(pod), connected(Protocol.UDP) as moved, connected(Protocol.UDP) as elsewhere:
        remembered = {stale(moved), stale(elsewhere, port=5354)}
        moved.connect(("127.0.0.7", BACKEND[1]))
        assert destroy_sockets(remembered, [pod]) == set()
        assert not is_aborted(moved)
        assert not is_aborted(elsewhere)


def test_spares_sockets_without_a_peer(pod: Path, protocol: Protocol) -> None:
    with inside(pod), socket.socket(socket.AF_INET, KINDS[protocol]) as alone:
        alone.bind(("127.0.0.1", 0))
        if protocol is Protocol.TCP:
            alone.listen()
        assert destroy_sockets({stale(alone)}, [pod]) == set()
        assert alone.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0


@pytest.mark.usefixtures("destroys_sockets")
@pytest.mark.parametrize(("dialled", "address"), [("::1", "::1"), ("::ffff:127.0.0.9", "127.0.0.9")])
def test_destroys_ipv6_and_v4_mapped_sockets(pod: Path, protocol: Protocol, dialled: str, address: str) -> None:
    with inside(pod), connected(protocol, dialled) as victim, connected(protocol, dialled) as sibling:
        assert destroy_sockets({stale(victim, address)}, [pod]) == {stale(victim, address)}
        assert is_aborted(victim)
        assert not is_aborted(sibling)


@pytest.mark.usefixtures("destroys_sockets")
def test_several_backend_ports_in_one_call(pod: Path, protocol: Protocol) -> None:
    with inside(pod), connected(protocol) as first, connected(protocol, port=53) as second:
        wanted = {stale(first), stale(second, port=53)}
        assert destroy_sockets(wanted, [pod]) == wanted
        assert is_aborted(first)
        assert is_aborted(second)


@pytest.mark.usefixtures("destroys_sockets")
def test_a_connection_that_is_half_closed_still_waits_for_its_backend(pod: Path) -> None:
    with inside(pod), connected(Protocol.TCP) as victim:
        victim.shutdown(socket.SHUT_WR)
        assert destroy_sockets({stale(victim)}, [pod]) == {stale(victim)}
        assert is_aborted(victim)


@pytest.mark.usefixtures("destroys_sockets")
def test_a_connection_in_the_making_waits_for_its_backend(pod: Path) -> None:
    """Its SYN is lost on the way: the other end of the cable takes no packets."""
    run("ip", "-n", pod.name, "link", "add", "void", "up", "type", "veth", "peer", "name", "end")
    run("ip", "-n", pod.name, "addr", "add", "192.0.2.2/24", "dev", "void")
    run("ip", "-n", pod.name, "neigh", "add", "192.0.2.1", "lladdr", "02:00:00:00:00:01", "dev", "void")
    with inside(pod), socket.socket() as victim:
        victim.setblocking(False)
        assert victim.connect_ex(("192.0.2.1", 53)) == errno.EINPROGRESS
        wanted = {stale(victim, "192.0.2.1", 53)}
        assert destroy_sockets(wanted, [pod]) == wanted
        assert victim.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNABORTED


def test_nothing_to_do_visits_nothing() -> None:
    assert destroy_sockets(set(), [Path("/nonexistent")]) == set()


@pytest.mark.usefixtures("destroys_sockets")
def test_a_vanished_namespace_is_left_out(pod: Path) -> None:
    with inside(pod), connected(Protocol.UDP) as victim:
        assert destroy_sockets({stale(victim)}, [pod / "gone", pod]) == {stale(victim)}


def test_an_unable_kernel_is_named_once_for_each_protocol(
    pod: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(diag: sock_diag.SockDiag, target: sock_diag.ConnectedSocket) -> bool:
        raise sock_diag.NotSupportedError

    monkeypatch.setattr(sock_diag.SockDiag, "destroy", refuse)
    sockets._warn_unsupported.cache_clear()
    with inside(pod), connected(Protocol.UDP) as udp, connected(Protocol.TCP) as tcp, caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert destroy_sockets({stale(udp), stale(tcp)}, [pod]) == set()
        assert not is_aborted(udp)
        assert not is_aborted(tcp)
    named = [record.message.split()[:2] for record in caplog.records if record.name == sockets.log.name]
    assert sorted(named) == [["socket_destroy_unsupported", f"protocol={name}"] for name in ("TCP", "UDP")]


@pytest.mark.usefixtures("destroys_sockets")
def test_a_failure_in_one_namespace_spares_no_other(
    pod: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    look = sock_diag.SockDiag.connected
    failures = [OSError(errno.ENOBUFS, "No buffer space available")]

    def fail_once(
        diag: sock_diag.SockDiag, protocol: Protocol, family: int, remote_port: int = 0
    ) -> list[sock_diag.ConnectedSocket]:
        if failures:
            raise failures.pop()
        return look(diag, protocol, family, remote_port)

    monkeypatch.setattr(sock_diag.SockDiag, "connected", fail_once)
    with inside(pod), connected(Protocol.TCP) as victim, caplog.at_level(logging.WARNING):
        assert destroy_sockets({stale(victim)}, [Path("/proc/self/ns/net"), pod]) == {stale(victim)}
    assert [record.message.split()[0] for record in caplog.records if record.name == sockets.log.name] == [
        "socket_destroy_failed"
    ]


def test_the_probe_says_what_the_kernel_does(pod: Path, protocol: Protocol) -> None:
    with inside(pod), connected(protocol) as victim:
        can = destroy_sockets({stale(victim)}, [pod]) == {stale(victim)}
        assert (protocol not in sock_diag.undestroyable()) == can


def test_cookies_tell_namespaces_apart(pod: Path) -> None:
    outside = netns_cookie()
    with inside(pod):
        assert netns_cookie() not in {None, outside}
