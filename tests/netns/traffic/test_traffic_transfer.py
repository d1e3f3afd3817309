"""Much data in large segments, and datagrams as large as the MTU: all of it arrives as it was sent."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from ebpflb.bench.control import EVERY_ADDRESS, transfer
from ebpflb.bench.load import parse_target
from ebpflb.bench.plan import PodNetwork
from ebpflb.bench.topology import Place
from ebpflb.core.abi import Counter, Family
from tests.netns.traffic.world import World, world_on

pytestmark = pytest.mark.root

TRANSFER_SECONDS = 300.0
ECHO_PORT = 5400
IP_AND_UDP_HEADERS = {Family.IPV4: 28, Family.IPV6: 48}
ECHO_SERVER = """
import socket, sys
with socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM) as server:
    server.bind((sys.argv[1], int(sys.argv[2])))
    print("ready", flush=True)
    while True:
        data, client = server.recvfrom(65536)
        server.sendto(data, client)
"""
ECHO_CLIENT = """
import os, socket, sys
IP_MTU_DISCOVER, IPV6_MTU_DISCOVER, PMTUDISC_DO = 10, 23, 2
is_ipv6 = ":" in sys.argv[1]
with socket.socket(socket.AF_INET6 if is_ipv6 else socket.AF_INET, socket.SOCK_DGRAM) as client:
    if is_ipv6:
        client.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, PMTUDISC_DO)
    else:
        client.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, PMTUDISC_DO)
    client.settimeout(30)
    client.connect((sys.argv[1], int(sys.argv[2])))
    for _ in range(20):
        sent = os.urandom(int(sys.argv[3]))
        client.send(sent)
        assert client.recv(65536) == sent
"""
SET_CHECKSUM_OFFLOAD = """
import array, fcntl, socket, struct, sys
SIOCETHTOOL, ETHTOOL_SRXCSUM, ETHTOOL_STXCSUM = 0x8946, 0x15, 0x17
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
    for setting in (ETHTOOL_SRXCSUM, ETHTOOL_STXCSUM):
        value = array.array("B", struct.pack("II", setting, int(sys.argv[2])))
        fcntl.ioctl(control, SIOCETHTOOL, struct.pack("16sP", sys.argv[1].encode(), value.buffer_info()[0]))
"""
TRANSFERS = [
    ("covered", "ClusterIP", "remote"),
    ("uncovered", "ClusterIP", "remote"),
    ("uncovered", "ClusterIP", "local"),
    ("outside", "NodePort of node-1", "local"),
    ("outside", "NodePort of node-1", "remote"),
]


@pytest.fixture(scope="module")
def narrow_world() -> Iterator[World]:
    """A world of small packets."""
    with world_on(PodNetwork.ROUTED, mtu=1400) as world:
        yield world


@pytest.fixture
def narrow(narrow_world: World, family: Family) -> World:
    """The world of small packets, in each family."""
    return narrow_world.speaking(family)


@pytest.fixture(params=["routed", "bridged", "vxlan", "narrow"])
def of_any_mtu(request: pytest.FixtureRequest, family: Family) -> World:
    """Each world, in each family."""
    found: World = request.getfixturevalue(f"{request.param}_world")
    return found.speaking(family)


def check_transfer(world: World, caller: str, destination: str, service: str, megabytes: int) -> None:
    dialled = world.target(world.specs[service], destination, "tcp")
    report = transfer(world.place(caller), dialled, megabytes, seconds=TRANSFER_SECONDS)
    assert report.length == megabytes * 1_000_000
    assert report.intact_up
    assert report.intact_down


@pytest.mark.parametrize(("caller", "destination", "service"), TRANSFERS)
def test_a_hundred_megabytes_arrive_intact(anywhere: World, caller: str, destination: str, service: str) -> None:
    before = anywhere.counters(1)
    check_transfer(anywhere, caller, destination, service, 100)
    after = anywhere.counters(1)
    assert after[Counter.DROP_TOO_BIG] == before[Counter.DROP_TOO_BIG]


def test_a_pod_sends_itself_a_hundred_megabytes(world: World) -> None:
    check_transfer(world, "uncovered", "ClusterIP", "self-uncovered", 100)


@pytest.mark.parametrize(("caller", "destination", "service"), TRANSFERS)
def test_a_small_mtu_is_kept(narrow: World, caller: str, destination: str, service: str) -> None:
    check_transfer(narrow, caller, destination, service, 50)


@pytest.mark.parametrize(("caller", "destination", "service"), TRANSFERS)
def test_datagrams_as_large_as_the_mtu_pass_unfragmented(
    of_any_mtu: World, caller: str, destination: str, service: str
) -> None:
    world, family = of_any_mtu, of_any_mtu.family
    spec = replace(world.specs[service], name="echo", number=60, udp_port=ECHO_PORT)
    host, port = parse_target(world.target(spec, destination, "udp"))
    with (
        spec.backends[0].popen([sys.executable, "-c", ECHO_SERVER, EVERY_ADDRESS[family], str(ECHO_PORT)]) as server,
        world.service(spec),
    ):
        server.wait_for_line(lambda line: line == "ready")
        payload = world.lab.plan.pod_mtu - IP_AND_UDP_HEADERS[family]
        world.place(caller).run([sys.executable, "-c", ECHO_CLIENT, host, str(port), str(payload)])


@pytest.mark.parametrize("end", ["caller", "backend"])
@pytest.mark.parametrize(("caller", "destination", "service"), TRANSFERS)
def test_checksums_that_software_made_are_kept_right(
    narrow: World, caller: str, destination: str, service: str, end: str
) -> None:
    place = narrow.place(caller) if end == "caller" else narrow.specs[service].backends[0]
    device = "uplink0" if place is narrow.lab.client else "eth0"
    with checksum_offload_off(place, device):
        check_transfer(narrow, caller, destination, service, 10)


@contextmanager
def checksum_offload_off(place: Place, device: str) -> Iterator[None]:
    """Let the place compute and verify checksums itself: veth devices otherwise leave that to nobody."""
    place.run([sys.executable, "-c", SET_CHECKSUM_OFFLOAD, device, "0"])
    try:
        yield
    finally:
        place.run([sys.executable, "-c", SET_CHECKSUM_OFFLOAD, device, "1"])
