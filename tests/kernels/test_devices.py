"""NodePorts behind devices of every kind that the running kernel has, by real TCP and UDP: programs without an agent.

client ==dev0== node --pod0-- pod (local backend)
                    --far0-- far (remote backend: masqueraded)
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from pyroute2.netlink.rtnl import RTM_GETLINK
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from ebpflb.bench.clients import Exchange, Target, TcpSession, UdpSession
from ebpflb.bench.namespaces import entered, run_ip, write_sysctls
from ebpflb.bench.process import Running
from ebpflb.bench.protocol import expected
from ebpflb.core.abi import (
    Algorithm,
    BackendFlag,
    BackendState,
    DeviceFlag,
    Family,
    FrontendFlag,
    FrontendKind,
    NodeAddrFlag,
    Protocol,
)
from ebpflb.core.tables import EMPTY_RANGE, Backend, BackendKey, DeviceRow, Frontend, FrontendKey, Range, TableName
from ebpflb.datapath.build import Build, remove_build
from ebpflb.datapath.pins import Pins
from ebpflb.datapath.programs import OUT, OUT_L3, POD_IN, TAIL_PROGRAMS, UPLINK_IN, UPLINK_IN_L3, Program
from ebpflb.datapath.store import PinnedMapStore
from ebpflb.host.link_messages import parse_link
from ebpflb.host.links import Link, LinkHeader
from ebpflb.host.rtnetlink import Rtnetlink
from ebpflb.host.tc import TcHook, TcProgram, attach
from tests.kernels.building import built
from tests.kernels.device_kinds import CABLE, CARRIERS, DEVICE, KINDS, Kind, MissingDeviceError, laid
from tests.netns.host_helpers import inside, namespace

pytestmark = pytest.mark.root

SECONDS, READY_SECONDS = 30.0, 120.0
"""For an answer, for the start of a server: an emulated guest is slow."""
TCP_PORT, UDP_PORT = 8080, 5353
NODE_PORTS = {"local": 30080, "remote": 30081}
BULK_BYTES = 300_000
DIRECT_KINDS = ("vlan", "bridge")
"""By which clients come whose backend is handed their packets. Not by those whose packets have no MAC header."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """Of one family."""

    client: str
    node: str
    """Both on ``dev0``."""
    prefix: int
    local: str
    remote: str
    towards_local: str
    towards_remote: str
    """The node's, on the devices of the backends."""
    pod_prefix: int

    def own_on(self, device: str) -> str:
        """Return the node's address on a device."""
        return {DEVICE: self.node, "pod0": self.towards_local, "far0": self.towards_remote}[device]


ADDRESSES = {
    Family.IPV4: Addresses("198.51.100.1", "198.51.100.2", 24, "10.1.1.2", "10.2.2.2", "10.1.1.1", "10.2.2.1", 24),
    Family.IPV6: Addresses(
        *("2001:db8:51::1", "2001:db8:51::2", 64, "fd00:1:1::2", "fd00:2:2::2", "fd00:1:1::1", "fd00:2:2::1", 64)
    ),
}


@dataclass(frozen=True, slots=True)
class World:
    """Namespaces with backends that answer, and programs that wait for a device."""

    family: Family
    client: Path
    node: Path
    build: Build
    store: PinnedMapStore

    @property
    def addresses(self) -> Addresses:
        return ADDRESSES[self.family]


@pytest.fixture(scope="module")
def world_of() -> Iterator[Callable[[Family], World]]:
    """Give the world of a family, made at first use: its programs are built."""
    with ExitStack() as stack:
        yield cache(lambda family: stack.enter_context(made_world(family)))


