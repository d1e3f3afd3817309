"""The rules of Services at the socket hooks: other ports of a ClusterIP, policies, and where NodePorts hold.

A socket hook answers by an error of the call, or gives it a backend, or leaves it alone; it never masquerades.
"""

import errno
import socket
from collections.abc import Callable
from dataclasses import replace

import pytest

from ebpflb.core.abi import Counter, Family, FrontendKind, Protocol
from tests.prog.services import BACKEND_PORT, Node, Service, tables
from tests.prog.sockets import Place, SocketLab
from tests.prog.world import address

pytestmark = pytest.mark.root

NODE_PORT = 30080
KINDS = {Protocol.TCP: socket.SOCK_STREAM, Protocol.UDP: socket.SOCK_DGRAM}
PASSED, REFUSED, TRANSLATED = (
    {Counter.SOCK_PASSED: 1},
    {Counter.SOCK_REJECTED: 1},
    {Counter.SOCK_TRANSLATED: 1},
)
CLUSTER_IP = Service("cluster:80", ("pod",), FrontendKind.CLUSTER_IP)
ON_NODE_PORTS = Service(f"any:{NODE_PORT}", ("pod",))
LOOPBACK = {Family.IPV4: "127.0.0.1", Family.IPV6: "::1"}
LATER = errno.EINPROGRESS
"""connect() is on its way: nobody refused the call."""


@pytest.fixture(name="lab_of")
def _lab_of(socket_labs: Callable[..., SocketLab], family: Family) -> Callable[..., SocketLab]:
    """Give a lab by the constants that it is built with."""

    def make(**constants: bool) -> SocketLab:
        lab = socket_labs(**constants)
        lab.serve(family)
        return lab

    return make


@pytest.fixture(name="lab")
def _lab(lab_of: Callable[..., SocketLab]) -> SocketLab:
    return lab_of()


def text_of(name: str, family: Family) -> str:
    return LOOPBACK[family] if name == "loopback" else address(name, family)


def dial(name: str, port: int, family: Family, protocol: Protocol) -> tuple[int, int]:
    """Connect; return the error, and to which port the packets go (0: to none, or none knows)."""
    with _client(family, protocol) as client, _listener(family, protocol):
        error = client.connect_ex((text_of(name, family), port))
        if error not in {0, LATER}:
            return error, 0
        return 0, _true_port(client, family)


def _client(family: Family, protocol: Protocol) -> socket.socket:
    made = socket.socket(socket.AF_INET if family is Family.IPV4 else socket.AF_INET6, KINDS[protocol])
    made.setblocking(False)
    return made


