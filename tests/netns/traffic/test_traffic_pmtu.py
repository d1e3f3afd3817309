"""Path-MTU discovery through a Service: who sends too much hears of it, on whichever side of the Service it sits.

Regression tests of what users of others met: ICMP errors to a Service's address that reach nobody (cilium#34380,
#16080, #21262, #19720, #47755), a next hop whose MTU is too small without a word to the sender (#29583).
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ebpflb.bench.addresses import pod_network
from ebpflb.bench.clients import Target, TcpSession
from ebpflb.bench.namespaces import namespace_path
from ebpflb.bench.protocol import Received, expected
from ebpflb.bench.topology import Place
from ebpflb.core.abi import Counter, Family
from tests.netns.host_helpers import inside
from tests.netns.life_helpers import until
from tests.netns.traffic.datagrams import SECONDS, ask, path_mtu, udp_client
from tests.netns.traffic.offers import TCP_PORT
from tests.netns.traffic.sizes import MTU, OUTER_BYTES, UDP_HEADERS, VXLAN_BYTES
from tests.netns.traffic.wide import Wide

pytestmark = pytest.mark.root

BULK_BYTES = 3_000_000
HANGS_SECONDS = 2.0
"""For a transfer that must not get on: with discovery all of it takes a fraction of a second."""
NEXT_HOP_MTU = 1350
WAYS = [(kind, offer) for kind in ("NodePort", "balancer IP") for offer in ("local", "remote", "dsr-remote")]
SILENCE = """
add table inet silent
add chain inet silent out { type filter hook output priority 0; }
add rule inet silent out icmp type destination-unreachable drop
add rule inet silent out icmpv6 type packet-too-big drop
"""


@pytest.fixture(autouse=True)
def _paths_are_unknown(request: pytest.FixtureRequest) -> None:
    for name in {"wide", "overlaid"} & set(request.fixturenames):
        request.getfixturevalue(name).forget_paths()


@contextmanager
def silent(router: Place) -> Iterator[None]:
    """Have a router that keeps to itself what is too big for it: the black hole of RFC 2923."""
    router.run(["nft", SILENCE])
    try:
        yield
    finally:
        router.run(["nft", "delete", "table", "inet", "silent"])


@contextmanager
def narrow_route(node: Place, network: str, *ways: str) -> Iterator[None]:
    """Have a way out of a node that is narrower than its device."""
    version = "-6" if ":" in network else "-4"
    shown = node.run(["ip", version, "route", "show", network]).stdout.split()
    words = shown[: shown.index("proto")] if "proto" in shown else shown
    words = words[: words.index("metric")] if "metric" in words else words
    node.run(["ip", version, "route", "replace", *words, "mtu", "lock", str(NEXT_HOP_MTU), *ways])
    try:
        yield
    finally:
        node.run(["ip", version, "route", "replace", *words])


def fetch(wide: Wide, offer: str, kind: str, family: Family, seconds: float = SECONDS) -> Received:
    """Have the far client receive much from a Service."""
    host, port = wide.dialled(offer, kind, family, TCP_PORT)
    with inside(namespace_path(wide.far.netns)), TcpSession(Target(host, port, seconds)) as session:
        return session.download(BULK_BYTES)


@pytest.mark.parametrize(("kind", "offer"), WAYS)
def test_a_router_tells_the_backend_by_the_services_address_cilium_34380(
    wide: Wide, family: Family, kind: str, offer: str
) -> None:
    before = wide.counters(1, family)[Counter.ICMP_TRANSLATED]
    assert fetch(wide, offer, kind, family) == expected(BULK_BYTES)
    assert wide.counters(1, family)[Counter.ICMP_TRANSLATED] > before


@pytest.mark.parametrize("offer", ["local", "remote", "dsr-remote"])
def test_over_an_overlay_too(overlaid: Wide, family: Family, offer: str) -> None:
    before = overlaid.counters(1, family)[Counter.ICMP_TRANSLATED]
    assert fetch(overlaid, offer, "NodePort", family) == expected(BULK_BYTES)
    assert overlaid.counters(1, family)[Counter.ICMP_TRANSLATED] > before


@pytest.mark.parametrize(("kind", "offer"), WAYS)
def test_without_these_messages_it_would_hang(wide: Wide, family: Family, kind: str, offer: str) -> None:
    """So the tests above can fail."""
    with silent(wide.router):
        # Only now: what hung before is still sent again, and until just now the router answered it.
        wide.forget_paths()
        with pytest.raises(TimeoutError):
            fetch(wide, offer, kind, family, HANGS_SECONDS)


def check_client_learns(wide: Wide, offer: str, kind: str, family: Family, mtu: int) -> None:
    """Send what is too long by a byte from a socket that must not fragment: it learns the MTU, and then goes on."""
    with udp_client(wide.place("outside"), wide.dialled(offer, kind, family), fragment=False) as client:
        fits = mtu - UDP_HEADERS[family]
        assert ask(client, bytes(fits)) == bytes(fits)
        client.send(bytes(fits + 1))
        with pytest.raises(OSError, match="too long") as refused:
            client.recv(65_536)
        assert refused.value.errno == errno.EMSGSIZE
        assert path_mtu(client) == mtu
        with pytest.raises(OSError, match="too long"):
            client.send(bytes(fits + 1))
        assert ask(client, bytes(fits)) == bytes(fits)


@pytest.mark.parametrize("kind", ["NodePort", "balancer IP"])
def test_the_node_tells_clients_what_fits_into_an_overlay(overlaid: Wide, family: Family, kind: str) -> None:
    check_client_learns(overlaid, "remote", kind, family, MTU - VXLAN_BYTES)


@pytest.mark.parametrize("kind", ["NodePort", "balancer IP"])
@pytest.mark.parametrize("where", ["wide", "overlaid"])
def test_room_for_the_outer_header_is_kept_cilium_39690(
    request: pytest.FixtureRequest, family: Family, kind: str, where: str
) -> None:
    world: Wide = request.getfixturevalue(where)
    world.forget_paths()  # no argument names the world: the fixture above has passed it over
    overlay = VXLAN_BYTES if where == "overlaid" else 0
    check_client_learns(world, "dsr-remote", kind, family, MTU - overlay - OUTER_BYTES[family])


@pytest.mark.parametrize("offer", ["remote", "local"])
def test_the_node_tells_clients_what_its_route_takes_cilium_29583(wide: Wide, family: Family, offer: str) -> None:
    """Towards a remote backend the programs know, towards a local one the node's stack, whose errors are translated."""
    node, backend = wide.lab.node(1), wide.offers[offer].backend
    assert backend is not None
    with narrow_route(node, pod_network(2, family) if offer == "remote" else backend.address_of(family)):
        check_client_learns(wide, offer, "NodePort", family, NEXT_HOP_MTU)


