"""Sockets that are left to the packet hooks: their calls go where they were sent, and are counted."""

import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from ebpflb.core.abi import Counter, Family, FrontendFlag, FrontendKind, Protocol
from ebpflb.core.tables import Tables
from ebpflb.datapath.kernel_sockets import SocketBits, socket_bits
from tests.prog.services import BACKEND_PORT, Service, tables
from tests.prog.sockets import PATIENCE_S, Place, SocketLab, first_asked
from tests.prog.world import address

pytestmark = pytest.mark.root

PORT = 80
TYPES = {Protocol.TCP: socket.SOCK_STREAM, Protocol.UDP: socket.SOCK_DGRAM}
LEFT_ALONE, TRANSLATED = {Counter.SOCK_OPTED_OUT: 1}, {Counter.SOCK_TRANSLATED: 1}
_MPTCP = 262
"""IPPROTO_MPTCP, which Python 3.11 has no name for."""
CLUSTER = address("cluster", Family.IPV4)
BITS = socket_bits()


@pytest.fixture(name="lab")
def _lab(socket_labs: Callable[[], SocketLab], family: Family) -> SocketLab:
    lab = socket_labs()
    lab.serve(family)
    return lab


def rows(family: Family, protocol: Protocol) -> Tables:
    return tables(family, protocol, [Service(f"cluster:{PORT}", ("pod",), FrontendKind.CLUSTER_IP)])


def reached(family: Family, protocol: Protocol, dialled: str) -> str:
    """Connect to port 80 of an address; return the name of whom the socket is connected to in truth."""
    kind = socket.AF_INET if family is Family.IPV4 else socket.AF_INET6
    ends = {dialled: (address(dialled, family), PORT), "pod": (address("pod", family), BACKEND_PORT)}
    with ExitStack() as stack:
        new = [stack.enter_context(socket.socket(kind, TYPES[protocol])) for _ in range(3)]
        client, servers = new[0], dict(zip(new[1:], ends, strict=True))
        for server, name in servers.items():
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind(ends[name])
            if protocol is Protocol.TCP:
                server.listen()
        client.connect(ends[dialled])
        if protocol is Protocol.UDP:
            client.send(b"question")
        return servers[first_asked(servers)]


@pytest.mark.parametrize("protocol", TYPES)
def test_an_opted_out_namespace_is_left_alone(lab: SocketLab, family: Family, protocol: Protocol) -> None:
    served = rows(family, protocol)
    lab.load(replace(served, opt_outs={lab.cookies[Place.POD]: 0}))
    with lab.counted(family) as counts:
        assert lab.call(Place.POD, reached, family, protocol, "cluster") == "cluster"
    assert counts == LEFT_ALONE
    with lab.counted(family) as counts:
        assert lab.call(Place.HOST, reached, family, protocol, "cluster") == "pod"
    assert counts == TRANSLATED
    lab.load(served)
    assert lab.call(Place.POD, reached, family, protocol, "cluster") == "pod"


def test_only_calls_to_services_are_counted(lab: SocketLab, family: Family) -> None:
    lab.load(replace(rows(family, Protocol.TCP), opt_outs={lab.cookies[Place.POD]: 0}))
    with lab.counted(family) as counts:
        assert lab.call(Place.POD, reached, family, Protocol.TCP, "stranger") == "stranger"
    assert counts == {Counter.SOCK_PASSED: 1}


def test_an_opted_out_namespace_is_not_refused_either(lab: SocketLab, family: Family) -> None:
    """What becomes of a Service without backends, the packet hooks say."""
    empty = tables(family, Protocol.TCP, [Service(f"cluster:{PORT}", (), FrontendKind.CLUSTER_IP)])
    lab.load(replace(empty, opt_outs={lab.cookies[Place.POD]: 0}))
    assert lab.call(Place.POD, reached, family, Protocol.TCP, "cluster") == "cluster"


def peer_before_and_after(family: Family, change: Callable[[], None]) -> list[str]:
    """Return whom a connected socket believes to speak to, before and after a change."""
    kind = socket.AF_INET if family is Family.IPV4 else socket.AF_INET6
    with socket.socket(kind, socket.SOCK_DGRAM) as client:
        client.connect((address("cluster", family), PORT))
        before = client.getpeername()[0]
        change()
        return [before, client.getpeername()[0]]


def test_what_was_translated_before_is_still_shown_as_the_service(lab: SocketLab, family: Family) -> None:
    served = rows(family, Protocol.UDP)
    lab.load(served)
    opted_out = replace(served, opt_outs={lab.cookies[Place.POD]: 0})
    seen = lab.call(Place.POD, peer_before_and_after, family, lambda: lab.put(opted_out))
    assert seen == [address("cluster", family)] * 2


