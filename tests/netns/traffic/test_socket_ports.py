"""Ports of NodePorts on a node with an agent: who may bind them, and when."""

import errno
import sys

import pytest

from ebpflb.core.abi import Counter
from tests.netns.services import Spec
from tests.netns.traffic.world import World

pytestmark = pytest.mark.root

BIND = """
import socket, sys
host, port, kind = sys.argv[1:]
family = socket.AF_INET6 if ":" in host else socket.AF_INET
with socket.socket(family, getattr(socket, kind)) as server:
    try:
        server.bind((host, int(port)))
    except OSError as error:
        print(error.errno)
    else:
        print(0)
"""
KINDS = {"tcp": "SOCK_STREAM", "udp": "SOCK_DGRAM"}


def bind(world: World, place: str, host: str, port: int, kind: str) -> int:
    """Bind a socket at a place; return the error's number, 0 for none."""
    where = world.place(place)
    where.cgroup.mkdir(parents=True, exist_ok=True)
    return int(where.run([sys.executable, "-c", BIND, host, str(port), KINDS[kind]]).stdout)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1", "::", "192.168.100.1"])
@pytest.mark.parametrize("place", ["host", "hostNetwork"])
def test_a_host_process_does_not_get_a_node_port(routed_world: World, place: str, host: str, kind: str) -> None:
    port = routed_world.specs["local"].node_port(kind)
    refused = routed_world.counters(1)[Counter.BIND_REFUSED]
    assert bind(routed_world, place, host, port, kind) == errno.EADDRINUSE
    assert routed_world.counters(1)[Counter.BIND_REFUSED] == refused + 1
    assert bind(routed_world, place, host, port + 500, kind) == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", ["covered", "uncovered"])
def test_a_pod_binds_what_it_likes(routed_world: World, place: str, kind: str) -> None:
    assert bind(routed_world, place, "::", routed_world.specs["local"].node_port(kind), kind) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_port_is_taken_while_the_service_is_there(routed_world: World, kind: str) -> None:
    spec = Spec("fleeting", 70, (routed_world.local,))
    port = spec.node_port(kind)
    assert bind(routed_world, "host", "0.0.0.0", port, kind) == 0
    with routed_world.service(spec):
        assert bind(routed_world, "host", "0.0.0.0", port, kind) == errno.EADDRINUSE
    assert bind(routed_world, "host", "0.0.0.0", port, kind) == 0
