"""Much data in large segments, and datagrams as large as the MTU: all of it arrives as it was sent."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from ebpflb.bench.control import transfer
from ebpflb.bench.plan import PodNetwork
from ebpflb.bench.topology import Place
from ebpflb.core.abi import Counter
from tests.netns.traffic.paths import target
from tests.netns.traffic.world import World, world_on

pytestmark = pytest.mark.root

ECHO_PORT = 5400
IP_AND_UDP_HEADERS = 28
ECHO_SERVER = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
    server.bind(("0.0.0.0", int(sys.argv[1])))
    print("ready", flush=True)
    while True:
        data, client = server.recvfrom(65536)
        server.sendto(data, client)
"""
ECHO_CLIENT = """
import os, socket, sys
IP_MTU_DISCOVER, IP_PMTUDISC_DO = 10, 2
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
    client.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO)
    client.settimeout(3)
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
def narrow() -> Iterator[World]:
    """A world of small packets."""
    with world_on(PodNetwork.ROUTED, mtu=1400) as world:
        yield world


def check_transfer(world: World, caller: str, destination: str, service: str, megabytes: int) -> None:
    report = transfer(world.place(caller), target(world.specs[service], destination, "tcp"), megabytes)
    assert report.length == megabytes * 1_000_000
    assert report.intact_up
    assert report.intact_down


@pytest.mark.parametrize(("caller", "destination", "service"), TRANSFERS)
def test_a_hundred_megabytes_arrive_intact(world: World, caller: str, destination: str, service: str) -> None:
    before = world.counters(1)
    check_transfer(world, caller, destination, service, 100)
    after = world.counters(1)
    assert after[Counter.DROP_TOO_BIG] == before[Counter.DROP_TOO_BIG]


def test_a_pod_sends_itself_a_hundred_megabytes(world: World) -> None:
    check_transfer(world, "uncovered", "ClusterIP", "self-uncovered", 100)


@pytest.mark.parametrize(("caller", "destination", "service"), TRANSFERS)
def test_a_small_mtu_is_kept(narrow: World, caller: str, destination: str, service: str) -> None:
    check_transfer(narrow, caller, destination, service, 50)


@pytest.mark.parametrize("where", ["routed", "bridged", "narrow"])
@pytest.mark.parametrize(("caller", "destination", "service"), TRANSFERS)
def test_datagrams_as_large_as_the_mtu_pass_unfragmented(
    request: pytest.FixtureRequest, where: str, caller: str, destination: str, service: str
) -> None:
    world: World = request.getfixturevalue(where)
    spec = replace(world.specs[service], name="echo", number=60, udp_port=ECHO_PORT)
    host, port = target(spec, destination, "udp").split(":")
    with (
        spec.backends[0].popen([sys.executable, "-c", ECHO_SERVER, str(ECHO_PORT)]) as server,
        world.service(spec),
    ):
        server.wait_for_line(lambda line: line == "ready")
        payload = world.lab.plan.mtu - IP_AND_UDP_HEADERS
        world.place(caller).run([sys.executable, "-c", ECHO_CLIENT, host, port, str(payload)])


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
