"""What is remembered of sockets is the same whether their row is theirs, another's, or holds their first pair."""

import socket
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from ebpflb.core.abi import Family, FrontendKind, Protocol
from tests.prog.services import BACKEND_PORT, Service, tables
from tests.prog.sockets import PATIENCE_S, Place, SocketLab
from tests.prog.world import address

pytestmark = pytest.mark.root

PORT = 80
ROWS = 1024
"""A quarter of the lab's ``sockets``."""
SOCKETS = ROWS + 100
Ends = list[tuple[str, int]]
Remembered = Callable[[], dict[str, int]]


@pytest.fixture(name="lab")
def _lab(socket_labs: Callable[[], SocketLab]) -> SocketLab:
    lab = socket_labs()
    lab.serve(*Family)
    lab.load(tables(Family.IPV4, Protocol.UDP, [service("cluster", "pod"), service("stranger", "pod2")]))
    return lab


def service(name: str, backend: str) -> Service:
    return Service(f"{name}:{PORT}", (backend,), FrontendKind.CLUSTER_IP)


def end(name: str, port: int = PORT) -> tuple[str, int]:
    return address(name, Family.IPV4), port


def with_more_sockets_than_rows(remembered: Remembered) -> tuple[Ends, list[dict[str, int]]]:
    """Return whom each believes to be connected to, and what is remembered: of all, of those in between, of none."""
    with ExitStack() as stack:
        clients = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(SOCKETS)]
        for client in clients:
            client.connect(end("cluster"))
        peers = [client.getpeername() for client in clients]
        found = [remembered()]
        for client in clients[:ROWS]:
            client.close()
        found.append(remembered())
        peers += [client.getpeername() for client in clients[ROWS:]]
    return peers, [*found, remembered()]


def test_who_finds_its_row_taken_is_remembered_all_the_same(lab: SocketLab) -> None:
    peers, found = lab.call(Place.POD, with_more_sockets_than_rows, lambda: lab.remembered(Family.IPV4))
    assert set(peers) == {end("cluster")}
    left = SOCKETS - ROWS
    assert found == [dict.fromkeys(("sock_origins", "sock_choices"), count) for count in (SOCKETS, left, 0)]


def asking_two_services(remembered: Remembered) -> tuple[Ends, list[dict[str, int]]]:
    """Return who answers a socket that is not connected, and what is remembered before and after it is closed."""
    with ExitStack() as stack:
        servers = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(2)]
        for server, name in zip(servers, ("pod", "pod2"), strict=True):
            server.bind(end(name, BACKEND_PORT))
        client = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        client.settimeout(PATIENCE_S)
        peers = []
        for server, name in zip(servers * 2, ("cluster", "stranger") * 2, strict=True):
            client.sendto(b"?", end(name))
            server.sendto(b"!", server.recvfrom(9)[1])
            peers.append(client.recvfrom(9)[1])
        found = [remembered()]
        client.close()
        return peers, [*found, remembered()]


def test_a_socket_may_talk_to_several_services(lab: SocketLab) -> None:
    peers, found = lab.call(Place.POD, asking_two_services, lambda: lab.remembered(Family.IPV4))
    assert peers == [end("cluster"), end("stranger")] * 2
    # Nobody can find the second pair of an unconnected socket by the socket alone: newer ones push it out.
    assert found == [{"sock_origins": 2, "sock_choices": 2}, {"sock_origins": 1, "sock_choices": 1}]


def connecting_again(remembered: Remembered) -> tuple[Ends, dict[str, int]]:
    """Return whom a TCP socket is connected to at last that was refused once, and what is remembered of it."""
    with socket.socket() as server, socket.socket() as client:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(end("pod2", BACKEND_PORT))
        server.listen()
        with pytest.raises(ConnectionRefusedError):
            client.connect(end("cluster"))
        client.connect(end("stranger"))
        return [client.getpeername()], remembered()


def test_a_tcp_socket_has_one_pair(lab: SocketLab) -> None:
    lab.load(tables(Family.IPV4, Protocol.TCP, [service("cluster", "pod"), service("stranger", "pod2")]))
    peers, found = lab.call(Place.POD, connecting_again, lambda: lab.remembered(Family.IPV4))
    assert peers == [end("stranger")]
    assert found == {"sock_origins": 1, "sock_choices": 0}


def test_what_is_removed_is_forgotten(lab: SocketLab) -> None:
    """Python frees the row under its lock; the socket, which still lives, is shown its backend."""

    def connected() -> Ends:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.connect(end("cluster"))
            before = client.getpeername()
            lab.load(tables(Family.IPV4, Protocol.UDP, []))
            return [before, client.getpeername()]

    assert lab.call(Place.POD, connected) == [end("cluster"), end("pod", BACKEND_PORT)]
