"""Direct server return: the client hears from the Service's address, and no answer passes the node that it called.

Over routed and over VXLAN underlays: with VXLAN the replies still leave by the cable. What others' DSR broke: large
payloads (cilium#32601, #39690, #24359, calico#8349), fragments (#11180).
"""

import secrets
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from ebpflb.bench.clients import Exchange, Target, TcpSession
from ebpflb.bench.namespaces import namespace_path
from ebpflb.bench.protocol import expected
from ebpflb.bench.topology import Place
from ebpflb.core.abi import Counter, Family
from tests.netns.host_helpers import inside
from tests.netns.traffic.capture import Packet, captured
from tests.netns.traffic.datagrams import SECONDS, ask, udp_client
from tests.netns.traffic.endings import hang_up
from tests.netns.traffic.offers import TCP_PORT
from tests.netns.traffic.settled import settled
from tests.netns.traffic.sizes import MTU, OUTER_BYTES, TCP_HEADERS, VXLAN_BYTES
from tests.netns.traffic.wide import Wide

pytestmark = pytest.mark.root

BULK_BYTES = 20_000_000
OUTER_PROTOCOL = {Family.IPV4: 4, Family.IPV6: 41}
TIMESTAMPS = 12
TRANSPORTS = {socket.IPPROTO_TCP, socket.IPPROTO_UDP}


@pytest.fixture(params=["wide", "overlaid"])
def world(request: pytest.FixtureRequest) -> Wide:
    """Nodes that reach each other's pods by routes, and through VXLAN."""
    found: Wide = request.getfixturevalue(request.param)
    found.forget_paths()
    return found


@contextmanager
def connected(place: Place, host: str, port: int) -> Iterator[TcpSession]:
    """Give a connection from a place, as no socket hook sees it; after the block at most our last ACK is under way."""
    with inside(namespace_path(place.netns)):
        session = TcpSession(Target(host, port, SECONDS))
    with session:
        yield session
        hang_up(session)


def asked(place: Place, host: str, port: int) -> Exchange:
    """Ask once from a place."""
    with connected(place, host, port) as session:
        return session.ask()


def counted(world: Wide, family: Family) -> dict[Counter, int]:
    """Return node-1's counters, with what earlier connections ended by."""
    return settled(lambda: world.counters(1, family))


def bare(end: str) -> str:
    """Return the address of ``address:port``."""
    return end.rpartition(":")[0].strip("[]")


def answers_on(packets: list[Packet], client: str) -> list[Packet]:
    """Return the packets that go to a client, but for those by which neighbours find each other."""
    return [packet for packet in packets if packet.destination == client and packet.protocol in TRANSPORTS]


@pytest.mark.parametrize("kind", ["NodePort", "balancer IP", "external IP"])
@pytest.mark.parametrize("caller", ["outside", "far"])
def test_answers_come_from_the_services_address_past_the_node_that_was_called(
    world: Wide, family: Family, caller: str, kind: str
) -> None:
    place = world.place(caller)
    host, port = world.dialled("dsr-remote", kind, family, TCP_PORT)
    client = place.address_of(family)
    called, other = world.lab.node(1), world.lab.node(2)
    with captured(called, called.uplink) as passed, captured(other, other.uplink) as sent:
        exchange = asked(place, host, port)
    assert exchange.backend == "node-2-pod-1"
    assert bare(exchange.client) == client
    assert bare(exchange.peer) == host
    assert not answers_on(passed, client)
    assert {packet.source for packet in answers_on(sent, client)} == {host}


@pytest.mark.parametrize("kind", ["NodePort", "balancer IP"])
def test_datagrams_too(world: Wide, family: Family, kind: str) -> None:
    place, called = world.place("outside"), world.lab.node(1)
    before = counted(world, family)
    with (
        captured(called, called.uplink) as passed,
        udp_client(place, world.dialled("dsr-remote", kind, family)) as client,
    ):
        for length in (0, 1, 1000):
            sent = secrets.token_bytes(length)
            assert ask(client, sent) == sent
    after = counted(world, family)
    assert after[Counter.ENCAPSULATED] - before[Counter.ENCAPSULATED] == 3
    assert after[Counter.REPLY_RESTORED] == before[Counter.REPLY_RESTORED]
    assert not answers_on(passed, place.address_of(family))


