"""Real UDP sockets in namespaces of the test: destroyed are the named ones, and no other."""

import errno
import logging
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from ebpflb.host import sock_diag, sockets
from ebpflb.host.namespaces import network_namespaces
from ebpflb.host.netns_cookie import netns_cookie
from ebpflb.host.sockets import StaleSocket, destroy_udp_sockets
from tests.netns.host_helpers import inside, namespace

pytestmark = pytest.mark.root

BACKEND = ("127.0.0.9", 5353)


def cookie_of(udp: socket.socket) -> int:
    (cookie,) = struct.unpack("=Q", udp.getsockopt(socket.SOL_SOCKET, 57, 8))
    return int(cookie)


def stale(udp: socket.socket, address: str = BACKEND[0], port: int = BACKEND[1]) -> StaleSocket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return StaleSocket(cookie_of(udp), socket.inet_pton(family, address), port)


def connected(family: socket.AddressFamily = socket.AF_INET, address: str = BACKEND[0]) -> socket.socket:
    udp = socket.socket(family, socket.SOCK_DGRAM)
    udp.setblocking(False)
    udp.connect((address, BACKEND[1]))
    return udp


def is_aborted(udp: socket.socket) -> bool:
    try:
        udp.recv(1)
    except OSError as error:
        return error.errno == errno.ECONNABORTED
    return False


@pytest.fixture
def pod() -> Iterator[Path]:
    with namespace("sock") as path:
        yield path


@pytest.mark.usefixtures("destroys_sockets")
def test_destroys_only_the_named_socket_in_another_namespace(pod: Path) -> None:
    with inside(pod), connected() as victim, connected() as sibling, connected(address="127.0.0.8") as other:
        wanted = {stale(victim)}
        home = netns_cookie()
        assert destroy_udp_sockets(wanted, [pod]) == 1
        assert netns_cookie() == home
        assert is_aborted(victim)
        assert not is_aborted(sibling)
        assert not is_aborted(other)


@pytest.mark.usefixtures("destroys_sockets")
def test_finds_the_namespace_by_itself_from_outside(pod: Path) -> None:
    with inside(pod):
        victim = connected()
    with victim:
        before = netns_cookie()
        assert destroy_udp_sockets({stale(victim)}) == 1
        assert is_aborted(victim)
        assert netns_cookie() == before


def test_spares_a_socket_that_has_moved_to_another_backend(pod: Path) -> None:
    with inside(pod), connected() as moved, connected() as elsewhere:
        remembered = {stale(moved), stale(elsewhere, port=5354)}
        moved.connect(("127.0.0.7", BACKEND[1]))
        assert destroy_udp_sockets(remembered, [pod]) == 0
        assert not is_aborted(moved)
        assert not is_aborted(elsewhere)


def test_spares_unconnected_sockets(pod: Path) -> None:
    with inside(pod), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unconnected:
        unconnected.setblocking(False)
        unconnected.bind(("127.0.0.1", 0))
        assert destroy_udp_sockets({stale(unconnected)}, [pod]) == 0
        assert not is_aborted(unconnected)


@pytest.mark.usefixtures("destroys_sockets")
@pytest.mark.parametrize(("dialled", "address"), [("::1", "::1"), ("::ffff:127.0.0.9", "127.0.0.9")])
def test_destroys_ipv6_and_v4_mapped_sockets(pod: Path, dialled: str, address: str) -> None:
    with inside(pod), connected(socket.AF_INET6, dialled) as victim:
        assert destroy_udp_sockets({stale(victim, address)}, [pod]) == 1
        assert is_aborted(victim)


@pytest.mark.usefixtures("destroys_sockets")
def test_several_backend_ports_in_one_call(pod: Path) -> None:
    with inside(pod), connected() as first, connected() as second:
        second.connect((BACKEND[0], 53))
        assert destroy_udp_sockets({stale(first), stale(second, port=53)}, [pod]) == 2
        assert is_aborted(first)
        assert is_aborted(second)


def test_nothing_to_do_visits_nothing() -> None:
    assert destroy_udp_sockets(set(), [Path("/nonexistent")]) == 0


@pytest.mark.usefixtures("destroys_sockets")
def test_a_vanished_namespace_is_left_out(pod: Path) -> None:
    with inside(pod), connected() as victim:
        assert destroy_udp_sockets({stale(victim)}, [pod / "gone", pod]) == 1


def test_an_unable_kernel_is_named_once(
    pod: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(diag: sock_diag.SockDiag, target: sock_diag.UdpSocket) -> bool:
        raise sock_diag.NotSupportedError

    monkeypatch.setattr(sock_diag.SockDiag, "destroy", refuse)
    sockets._warn_unsupported.cache_clear()
    with inside(pod), connected() as victim, caplog.at_level(logging.WARNING):
        assert destroy_udp_sockets({stale(victim)}, [pod]) == 0
        assert destroy_udp_sockets({stale(victim)}, [pod]) == 0
        assert not is_aborted(victim)
    assert [record.message.split()[0] for record in caplog.records] == ["socket_destroy_unsupported"]


def test_each_namespace_is_listed_once(pod: Path) -> None:
    found = [path.stat().st_ino for path in network_namespaces()]
    assert len(found) == len(set(found))
    assert pod.stat().st_ino in found
    assert Path("/proc/self/ns/net").stat().st_ino in found


def test_the_probe_says_what_the_kernel_does(pod: Path) -> None:
    with inside(pod), connected() as victim:
        assert sock_diag.can_destroy() == (destroy_udp_sockets({stale(victim)}, [pod]) == 1)


def test_cookies_tell_namespaces_apart(pod: Path) -> None:
    outside = netns_cookie()
    with inside(pod):
        assert netns_cookie() not in {None, outside}