@pytest.mark.parametrize("protocol", TYPES)
def test_a_frontend_for_some_clients_only_is_left_to_the_packet_hooks(
    lab: SocketLab, family: Family, protocol: Protocol
) -> None:
    served = rows(family, protocol)
    flagged = {key: row._replace(flags=row.flags | FrontendFlag.SOURCE_RANGES) for key, row in served.frontends.items()}
    lab.load(replace(served, frontends=flagged))
    with lab.counted(family) as counts:
        assert lab.call(Place.POD, reached, family, protocol, "cluster") == "cluster"
    assert counts == LEFT_ALONE


def mptcp_destinations(dialled: str) -> set[str]:
    """Open an MPTCP connection to port 8080 of an address; return by name where its two subflows lead.

    The server announces the ClusterIP as a second address of its own, which the kernel then dials from a worker: the
    only socket of the kernel's own that connects on a machine without modules.
    """
    for command in ("limits set subflows 1 add_addr_accepted 1", "endpoint flush", f"endpoint add {CLUSTER} signal"):
        subprocess.run(["ip", "mptcp", *command.split()], check=True)
    with (
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, _MPTCP) as server,
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, _MPTCP) as client,
    ):
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("0.0.0.0", BACKEND_PORT))
        server.listen()
        client.connect((address(dialled, Family.IPV4), BACKEND_PORT))
        accepted, _peer = server.accept()
        with accepted:
            client.send(b"question")
            accepted.recv(100)
            accepted.send(b"answer")  # from now on both ends know that the other speaks MPTCP
            client.recv(100)
            return _both_destinations()


def _both_destinations() -> set[str]:
    """Wait for the second subflow, of which nobody tells a process."""
    names = {address(name, Family.IPV4): name for name in ("cluster", "pod", "stranger")}
    command = ["ss", "-tnH", "state", "established", "dport", "=", f":{BACKEND_PORT}"]
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        found = {line.split()[3].rpartition(":")[0] for line in shown.splitlines()}
        if len(found) == len(("the process's", "the kernel's")):
            return {names[each] for each in found}
        time.sleep(0.02)
    raise TimeoutError(f"no second subflow; there are {shown}")


@pytest.fixture(name="mptcp_lab_of")
def _mptcp_lab_of(socket_labs: Callable[..., SocketLab]) -> Callable[[SocketBits], SocketLab]:
    """Give programs that were told so much of sockets, and that serve the ClusterIP which the kernel dials."""
    assert Path("/proc/sys/net/mptcp/enabled").exists(), "the tests of kernel sockets need CONFIG_MPTCP"

    def make(bits: SocketBits) -> SocketLab:
        lab = socket_labs(socket_bits=bits)
        lab.serve(Family.IPV4)
        service = Service(f"cluster:{BACKEND_PORT}", ("pod",), FrontendKind.CLUSTER_IP)
        lab.load(tables(Family.IPV4, Protocol.TCP, [service]))
        return lab

    return make


def test_a_socket_of_the_kernels_own_is_left_alone(mptcp_lab_of: Callable[[SocketBits], SocketLab]) -> None:
    """Programs that cannot tell MPTCP apart, so that its second subflow stands for NFS."""
    lab = mptcp_lab_of(SocketBits(BITS.kernel))
    with lab.counted(Family.IPV4) as counts:
        assert lab.call(Place.POD, mptcp_destinations, "stranger") == {"stranger", "cluster"}
    assert counts.keys() == {Counter.SOCK_PASSED, Counter.SOCK_OPTED_OUT}
    lab.load(rows(Family.IPV4, Protocol.TCP))
    with lab.counted(Family.IPV4) as counts:
        assert lab.call(Place.POD, reached, Family.IPV4, Protocol.TCP, "cluster") == "pod"
    # The kernel may still be at what it dials for the connections above.
    assert counts.items() >= TRANSLATED.items()
    others = {Counter.SOCK_PASSED, Counter.SOCK_OPTED_OUT, Counter.SOCK_REJECTED}
    assert counts.keys() <= TRANSLATED.keys() | others


def test_where_the_kernel_does_not_tell_its_sockets_are_served(
    mptcp_lab_of: Callable[[SocketBits], SocketLab],
) -> None:
    lab = mptcp_lab_of(SocketBits())
    assert lab.call(Place.POD, mptcp_destinations, "stranger") == {"stranger", "pod"}


def test_mptcp_of_processes_is_served(mptcp_lab_of: Callable[[SocketBits], SocketLab]) -> None:
    lab = mptcp_lab_of(BITS)
    with lab.counted(Family.IPV4) as counts:
        assert lab.call(Place.POD, mptcp_destinations, "stranger") == {"stranger", "pod"}
    # The client announces the ClusterIP as well, both ends being in one namespace. The server's end may dial it, at the
    # client's port, which the Service does not have.
    assert counts.keys() - {Counter.SOCK_REJECTED} == {Counter.SOCK_PASSED, Counter.SOCK_TRANSLATED}
