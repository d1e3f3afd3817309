"""Real SCTP associations through the packet hooks: a NodePort from outside, a ClusterIP from a pod; ports change.

Only the ends need the kernel's SCTP, which a guest loads as a module; the node's programs run where there is none, as
the rows of tests/prog show on any machine.

client ==dev0== node --pod0-- pod (calls the ClusterIP)
                    --far0-- far (backend, masqueraded towards it)
"""

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from ipaddress import ip_address
from pathlib import Path
from threading import Thread
from uuid import uuid4

import numpy as np
import pytest

from ebpflb.bench.namespaces import run_ip, write_sysctls
from ebpflb.core.abi import (
    Algorithm,
    BackendFlag,
    BackendState,
    Family,
    FrontendFlag,
    FrontendKind,
    NodeAddrFlag,
    Protocol,
)
from ebpflb.core.tables import EMPTY_RANGE, Backend, BackendKey, Frontend, FrontendKey, Range, TableName
from ebpflb.datapath.build import remove_build
from ebpflb.datapath.pins import Pins
from ebpflb.datapath.programs import OUT, POD_IN, TAIL_PROGRAMS, UPLINK_IN
from ebpflb.datapath.store import PinnedMapStore
from tests.kernels.building import built
from tests.kernels.device_kinds import DEVICE
from tests.kernels.test_devices import ADDRESSES, World, join, lay_backend, serve
from tests.netns.host_helpers import inside, namespace

pytestmark = pytest.mark.root

SECONDS = 60.0
"""An emulated guest is slow."""
PORT, TARGET_PORT, NODE_PORT = 3868, 3869, 30868
CLUSTER_IPS = {Family.IPV4: "10.96.0.38", Family.IPV6: "fd00:96::38"}
MESSAGES = [b"x" * length for length in (1, 100, 1400, 20_000)]
"""The last one takes many chunks: their packets are as long as the MTU allows."""
REMOTE_ID = 1


def sctp_socket(family: Family) -> socket.socket:
    """Return a one-to-one socket; skip where the kernel has none."""
    kind = socket.AF_INET if family is Family.IPV4 else socket.AF_INET6
    try:
        made = socket.socket(kind, socket.SOCK_STREAM, socket.IPPROTO_SCTP)
    except OSError:
        pytest.skip("needs SCTP sockets: this kernel has none")
    made.settimeout(SECONDS)
    return made


def echo(server: socket.socket) -> None:
    """Send back all that one client sends; nothing but a client ends the wait of a socket that listens for SCTP."""
    connection, _ = server.accept()
    with connection:
        while data := connection.recv(65_536):
            connection.sendall(data)


@pytest.fixture(scope="module", params=Family, ids=lambda family: family.name)
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    family = Family(request.param)
    sctp_socket(family).close()
    addresses = ADDRESSES[family]
    with ExitStack() as stack:
        client, node, pod, far = (
            stack.enter_context(namespace(f"sctp{family.value}-{name}")) for name in ("client", "node", "pod", "far")
        )
        write_sysctls(node.name, [("net/ipv4/ip_forward", "1"), ("net/ipv6/conf/all/forwarding", "1")])
        write_sysctls(node.name, [(f"net/ipv4/conf/{name}/rp_filter", "0") for name in ("all", "default")])
        join(client, node, DEVICE, DEVICE)
        for end, address in ((client, addresses.client), (node, addresses.node)):
            run_ip([f"addr add {address}/{addresses.prefix} dev {DEVICE} nodad"], end.name)
        lay_backend(node, pod, "pod0", addresses.local, addresses)
        lay_backend(node, far, "far0", addresses.remote, addresses)
        run_ip([f"route add default via {addresses.towards_local}"], pod.name)
        run_ip([f"route add default via {addresses.towards_remote}"], far.name)
        pins = Pins(Path("/sys/fs/bpf"), f"sctp-{uuid4().hex[:12]}")
        stack.callback(pins.remove)
        build = built(family, pins, (UPLINK_IN, POD_IN, OUT, *TAIL_PROGRAMS))
        stack.callback(remove_build, pins.progs(family))
        made = World(family, client, node, build, stack.enter_context(PinnedMapStore(pins, family)))
        fill(made.store, family)
        for device, ingress in ((DEVICE, UPLINK_IN), ("far0", UPLINK_IN), ("pod0", POD_IN)):
            serve(made, device, ingress, OUT)
        yield made


@pytest.fixture(scope="module")
def server(world: World) -> Iterator[socket.socket]:
    """Have the backend's socket listen."""
    with inside(namespace_of(world, "far")):
        listening = sctp_socket(world.family)
    with listening:
        listening.bind((world.addresses.remote, TARGET_PORT))
        listening.listen()
        yield listening


def namespace_of(world: World, name: str) -> Path:
    return world.client.with_name(world.client.name.replace("-client", f"-{name}"))


def fill(store: PinnedMapStore, family: Family) -> None:
    """Write a NodePort and a ClusterIP with the remote backend."""
    slots = Range(16, 1)
    key = BackendKey(ip_address(ADDRESSES[family].remote).packed, TARGET_PORT, Protocol.SCTP)
    assert not store.put(TableName.BACKENDS, {REMOTE_ID: Backend(key, BackendState.ACTIVE, BackendFlag(0), 1)})
    store.write_slots({slots: np.array([REMOTE_ID], np.uint32)})

    def frontend(kind: FrontendKind) -> Frontend:
        return Frontend(1, kind, Algorithm.RANDOM, FrontendFlag.HAS_BACKENDS, 0, slots, EMPTY_RANGE)

    cluster_ip = ip_address(CLUSTER_IPS[family]).packed
    frontends = {
        FrontendKey(bytes(family.address_bytes), NODE_PORT, Protocol.SCTP): frontend(FrontendKind.NODE_PORT),
        FrontendKey(cluster_ip, PORT, Protocol.SCTP): frontend(FrontendKind.CLUSTER_IP),
    }
    assert not store.put(TableName.FRONTENDS, frontends)
    assert not store.put(TableName.NODE_ADDRS, {ip_address(ADDRESSES[family].node).packed: NodeAddrFlag.NODE_PORTS})


@pytest.mark.parametrize("caller", ["client", "pod"])
def test_an_association_carries_messages_both_ways(world: World, server: socket.socket, caller: str) -> None:
    """Both ends would drop, without a word, every packet whose CRC32c were wrong."""
    target = (ADDRESSES[world.family].node, NODE_PORT)
    if caller == "pod":
        target = (CLUSTER_IPS[world.family], PORT)
    answering = Thread(target=echo, args=(server,), daemon=True)
    answering.start()
    with inside(namespace_of(world, caller)), sctp_socket(world.family) as client:
        client.connect(target)
        assert client.getpeername()[:2] == target
        for message in MESSAGES:
            client.sendall(message)
            received = b""
            while len(received) < len(message):
                received += client.recv(65_536)
            assert received == message
    answering.join()
