"""bind() to the port of a NodePort: refused to processes of the host, and to nobody else."""

import errno
import socket
from collections.abc import Callable
from typing import NamedTuple

import pytest

from ebpflb.core.abi import Counter, Family, FrontendKind, Protocol
from tests.prog.services import Node, Service, tables
from tests.prog.sockets import Place, SocketLab, mapped
from tests.prog.world import address

pytestmark = pytest.mark.root

NODE_PORT = 30080
CLUSTER_PORT = 30090
"""A ClusterIP's port protects nothing: it is not the node's."""
SERVICES = (
    Service(f"any:{NODE_PORT}", ("pod",)),
    Service(f"cluster:{CLUSTER_PORT}", ("pod",), FrontendKind.CLUSTER_IP, id=2),
)
TYPES = {Protocol.TCP: socket.SOCK_STREAM, Protocol.UDP: socket.SOCK_DGRAM}
REFUSED = {Counter.BIND_REFUSED: 1}
ANY, LOOPBACK = {Family.IPV4: "0.0.0.0", Family.IPV6: "::"}, {Family.IPV4: "127.0.0.1", Family.IPV6: "::1"}


def bind(text: str, port: int, protocol: Protocol = Protocol.TCP, *, ipv6_only: bool = False) -> tuple[int, int]:
    """Return the error of a bind() (0: none), and of one to a free port with the same socket."""
    family = socket.AF_INET6 if ":" in text else socket.AF_INET
    with socket.socket(family, TYPES[protocol]) as server:
        if family is socket.AF_INET6:
            server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, ipv6_only)
        return tuple(_bind(server, text, each) for each in (port, 0))  # type: ignore[return-value]


def _bind(server: socket.socket, text: str, port: int) -> int:
    try:
        server.bind((text, port))
    except OSError as error:
        return error.errno or -1
    return 0


ALLOWED = 0, errno.EINVAL
"""It is bound, and cannot be bound again."""
IN_USE = errno.EADDRINUSE, 0
"""The kernel's words for a port that is taken; the socket is as it was."""


@pytest.fixture(name="lab_of")
def _lab_of(socket_labs: Callable[..., SocketLab]) -> Callable[..., SocketLab]:
    """Give a lab that serves some families, by the constants that it is built with."""

    def make(*families: Family, **constants: bool) -> SocketLab:
        lab = socket_labs(**constants)
        lab.serve(*families)
        for family in families:
            lab.load(tables(family, Protocol.TCP, SERVICES))
        return lab

    return make


@pytest.mark.parametrize("where", ["any", "loopback", "node"])
def test_a_node_port_is_taken(lab_of: Callable[..., SocketLab], family: Family, where: str) -> None:
    text = {"any": ANY[family], "loopback": LOOPBACK[family], "node": address("node", family)}[where]
    lab = lab_of(family)
    with lab.counted(family) as counts:
        assert lab.call(Place.HOST, bind, text, NODE_PORT) == IN_USE
    assert counts == REFUSED


class Bind(NamedTuple):
    """A call of bind()."""

    place: Place = Place.HOST
    where: str = "any"
    port: int = NODE_PORT
    protocol: Protocol = Protocol.TCP


@pytest.mark.parametrize(
    "call",
    [
        Bind(Place.POD),
        Bind(Place.POD, "node"),
        Bind(where="stranger"),
        Bind(protocol=Protocol.UDP),
        Bind(port=NODE_PORT + 1),
        Bind(port=0),
        Bind(port=CLUSTER_PORT),
        Bind(where="cluster", port=CLUSTER_PORT),
    ],
)
def test_everything_else_may_be_bound(lab_of: Callable[..., SocketLab], family: Family, call: Bind) -> None:
    lab = lab_of(family)
    with lab.counted(family) as counts:
        assert lab.call(call.place, bind, address(call.where, family), call.port, call.protocol) == ALLOWED
    assert counts == {}


ELSEWHERE = Node(addresses=("stranger",), loopback_node_ports=False)


@pytest.mark.parametrize(
    ("where", "outcome"), [("stranger", ALLOWED), ("loopback", ALLOWED), ("node", IN_USE), ("any", IN_USE)]
)
def test_where_no_node_ports_hold_their_ports_are_free(
    lab_of: Callable[..., SocketLab], family: Family, where: str, outcome: tuple[int, int]
) -> None:
    """``nodePortAddresses`` leaves out an address of the node, and loopback."""
    text = {"any": ANY[family], "loopback": LOOPBACK[family]}.get(where) or address(where, family)
    lab = lab_of(family)
    lab.load(tables(family, Protocol.TCP, SERVICES, node=ELSEWHERE))
    assert lab.call(Place.HOST, bind, text, NODE_PORT) == outcome