@contextmanager
def made_world(family: Family) -> Iterator[World]:
    with ExitStack() as stack:
        client, node, local, remote = (
            stack.enter_context(namespace(f"dev{family.value}-{name}")) for name in ("client", "node", "pod", "far")
        )
        join(client, node, CABLE, CABLE)
        for end, (ipv4, ipv6) in zip((client, node), CARRIERS, strict=True):
            run_ip([f"addr add {each} dev {CABLE} nodad" for each in (f"{ipv4}/24", f"{ipv6}/64")], end.name)
        write_sysctls(node.name, [("net/ipv4/ip_forward", "1"), ("net/ipv6/conf/all/forwarding", "1")])
        write_sysctls(node.name, [(f"net/ipv4/conf/{name}/rp_filter", "0") for name in ("all", "default")])
        # Of two devices on one cable, each answers for its own addresses.
        write_sysctls(node.name, [("net/ipv4/conf/all/arp_ignore", "1")])
        lay_backend(node, local, "pod0", ADDRESSES[family].local, ADDRESSES[family])
        lay_backend(node, remote, "far0", ADDRESSES[family].remote, ADDRESSES[family])
        run_ip([f"route add default via {ADDRESSES[family].towards_local}"], local.name)
        stack.enter_context(server("local", local, ADDRESSES[family].local))
        stack.enter_context(server("remote", remote, ADDRESSES[family].remote))
        pins = Pins(Path("/sys/fs/bpf"), f"devices-{uuid4().hex[:12]}")
        stack.callback(pins.remove)
        build = built(family, pins, (UPLINK_IN, UPLINK_IN_L3, POD_IN, OUT, OUT_L3, *TAIL_PROGRAMS))
        stack.callback(remove_build, pins.progs(family))
        made = World(family, client, node, build, stack.enter_context(PinnedMapStore(pins, family)))
        fill(made.store, family)
        serve(made, "pod0", POD_IN, OUT)
        serve(made, "far0", UPLINK_IN, OUT)
        yield made


def join(one: Path, other: Path, name: str, peer: str) -> None:
    run_ip([f"link add {name} netns {one.name} type veth peer name {peer} netns {other.name}"])
    run_ip([f"link set {name} up"], one.name)
    run_ip([f"link set {peer} up"], other.name)


def lay_backend(node: Path, end: Path, device: str, address: str, addresses: Addresses) -> None:
    join(node, end, device, "eth0")
    run_ip([f"addr add {addresses.own_on(device)}/{addresses.pod_prefix} dev {device} nodad"], node.name)
    run_ip([f"addr add {address}/{addresses.pod_prefix} dev eth0 nodad"], end.name)


@contextmanager
def server(name: str, end: Path, address: str) -> Iterator[None]:
    ports = ["--tcp", str(TCP_PORT), "--udp", str(UDP_PORT)]
    command = [sys.executable, "-m", "ebpflb.bench.servers", "--name", name, "--host", address, *ports]
    with Running(name, entered(end.name, None, command)) as running:
        running.wait_for_line(lambda line: line == "ready", READY_SECONDS)
        yield


def fill(store: PinnedMapStore, family: Family) -> None:
    """Write a NodePort with a local backend and one with a remote backend, of TCP and of UDP."""
    addresses = ADDRESSES[family]
    of_all = [
        (name, address, flags, protocol, port)
        for name, address, flags in (
            ("local", addresses.local, BackendFlag.LOCAL),
            ("remote", addresses.remote, BackendFlag(0)),
        )
        for protocol, port in ((Protocol.TCP, TCP_PORT), (Protocol.UDP, UDP_PORT))
    ]
    backends: dict[int, Backend] = {}
    frontends: dict[FrontendKey, Frontend] = {}
    for number, (name, address, flags, protocol, port) in enumerate(of_all, 1):
        slots = Range(16 * number, 1)
        key = BackendKey(ip_address(address).packed, port, protocol)
        backends[number] = Backend(key, BackendState.ACTIVE, flags, number)
        store.write_slots({slots: np.array([number], np.uint32)})
        frontends[FrontendKey(bytes(family.address_bytes), NODE_PORTS[name], protocol)] = Frontend(
            number,
            FrontendKind.NODE_PORT,
            Algorithm.RANDOM,
            FrontendFlag.HAS_BACKENDS,
            0,
            slots,
            EMPTY_RANGE,
        )
    assert not store.put(TableName.BACKENDS, backends)
    assert not store.put(TableName.FRONTENDS, frontends)
    assert not store.put(TableName.NODE_ADDRS, {ip_address(addresses.node).packed: NodeAddrFlag.NODE_PORTS})


def serve(world: World, device: str, ingress: Program, egress: Program) -> None:
    """Attach programs to a device of the node, and say what masks packets that leave by it."""
    link = describe(world, device, DeviceFlag(0))
    programs = [
        TcProgram(each.name(world.family), hook, world.family, world.build.pins[each.stem])
        for each, hook in ((ingress, TcHook.INGRESS), (egress, TcHook.EGRESS))
    ]
    with inside(world.node):
        attach(link, programs, "devices")


