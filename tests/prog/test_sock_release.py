"""close() forgets what is remembered of a connected socket: not earlier, and of no other."""

import os
import socket
from collections.abc import Callable

import pytest

from ebpflb.core.abi import Family, FrontendKind, Protocol
from tests.prog.services import BACKEND_PORT, Service, tables
from tests.prog.sockets import Place, SocketLab, mapped
from tests.prog.world import address

pytestmark = pytest.mark.root

PORT = 80
TYPES = {Protocol.TCP: socket.SOCK_STREAM, Protocol.UDP: socket.SOCK_DGRAM}
NOTHING = {"sock_origins": 0, "sock_choices": 0}
OF_ONE = {Protocol.TCP: {"sock_origins": 1, "sock_choices": 0}, Protocol.UDP: {"sock_origins": 1, "sock_choices": 1}}
Remembered = Callable[[], dict[str, int]]


@pytest.fixture(name="lab")
def _lab(socket_labs: Callable[[], SocketLab]) -> SocketLab:
    lab = socket_labs()
    lab.serve(*Family)
    return lab


def end(name: str, view: str, port: int) -> tuple[str, int]:
    """Return an address and port as sockets of a kind name it: of IPv4, of IPv6, or of IPv6 that speaks IPv4."""
    if view == "mapped":
        return mapped(address(name, Family.IPV4)), port
    return address(name, Family[view]), port


def while_connected(view: str, protocol: Protocol, remembered: Remembered) -> list[dict[str, int]]:
    """Return what is remembered while two sockets are connected, when one is closed, and when both are."""
    family = socket.AF_INET if view == "IPV4" else socket.AF_INET6
    with socket.socket(family, TYPES[protocol]) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(end("pod", view, BACKEND_PORT))
        if protocol is Protocol.TCP:
            server.listen()
        clients = [socket.socket(family, TYPES[protocol]) for _ in range(2)]
        found = []
        for client in clients:
            client.connect(end("cluster", view, PORT))
        found.append(remembered())
        for client in clients:
            client.close()
            found.append(remembered())
        return found


@pytest.mark.parametrize("protocol", TYPES)
@pytest.mark.parametrize("view", ["IPV4", "IPV6", "mapped"])
def test_a_closed_socket_is_forgotten(lab: SocketLab, view: str, protocol: Protocol) -> None:
    family = Family.IPV6 if view == "IPV6" else Family.IPV4
    lab.load(tables(family, protocol, [Service(f"cluster:{PORT}", ("pod",), FrontendKind.CLUSTER_IP)]))
    seen = lab.call(Place.POD, while_connected, view, protocol, lambda: lab.remembered(family))
    one = OF_ONE[protocol]
    assert seen == [{name: 2 * count for name, count in one.items()}, one, NOTHING]


def with_a_copy(remembered: Remembered) -> list[dict[str, int]]:
    """Return what is remembered when one of two descriptors of a socket is closed, and when both are."""
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.connect(end("cluster", "IPV4", PORT))
    copy = os.dup(client.fileno())
    client.close()
    found = [remembered()]
    os.close(copy)
    return [*found, remembered()]


def test_a_socket_lives_as_long_as_a_descriptor(lab: SocketLab) -> None:
    lab.load(tables(Family.IPV4, Protocol.UDP, [Service(f"cluster:{PORT}", ("pod",), FrontendKind.CLUSTER_IP)]))
    seen = lab.call(Place.POD, with_a_copy, lambda: lab.remembered(Family.IPV4))
    assert seen == [OF_ONE[Protocol.UDP], NOTHING]


def with_others_closing(remembered: Remembered) -> dict[str, int]:
    """Return what is remembered after others than the one that is meant were closed."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(end("cluster", "IPV4", PORT))
        for peer in (end("pod", "IPV4", BACKEND_PORT), end("stranger", "IPV4", PORT)):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
                other.connect(peer)
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as other:
            other.connect(end("pod", "IPV4", BACKEND_PORT))
        return remembered()


def test_other_sockets_to_the_same_backend_take_nothing_along(lab: SocketLab) -> None:
    lab.load(tables(Family.IPV4, Protocol.UDP, [Service(f"cluster:{PORT}", ("pod",), FrontendKind.CLUSTER_IP)]))
    seen = lab.call(Place.POD, with_others_closing, lambda: lab.remembered(Family.IPV4))
    assert seen == OF_ONE[Protocol.UDP]
