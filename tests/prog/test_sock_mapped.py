"""IPv6 sockets that speak IPv4, by ::ffff:a.b.c.d: served by the IPv4 build, passed over by the IPv6 build."""

import socket
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import pytest

from ebpflb.core.abi import Counter, Family, FrontendKind, MemberSet, Protocol
from ebpflb.core.tables import MemberKey, Tables
from tests.prog.services import BACKEND_IDS, BACKEND_PORT, SERVICE_ID, Service, tables
from tests.prog.sockets import PATIENCE_S, Place, SocketLab, first_asked, mapped
from tests.prog.world import address

pytestmark = pytest.mark.root

PORT = 80
NODE_PORT = 30080
TRIES = 8
"""Sockets, each of which could have been given another backend."""
TRANSLATED, RESTORED, PASSED = Counter.SOCK_TRANSLATED, Counter.SOCK_RESTORED, Counter.SOCK_PASSED
CLUSTER, POD = mapped(address("cluster", Family.IPV4)), mapped(address("pod", Family.IPV4))
POD2, STRANGER = mapped(address("pod2", Family.IPV4)), mapped(address("stranger", Family.IPV4))


class Call(NamedTuple):
    """What a client and the servers saw of one exchange."""

    server: tuple[str, int]
    """The address that was reached."""
    peer: tuple[str, int]
    """The address that the client was shown."""


def dual_stack(kind: socket.SocketKind) -> socket.socket:
    made = socket.socket(socket.AF_INET6, kind)
    made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.settimeout(PATIENCE_S)
    return made


def end(found: tuple[object, ...]) -> tuple[str, int]:
    host, port, *_rest = found
    assert isinstance(host, str)
    assert isinstance(port, int)
    return host, port


def tcp(server: tuple[str, int], dialled: tuple[str, int]) -> Call:
    """Connect, while one listens."""
    with dual_stack(socket.SOCK_STREAM) as listener, dual_stack(socket.SOCK_STREAM) as client:
        listener.bind(server)
        listener.listen()
        client.connect(dialled)
        accepted, _peer = listener.accept()
        with accepted:
            return Call(end(accepted.getsockname()), end(client.getpeername()))


def udp(server: tuple[str, int], dialled: tuple[str, int]) -> Call:
    """Send from a connected socket, and hear the answer."""
    with dual_stack(socket.SOCK_DGRAM) as listener, dual_stack(socket.SOCK_DGRAM) as client:
        listener.bind(server)
        client.connect(dialled)
        client.send(b"question")
        _data, peer = listener.recvfrom(100)
        listener.sendto(b"answer", peer)
        assert client.recv(100) == b"answer"
        return Call(end(listener.getsockname()), end(client.getpeername()))


def udp_unconnected(server: tuple[str, int], dialled: tuple[str, int]) -> Call:
    """Send by sendto(), and hear from whom the answer is."""
    with dual_stack(socket.SOCK_DGRAM) as listener, dual_stack(socket.SOCK_DGRAM) as client:
        listener.bind(server)
        client.sendto(b"question", dialled)
        _data, peer = listener.recvfrom(100)
        listener.sendto(b"answer", peer)
        data, sender = client.recvfrom(100)
        assert data == b"answer"
        return Call(end(listener.getsockname()), end(sender))


SENDS_TO_NO_SERVICE: dict[Callable[..., Call], dict[Counter, int]] = {
    tcp: {},
    udp: {PASSED: 2},
    udp_unconnected: {PASSED: 1},
}
"""The server's answer; and send() on a connected socket, which names its peer to the kernel's IPv4 side each time."""
CLIENTS = [(tcp, Protocol.TCP), (udp, Protocol.UDP), (udp_unconnected, Protocol.UDP)]
Client = Callable[[tuple[str, int], tuple[str, int]], Call]


def rows(family: Family, protocol: Protocol, *backends: str) -> Tables:
    """Return a Service with these backends at the ClusterIP and as NodePort."""
    services = (
        Service(f"cluster:{PORT}", backends, FrontendKind.CLUSTER_IP),
        Service(f"any:{NODE_PORT}", backends),
    )
    every = MemberSet.CLUSTER | MemberSet.LOCAL | MemberSet.SERVING
    members = {MemberKey(SERVICE_ID, BACKEND_IDS[name]): every for name in backends}
    return replace(tables(family, protocol, services), members=members)


@pytest.fixture(params=[(Family.IPV4,), tuple(Family)], ids=["IPV4", "both"])
def lab(request: pytest.FixtureRequest, socket_labs: Callable[[], SocketLab]) -> SocketLab:
    """The IPv4 build alone, and side by side with the IPv6 build on the same hooks."""
    lab = socket_labs()
    lab.serve(*request.param)
    return lab


