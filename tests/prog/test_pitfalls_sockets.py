"""What breaks other load balancers, shown by calls of processes: tests named by the classes of docs/pitfalls.md."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import pytest

from ebpflb.core.abi import Family, FrontendKind, Protocol
from ebpflb.core.tables import Tables
from ebpflb.datapath.kernel_sockets import SocketBits, socket_bits
from ebpflb.datapath.stale import SocketMaps, TcpSockets, find_stale
from ebpflb.datapath.store import open_map
from tests.prog.services import BACKEND_PORT, GENERATION, Service, tables
from tests.prog.sockets import Place, SocketLab
from tests.prog.test_sock_exempt import mptcp_destinations, reached
from tests.prog.world import address

pytestmark = pytest.mark.root

TYPES = {Protocol.TCP: socket.SOCK_STREAM, Protocol.UDP: socket.SOCK_DGRAM}
NODE_PORT = 30080
SO_COOKIE = 57
End = tuple[str, int]
LOOPBACK = {Family.IPV4: "127.0.0.1", Family.IPV6: "::1"}


@pytest.fixture(name="lab")
def _lab(socket_labs: Callable[[], SocketLab], family: Family) -> SocketLab:
    lab = socket_labs()
    lab.serve(family)
    return lab


def cluster_ip(family: Family, protocol: Protocol, backend: str, generation: int = GENERATION) -> Tables:
    service = Service("cluster:80", (backend,), FrontendKind.CLUSTER_IP)
    return tables(family, protocol, [service], generations={backend: generation})


def backend(family: Family) -> End:
    return address("pod", family), BACKEND_PORT


@contextmanager
def connected(family: Family, protocol: Protocol, dialled: End, *listening: End) -> Iterator[socket.socket]:
    """Give a socket that has dialled, while others listen."""
    kind = socket.AF_INET if family is Family.IPV4 else socket.AF_INET6
    with ExitStack() as stack:
        for end in listening:
            server = stack.enter_context(socket.socket(kind, TYPES[protocol]))
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind(end)
            if protocol is Protocol.TCP:
                server.listen()
        client = stack.enter_context(socket.socket(kind, TYPES[protocol]))
        client.connect(dialled)
        yield client


def stale_after(lab: SocketLab, family: Family, protocol: Protocol, *changes: Tables) -> list[bool]:
    """Connect to the Service; return whether the socket is found to be stale, now and after each change."""
    with ExitStack() as stack:
        maps = SocketMaps(*(stack.enter_context(open_map(lab._pins, family, name)) for name in SocketMaps._fields))
        client = stack.enter_context(connected(family, protocol, (address("cluster", family), 80), backend(family)))
        own = int.from_bytes(client.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8), "little")
        found = []
        for change in (None, *changes):
            if change is not None:
                lab.put(change)
            stale = find_stale(maps, TcpSockets.DELETED).sockets
            found.append([(each.cookie, each.protocol) for each in stale] == [(own, protocol)])
        return found


@pytest.mark.parametrize("protocol", TYPES)
def test_pitfall_01_connected_socket_stays_with_a_deleted_backend(
    lab: SocketLab, family: Family, protocol: Protocol
) -> None:
    """Also when its Service, or a backend of the same address, comes back."""
    served = cluster_ip(family, protocol, "pod")
    lab.load(served)
    changes = cluster_ip(family, protocol, "pod2"), served, cluster_ip(family, protocol, "pod", GENERATION + 1)
    assert lab.call(Place.POD, stale_after, lab, family, protocol, *changes) == [False, True, False, True]


@pytest.mark.parametrize("protocol", TYPES)
def test_pitfall_07_socket_hooks_bypass_a_sidecar(lab: SocketLab, family: Family, protocol: Protocol) -> None:
    served = cluster_ip(family, protocol, "pod")
    lab.load(replace(served, opt_outs={lab.cookies[Place.POD]: 0}))
    assert lab.call(Place.POD, reached, family, protocol, "cluster") == "cluster"
    assert lab.call(Place.HOST, reached, family, protocol, "cluster") == "pod"


def test_pitfall_08_sockets_of_the_kernel_are_rewritten(socket_labs: Callable[..., SocketLab]) -> None:
    """A second subflow of MPTCP, which the kernel itself dials, stands for the mounts of NFS, SMB and Ceph."""
    lab = socket_labs(socket_bits=SocketBits(socket_bits().kernel))
    lab.serve(Family.IPV4)
    service = Service(f"cluster:{BACKEND_PORT}", ("pod",), FrontendKind.CLUSTER_IP)
    lab.load(tables(Family.IPV4, Protocol.TCP, [service]))
    assert lab.call(Place.POD, mptcp_destinations, "stranger") == {"stranger", "cluster"}


def reached_port(family: Family, protocol: Protocol, listening: End) -> int:
    """Dial a NodePort on the loopback; return the port that the socket is connected to in truth."""
    with connected(family, protocol, (LOOPBACK[family], NODE_PORT), listening) as client:
        return _true_peer_port(client)


def _true_peer_port(client: socket.socket) -> int:
    """Ask the kernel's table, which no hook dresses up."""
    table = {socket.SOCK_STREAM: "tcp", socket.SOCK_DGRAM: "udp"}[client.type]
    path = f"/proc/thread-self/net/{table}{'6' if client.family == socket.AF_INET6 else ''}"
    own = f":{client.getsockname()[1]:04X}"
    with open(path, encoding="ascii") as lines:  # noqa: PTH123 - read at once
        (peer,) = (fields[2] for fields in map(str.split, lines) if fields[1].endswith(own))
    return int(peer.rpartition(":")[2], 16)


@pytest.mark.parametrize("protocol", TYPES)
def test_pitfall_20_node_port_on_loopback_is_the_hosts_alone(
    lab: SocketLab, family: Family, protocol: Protocol
) -> None:
    lab.load(tables(family, protocol, [Service(f"any:{NODE_PORT}", ("pod",))]))
    assert lab.call(Place.HOST, reached_port, family, protocol, backend(family)) == BACKEND_PORT
    assert lab.call(Place.POD, reached_port, family, protocol, (LOOPBACK[family], NODE_PORT)) == NODE_PORT