@pytest.mark.parametrize("caller", ["outside", "far"])
@pytest.mark.parametrize("kind", ["NodePort", "balancer IP"])
def test_much_data_arrives_intact(world: Wide, family: Family, caller: str, kind: str) -> None:
    host, port = world.dialled("dsr-remote", kind, family, TCP_PORT)
    for transfer in (TcpSession.upload, TcpSession.download):
        with connected(world.place(caller), host, port) as session:
            assert transfer(session, BULK_BYTES) == expected(BULK_BYTES)


def test_the_mss_leaves_room_for_the_outer_header(world: Wide, family: Family) -> None:
    """So no packet of TCP is ever too big, and none needs an answer."""
    host, port = world.dialled("dsr-remote", "NodePort", family, TCP_PORT)
    before = counted(world, family)
    with connected(world.lab.client, host, port) as session:
        segment = session.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)
        assert session.upload(BULK_BYTES) == expected(BULK_BYTES)
    overlay = VXLAN_BYTES if len(world.lab.node(1).uplinks) > 1 else 0
    assert segment + TIMESTAMPS + TCP_HEADERS[family] == MTU - overlay - OUTER_BYTES[family]
    after = counted(world, family)
    assert after[Counter.TOO_BIG_ANSWERED] == before[Counter.TOO_BIG_ANSWERED]


@pytest.mark.parametrize("kind", ["NodePort", "balancer IP"])
def test_a_local_backend_needs_no_outer_header(world: Wide, family: Family, kind: str) -> None:
    host, port = world.dialled("dsr-local", kind, family, TCP_PORT)
    before = counted(world, family)[Counter.ENCAPSULATED]
    assert asked(world.lab.client, host, port).backend == "node-1-pod-3"
    assert counted(world, family)[Counter.ENCAPSULATED] == before


def test_pods_call_as_ever(world: Wide, family: Family) -> None:
    """Who needs no masquerading needs no direct return."""
    host, port = world.dialled("dsr-remote", "ClusterIP", family, TCP_PORT)
    before = counted(world, family)[Counter.ENCAPSULATED]
    exchange = asked(world.place("uncovered"), host, port)
    assert bare(exchange.client) == world.place("uncovered").address_of(family)
    assert counted(world, family)[Counter.ENCAPSULATED] == before


def test_a_service_says_by_its_annotation_what_it_wants(world: Wide, family: Family) -> None:
    """The same backend, masqueraded by another Service."""
    called = world.lab.node(1)
    host, port = world.dialled("snat-remote", "NodePort", family, TCP_PORT)
    with captured(called, called.uplink) as passed:
        asked(world.lab.client, host, port)
    assert answers_on(passed, world.lab.client.address_of(family))
    assert OUTER_PROTOCOL[family] not in {packet.protocol for packet in passed}


def test_many_connections_at_once(world: Wide, family: Family) -> None:
    host, port = world.dialled("dsr-remote", "balancer IP", family, TCP_PORT)
    with ExitStack() as stack:
        sessions = [stack.enter_context(connected(world.lab.client, host, port)) for _ in range(50)]
        for session in sessions:
            assert bare(session.ask().peer) == host


@pytest.mark.parametrize("kind", ["NodePort", "balancer IP"])
def test_hybrid_answers_tcp_directly_and_masquerades_udp(overlaid: Wide, family: Family, kind: str) -> None:
    """For Services that say nothing: datagrams may be as long as the overlay takes, with no outer header."""
    client, called = overlaid.lab.client, overlaid.lab.node(1)
    address = client.address_of(family)
    before = counted(overlaid, family)[Counter.ENCAPSULATED]
    with (
        captured(called, called.uplink) as passed,
        udp_client(client, overlaid.dialled("remote", kind, family)) as sender,
    ):
        assert ask(sender, b"this way") == b"this way"
    assert answers_on(passed, address)
    assert counted(overlaid, family)[Counter.ENCAPSULATED] == before
    with captured(called, called.uplink) as passed:
        assert bare(asked(client, *overlaid.dialled("remote", kind, family, TCP_PORT)).client) == address
    assert not answers_on(passed, address)
    assert counted(overlaid, family)[Counter.ENCAPSULATED] > before