def _listener(family: Family, protocol: Protocol) -> socket.socket:
    """Bind where the backend is, so that no error comes back from there."""
    made = _client(family, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind((address("pod", family), BACKEND_PORT))
    if protocol is Protocol.TCP:
        made.listen()
    return made


def _true_port(client: socket.socket, family: Family) -> int:
    """Return the port of the peer as the kernel has it, which getpeername() may hide."""
    own = client.getsockname()[1]
    suffix = "6" if family is Family.IPV6 else ""
    name = ("tcp" if client.type is socket.SOCK_STREAM else "udp") + suffix
    with open(f"/proc/thread-self/net/{name}") as table:  # noqa: PTH123 - of the namespace that the thread is in
        for line in table.readlines()[1:]:
            local, remote = line.split()[1:3]
            if int(local.rpartition(":")[2], 16) == own and int(remote.rpartition(":")[2], 16):
                return int(remote.rpartition(":")[2], 16)
    return 0


def send_to(name: str, port: int, family: Family) -> int:
    """Send a datagram from a socket that is not connected; return the error."""
    with _client(family, Protocol.UDP) as client:
        try:
            client.sendto(b"question", (text_of(name, family), port))
        except OSError as error:
            return error.errno or -1
        return 0


@pytest.mark.parametrize("place", Place)
@pytest.mark.parametrize("protocol", KINDS)
def test_another_port_of_a_cluster_ip_is_refused_at_once(
    lab: SocketLab, family: Family, protocol: Protocol, place: Place
) -> None:
    lab.load(tables(family, protocol, [CLUSTER_IP]))
    with lab.counted(family) as counts:
        assert lab.call(place, dial, "cluster", 81, family, protocol) == (errno.ECONNREFUSED, 0)
    assert counts == REFUSED
    assert lab.remembered(family) == {"sock_origins": 0, "sock_choices": 0}


def test_a_datagram_to_another_port_is_refused_at_once(lab: SocketLab, family: Family) -> None:
    lab.load(tables(family, Protocol.UDP, [CLUSTER_IP]))
    with lab.counted(family) as counts:
        assert lab.call(Place.POD, send_to, "cluster", 81, family) == errno.ECONNREFUSED
    assert counts == REFUSED


def test_another_protocol_of_a_cluster_ip_is_refused(lab: SocketLab, family: Family) -> None:
    lab.load(tables(family, Protocol.UDP, [CLUSTER_IP]))
    seen = lab.call(Place.POD, dial, "cluster", 80, family, Protocol.TCP)
    assert seen == (errno.ECONNREFUSED, 0)


@pytest.mark.parametrize("kind", [FrontendKind.LOAD_BALANCER, FrontendKind.EXTERNAL_IP])
@pytest.mark.parametrize("protocol", KINDS)
def test_another_port_of_any_other_address_is_left_alone(
    lab: SocketLab, family: Family, protocol: Protocol, kind: FrontendKind
) -> None:
    lab.load(tables(family, protocol, [replace(CLUSTER_IP, kind=kind)]))
    with lab.counted(family) as counts:
        assert lab.call(Place.POD, dial, "cluster", 81, family, protocol)[0] == 0
    assert counts == PASSED


@pytest.mark.parametrize("protocol", KINDS)
def test_an_address_that_no_service_has_is_left_to_the_packet_hooks(
    lab: SocketLab, family: Family, protocol: Protocol
) -> None:
    """A call cannot be dropped in silence; its packets are."""
    lab.load(tables(family, protocol, [], node=Node(cidrs=(("cluster", 16),))))
    with lab.counted(family) as counts:
        assert lab.call(Place.POD, dial, "cluster", 80, family, protocol)[0] == 0
    assert counts == PASSED


def test_an_opted_out_namespace_is_not_refused_another_port(lab: SocketLab, family: Family) -> None:
    served = tables(family, Protocol.UDP, [CLUSTER_IP])
    lab.load(replace(served, opt_outs={lab.cookies[Place.POD]: 0}))
    assert lab.call(Place.POD, dial, "cluster", 81, family, Protocol.UDP) == (0, 81)
    assert lab.call(Place.HOST, dial, "cluster", 81, family, Protocol.UDP) == (errno.ECONNREFUSED, 0)


def test_kernels_that_cannot_say_refused_leave_it_to_the_packet_hooks(
    lab_of: Callable[..., SocketLab], family: Family
) -> None:
    lab = lab_of(have_set_retval=False)
    lab.load(tables(family, Protocol.UDP, [CLUSTER_IP]))
    assert lab.call(Place.POD, dial, "cluster", 81, family, Protocol.UDP) == (0, 81)


@pytest.mark.parametrize("protocol", KINDS)
def test_loopback_has_node_ports_for_the_host(lab: SocketLab, family: Family, protocol: Protocol) -> None:
    lab.load(tables(family, protocol, [ON_NODE_PORTS]))
    with lab.counted(family) as counts:
        assert lab.call(Place.HOST, dial, "loopback", NODE_PORT, family, protocol) == (0, BACKEND_PORT)
    assert counts == TRANSLATED


def test_loopback_of_a_pod_is_its_own(lab: SocketLab, family: Family) -> None:
    lab.load(tables(family, Protocol.UDP, [ON_NODE_PORTS]))
    with lab.counted(family) as counts:
        assert lab.call(Place.POD, dial, "loopback", NODE_PORT, family, Protocol.UDP) == (0, NODE_PORT)
    assert counts == PASSED


@pytest.mark.parametrize("name", ["loopback", "any"])
def test_loopback_node_ports_can_be_switched_off(lab: SocketLab, family: Family, name: str) -> None:
    """The unspecified address, dialled, is loopback."""
    lab.load(tables(family, Protocol.UDP, [ON_NODE_PORTS], node=Node(loopback_node_ports=False)))
    with lab.counted(family) as counts:
        assert lab.call(Place.HOST, dial, name, NODE_PORT, family, Protocol.UDP) == (0, NODE_PORT)
    assert counts == PASSED


@pytest.mark.parametrize("place", Place)
def test_node_ports_hold_where_they_are_configured(lab: SocketLab, family: Family, place: Place) -> None:
    node = Node(node_ports_at=("node",), addresses=("stranger",))
    lab.load(tables(family, Protocol.UDP, [ON_NODE_PORTS], node=node))
    assert lab.call(place, dial, "stranger", NODE_PORT, family, Protocol.UDP) == (0, NODE_PORT)
    assert lab.call(place, dial, "node", NODE_PORT, family, Protocol.UDP) == (0, BACKEND_PORT)


@pytest.mark.parametrize("kind", [FrontendKind.LOAD_BALANCER, FrontendKind.EXTERNAL_IP])
@pytest.mark.parametrize("protocol", KINDS)
def test_the_policy_for_clients_outside_binds_no_socket(
    lab: SocketLab, family: Family, protocol: Protocol, kind: FrontendKind
) -> None:
    """Sockets of this node are those of its pods and its own: both may use every backend."""
    service = Service("cluster:80", ("remote",), kind, local_policy=True)
    lab.load(tables(family, protocol, [service]))
    with lab.counted(family) as counts:
        lab.call(Place.POD, dial, "cluster", 80, family, protocol)
    assert counts == TRANSLATED


OWN_BALANCER = Service("stranger:80", ("pod",), FrontendKind.LOAD_BALANCER, source_ranges=(("stranger", 32),))
"""An address that the node has itself, as balancers want it that announce their addresses from a node."""


@pytest.mark.parametrize(
    ("place", "allowed", "counted"),
    [
        (Place.HOST, "stranger", TRANSLATED),
        (Place.HOST, "client", REFUSED),
        (Place.POD, "stranger", {Counter.SOCK_OPTED_OUT: 1}),
    ],
)
def test_a_node_that_dials_its_own_balancers_address_is_asked_here(
    lab: SocketLab, family: Family, place: Place, allowed: str, counted: dict[Counter, int]
) -> None:
    """It would come from that very address, by loopback, where no packet is met; others are asked by their packets."""
    service = replace(OWN_BALANCER, source_ranges=((allowed, 32),))
    lab.load(tables(family, Protocol.UDP, [service], node=Node(addresses=("stranger",))))
    with lab.counted(family) as counts:
        lab.call(place, dial, "stranger", 80, family, Protocol.UDP)
    assert counts == counted


@pytest.mark.parametrize("place", Place)
@pytest.mark.parametrize("protocol", KINDS)
def test_a_cluster_ip_without_a_backend_here_refuses(
    lab: SocketLab, family: Family, protocol: Protocol, place: Place
) -> None:
    """The packet hooks drop; a call that hangs helps nobody (ADR 8)."""
    lab.load(tables(family, protocol, [replace(CLUSTER_IP, backends=("remote",), local_policy=True)]))
    with lab.counted(family) as counts:
        assert lab.call(place, dial, "cluster", 80, family, protocol) == (errno.ECONNREFUSED, 0)
    assert counts == REFUSED


@pytest.mark.parametrize("protocol", KINDS)
def test_a_backend_here_is_all_that_the_internal_policy_allows(
    lab: SocketLab, family: Family, protocol: Protocol
) -> None:
    lab.load(tables(family, protocol, [replace(CLUSTER_IP, backends=("remote", "pod"), local_policy=True)]))
    seen = {lab.call(Place.POD, dial, "cluster", 80, family, protocol) for _ in range(8)}
    assert seen == {(0, BACKEND_PORT)}