def test_udp_ports_are_protected_by_udp_services(lab_of: Callable[..., SocketLab], family: Family) -> None:
    lab = lab_of(family)
    lab.load(tables(family, Protocol.UDP, SERVICES))
    assert lab.call(Place.HOST, bind, ANY[family], NODE_PORT, Protocol.UDP) == IN_USE
    assert lab.call(Place.HOST, bind, ANY[family], NODE_PORT, Protocol.TCP) == ALLOWED


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("::", IN_USE),
        ("::ffff:0.0.0.0", IN_USE),
        (mapped("127.0.0.1"), IN_USE),
        (mapped(address("node", Family.IPV4)), IN_USE),
        (mapped(address("stranger", Family.IPV4)), ALLOWED),
        ("::1", ALLOWED),
        (address("node", Family.IPV6), ALLOWED),
    ],
)
def test_ipv6_sockets_do_not_take_the_node_ports_of_ipv4(
    lab_of: Callable[..., SocketLab], text: str, outcome: tuple[int, int]
) -> None:
    lab = lab_of(Family.IPV4)
    with lab.counted(Family.IPV4) as counts:
        assert lab.call(Place.HOST, bind, text, NODE_PORT) == outcome
    assert counts == (REFUSED if outcome == IN_USE else {})
    assert lab.call(Place.POD, bind, text, NODE_PORT) == ALLOWED


def test_the_node_ports_of_ipv6_leave_mapped_addresses_alone(lab_of: Callable[..., SocketLab]) -> None:
    lab = lab_of(Family.IPV6)
    assert lab.call(Place.HOST, bind, mapped("127.0.0.1"), NODE_PORT) == ALLOWED
    assert lab.call(Place.HOST, bind, "0.0.0.0", NODE_PORT) == ALLOWED


def test_both_families_side_by_side(lab_of: Callable[..., SocketLab]) -> None:
    """A Service of one family protects its own; which socket is for IPv6 only, a program cannot see."""
    lab = lab_of(Family.IPV4, Family.IPV6)
    lab.load(tables(Family.IPV6, Protocol.TCP, ()))
    with lab.counted(Family.IPV4) as ipv4, lab.counted(Family.IPV6) as ipv6:
        assert lab.call(Place.HOST, bind, "::", NODE_PORT) == IN_USE
        assert lab.call(Place.HOST, bind, "::", NODE_PORT, ipv6_only=True) == IN_USE
        assert lab.call(Place.HOST, bind, "::1", NODE_PORT) == ALLOWED
    assert (ipv4, ipv6) == ({Counter.BIND_REFUSED: 2}, {})
    lab.load(tables(Family.IPV6, Protocol.TCP, SERVICES))
    lab.load(tables(Family.IPV4, Protocol.TCP, ()))
    with lab.counted(Family.IPV4) as ipv4, lab.counted(Family.IPV6) as ipv6:
        assert lab.call(Place.HOST, bind, "::", NODE_PORT) == IN_USE
        assert lab.call(Place.HOST, bind, "0.0.0.0", NODE_PORT) == ALLOWED
    assert (ipv4, ipv6) == ({}, REFUSED)


def test_a_service_that_is_gone_gives_its_port_back(lab_of: Callable[..., SocketLab], family: Family) -> None:
    lab = lab_of(family)
    lab.load(tables(family, Protocol.TCP, ()))
    assert lab.call(Place.HOST, bind, ANY[family], NODE_PORT) == ALLOWED


def test_protection_can_be_switched_off(lab_of: Callable[..., SocketLab], family: Family) -> None:
    lab = lab_of(family, protect_node_ports=False)
    with lab.counted(family) as counts:
        assert lab.call(Place.HOST, bind, ANY[family], NODE_PORT) == ALLOWED
    assert counts == {}


def test_old_kernels_say_not_permitted(lab_of: Callable[..., SocketLab]) -> None:
    lab = lab_of(Family.IPV4, have_set_retval=False)
    with lab.counted(Family.IPV4) as counts:
        assert lab.call(Place.HOST, bind, "0.0.0.0", NODE_PORT) == (errno.EPERM, 0)
    assert counts == REFUSED