def test_large_segments_that_would_not_fit_are_answered_too(wide: Wide, family: Family) -> None:
    """What TCP hands down in one piece of 64 kB is as long as its segments."""
    host, port = wide.dialled("remote", "NodePort", family, TCP_PORT)
    before = wide.counters(1, family)[Counter.TOO_BIG_ANSWERED]
    with (
        narrow_route(wide.lab.node(1), pod_network(2, family)),
        inside(namespace_path(wide.lab.client.netns)),
        TcpSession(Target(host, port, SECONDS)) as session,
    ):
        assert session.upload(BULK_BYTES) == expected(BULK_BYTES)
    assert wide.counters(1, family)[Counter.TOO_BIG_ANSWERED] > before


@pytest.mark.parametrize("offer", ["remote", "dsr-remote"])
def test_a_client_that_fragments_makes_smaller_ones_cilium_32601(overlaid: Wide, family: Family, offer: str) -> None:
    """The first datagram is lost: no program can cut a packet. Its sender hears why, and the next one fits."""
    with udp_client(overlaid.place("outside"), overlaid.dialled(offer, "NodePort", family)) as client:
        sent = bytes(4000)

        def arrives() -> bool:
            try:
                return ask(client, sent) == sent
            except OSError:
                return False

        client.settimeout(0.5)
        assert not arrives()
        until(arrives, SECONDS)
        assert path_mtu(client) == MTU - VXLAN_BYTES - (OUTER_BYTES[family] if offer == "dsr-remote" else 0)