@pytest.mark.parametrize(("client", "protocol"), CLIENTS)
@pytest.mark.parametrize(
    ("place", "dialled"),
    [
        (Place.POD, (CLUSTER, PORT)),
        (Place.HOST, (CLUSTER, PORT)),
        (Place.POD, (mapped(address("node", Family.IPV4)), NODE_PORT)),
        (Place.HOST, (mapped("127.0.0.1"), NODE_PORT)),
    ],
)
def test_a_client_reaches_a_backend_and_sees_the_service(
    lab: SocketLab, place: Place, dialled: tuple[str, int], client: Client, protocol: Protocol
) -> None:
    lab.load(rows(Family.IPV4, protocol, "pod"))
    with lab.counted(Family.IPV4) as counts:
        seen = lab.call(place, client, (POD, BACKEND_PORT), dialled)
    assert seen == Call((POD, BACKEND_PORT), dialled)
    assert counts == {TRANSLATED: 1, RESTORED: 1} | SENDS_TO_NO_SERVICE[client]


@pytest.mark.parametrize(("client", "protocol"), CLIENTS)
@pytest.mark.parametrize("families", [(Family.IPV6,), tuple(Family)], ids=["alone", "both"])
def test_the_ipv6_build_does_not_see_mapped_calls(
    socket_labs: Callable[[], SocketLab], families: tuple[Family, ...], client: Client, protocol: Protocol
) -> None:
    lab = socket_labs()
    lab.serve(*families)
    for family in Family:
        lab.load(rows(family, protocol, "pod"))
    reached = (POD, BACKEND_PORT) if Family.IPV4 in families else (CLUSTER, PORT)
    with lab.counted(Family.IPV6) as counts:
        seen = lab.call(Place.POD, client, reached, (CLUSTER, PORT))
    assert (seen, counts) == (Call(reached, (CLUSTER, PORT)), {})


@pytest.mark.parametrize(("client", "protocol"), CLIENTS)
def test_the_ipv4_build_does_not_see_calls_by_ipv6(lab: SocketLab, client: Client, protocol: Protocol) -> None:
    lab.load(rows(Family.IPV4, protocol, "pod"))
    target = address("stranger", Family.IPV6), PORT
    with lab.counted(Family.IPV4) as counts:
        assert lab.call(Place.POD, client, target, target) == Call(target, target)
    assert counts == {}


@pytest.mark.parametrize(("client", "protocol"), CLIENTS)
def test_both_families_serve_their_own(
    socket_labs: Callable[[], SocketLab], client: Client, protocol: Protocol
) -> None:
    lab = socket_labs()
    lab.serve(*Family)
    for family in Family:
        lab.load(rows(family, protocol, "pod"))
    cluster, pod = (address(name, Family.IPV6) for name in ("cluster", "pod"))
    seen = lab.call(Place.POD, client, (pod, BACKEND_PORT), (cluster, PORT))
    assert seen == Call((pod, BACKEND_PORT), (cluster, PORT))
    assert lab.call(Place.POD, client, (POD, BACKEND_PORT), (CLUSTER, PORT)).server == (POD, BACKEND_PORT)


@pytest.mark.parametrize(("client", "protocol"), CLIENTS)
def test_no_service_is_no_business_of_ours(lab: SocketLab, client: Client, protocol: Protocol) -> None:
    lab.load(rows(Family.IPV4, protocol, "pod"))
    with lab.counted(Family.IPV4) as counts:
        seen = lab.call(Place.POD, client, (STRANGER, PORT), (STRANGER, PORT))
    assert seen == Call((STRANGER, PORT), (STRANGER, PORT))
    assert counts == {PASSED: 1 + SENDS_TO_NO_SERVICE[client].get(PASSED, 0)}


@pytest.mark.parametrize(("client", "protocol"), CLIENTS)
def test_without_backends_the_call_fails_at_once(lab: SocketLab, client: Client, protocol: Protocol) -> None:
    lab.load(rows(Family.IPV4, protocol))
    with lab.counted(Family.IPV4) as counts, pytest.raises(ConnectionRefusedError):
        lab.call(Place.POD, client, (STRANGER, PORT), (CLUSTER, PORT))
    assert counts == {Counter.SOCK_REJECTED: 1}


def send_twice(dialled: tuple[str, int]) -> list[tuple[str, int]]:
    """Return who heard each of two datagrams of one socket, of two servers."""
    heard = []
    with dual_stack(socket.SOCK_DGRAM) as one, dual_stack(socket.SOCK_DGRAM) as two:
        servers = {POD: one, POD2: two}
        for text, server in servers.items():
            server.bind((text, BACKEND_PORT))
        with dual_stack(socket.SOCK_DGRAM) as client:
            for _ in range(2):
                client.sendto(b"question", dialled)
                server = first_asked(servers.values())
                server.recvfrom(100)
                heard.append(end(server.getsockname()))
    return heard


def test_a_udp_socket_stays_with_its_backend(lab: SocketLab) -> None:
    lab.load(rows(Family.IPV4, Protocol.UDP, "pod", "pod2"))
    heard = [lab.call(Place.POD, send_twice, (CLUSTER, PORT)) for _ in range(TRIES)]
    assert [first for first, _ in heard] == [second for _, second in heard]