def describe(world: World, device: str, flags: DeviceFlag) -> Link:
    """Write the row of a device of the node."""
    link, mtu = looked_up(world, device)
    row = DeviceRow(ip_address(world.addresses.own_on(device)).packed, mtu, flags)
    assert not world.store.put(TableName.DEVICES, {link.ifindex: row})
    return link


def looked_up(world: World, device: str) -> tuple[Link, int]:
    """Return a device of the node and its MTU."""
    with inside(world.node), Rtnetlink() as netlink:
        dumped = netlink.dump(ifinfmsg(), RTM_GETLINK)
    (message,) = [each for each in dumped if each.get_attr("IFLA_IFNAME") == device]
    link = parse_link(message)
    assert link is not None
    return link, int(message.get_attr("IFLA_MTU"))


@contextmanager
def device(world: World, kind: Kind) -> Iterator[None]:
    """Have ``dev0`` of a kind, served, for the length of the block; skip where the kernel has none."""
    addresses = world.addresses
    with ExitStack() as stack:
        try:
            stack.enter_context(laid(kind, (world.client, world.node)))
        except MissingDeviceError:
            pytest.skip(f"needs a {kind.name} device: this kernel has none")
        for end, address in ((world.client, addresses.client), (world.node, addresses.node)):
            run_ip([f"link set {DEVICE} up", f"addr add {address}/{addresses.prefix} dev {DEVICE} nodad"], end.name)
        link, _ = looked_up(world, DEVICE)
        assert link.header is (LinkHeader.NONE if kind.bare else LinkHeader.ETHERNET)
        serve(world, DEVICE, *((UPLINK_IN_L3, OUT_L3) if kind.bare else (UPLINK_IN, OUT)))
        yield


def asked(target: Target, protocol: Protocol) -> Exchange:
    """Ask thrice on one socket."""
    with TcpSession(target) if protocol is Protocol.TCP else UdpSession(target, connected=True) as session:
        (answer,) = {session.ask() for _ in range(3)}
    return answer


def reach(world: World) -> None:
    """Ask backends of both kinds, and send them much."""
    addresses = world.addresses
    seen_as = {"local": addresses.client, "remote": addresses.towards_remote}
    for backend, port in NODE_PORTS.items():
        target = Target(addresses.node, port, SECONDS)
        for protocol in (Protocol.TCP, Protocol.UDP):
            answer = asked(target, protocol)
            assert (answer.backend, answer.client.rpartition(":")[0].strip("[]")) == (backend, seen_as[backend])
        with TcpSession(target) as session:
            assert session.upload(BULK_BYTES) == session.download(BULK_BYTES) == expected(BULK_BYTES)


def hand_over(world: World) -> None:
    """Have a backend handed its packets past its device, which counts none of them."""
    target = Target(world.addresses.node, NODE_PORTS["remote"], SECONDS)
    asked(target, Protocol.TCP)  # whoever's address is not known is sent his packets
    describe(world, "far0", DeviceFlag.DIRECT)
    try:
        before = sent(world, "far0")
        with TcpSession(target) as session:
            assert session.ask().backend == "remote"
            assert session.upload(BULK_BYTES) == session.download(BULK_BYTES) == expected(BULK_BYTES)
        assert sent(world, "far0") - before < BULK_BYTES
    finally:
        describe(world, "far0", DeviceFlag(0))


def sent(world: World, device: str) -> int:
    """Return how many bytes have left the node by a device."""
    with inside(world.node), Rtnetlink() as netlink:
        links = netlink.dump(ifinfmsg(), RTM_GETLINK)
    (link,) = [each for each in links if each.get_attr("IFLA_IFNAME") == device]
    return int(link.get_attr("IFLA_STATS64")["tx_bytes"])


@pytest.mark.timeout(600)  # the first one builds
@pytest.mark.parametrize(
    ("family", "kind", "check"),
    [
        pytest.param(family, kind, check, id=f"{family.name}-{kind.name}-{check.__name__}")
        for family in Family
        for kind in KINDS
        if family in kind.families
        for check in (reach, hand_over)
        if check is reach or kind.name in DIRECT_KINDS
    ],
)
def test_a_node_port_is_reached_through_a_device(
    world_of: Callable[[Family], World], family: Family, kind: Kind, check: Callable[[World], None]
) -> None:
    world = world_of(family)
    with device(world, kind), inside(world.client):
        check(world)
