"""Datagrams that do not fit one packet arrive whole, through every kind of frontend and in whatever order.

Fragments of what others complain about: out of order, of 1,473 to 1,475 bytes, by SNAT, DSR or ClusterIP (cilium#25709,
#13349, #32427, #11180, #8185).
"""

import secrets
import socket
from collections.abc import Callable
from itertools import permutations
from typing import NamedTuple

import pytest

from ebpflb.bench.agents import BPFFS
from ebpflb.bench.topology import Place
from ebpflb.core.abi import Counter, Family
from ebpflb.datapath.pins import Pins
from ebpflb.datapath.store import open_map
from tests.netns.traffic.datagrams import (
    NO_ANSWER_SECONDS,
    SECONDS,
    Address,
    ask,
    fragments,
    send_raw,
    udp_client,
)
from tests.netns.traffic.flows import forget_datagrams
from tests.netns.traffic.offers import UDP_TARGET
from tests.netns.traffic.sizes import LONGEST_DATAGRAM, MTU, UDP_HEADERS
from tests.netns.traffic.wide import Wide

pytestmark = pytest.mark.root

SIZES = [1452, 1453, 1472, 1473, 1474, 1475, 4000]
"""Around what an IPv6 packet and an IPv4 packet take."""


class Way(NamedTuple):
    """Who calls what."""

    caller: str
    kind: str
    offer: str

    def __str__(self) -> str:
        return f"{self.caller} to {self.kind} of {self.offer}"


WAYS = [
    Way("outside", "NodePort", "remote"),
    Way("outside", "NodePort", "local"),
    Way("outside", "balancer IP", "remote"),
    Way("outside", "external IP", "local"),
    Way("outside", "ClusterIP", "remote"),
    Way("uncovered", "ClusterIP", "remote"),
    Way("uncovered", "NodePort", "local"),
    Way("uncovered", "ClusterIP", "self"),
    Way("outside", "NodePort", "dsr-remote"),
    Way("outside", "balancer IP", "dsr-remote"),
]
ORDERS = [order for order in permutations(range(3)) if order != (0, 1, 2)]


@pytest.fixture(autouse=True)
def _paths_are_unknown(wide: Wide) -> None:
    wide.forget_paths(wide.lab.client)


def held_rows(wide: Wide, family: Family) -> int:
    """Return how many fragments node-1 keeps."""
    with open_map(Pins(BPFFS, wide.agents[1].instance), family, "held_fragments") as opened:
        return len(opened.read()[0])


def counted(wide: Wide, family: Family, act: Callable[[], object]) -> dict[Counter, int]:
    """Return by how much node-1's counters rose during an act."""
    before = wide.counters(1, family)
    act()
    after = wide.counters(1, family)
    return {counter: after[counter] - before[counter] for counter in after}


def source_of(place: Place, target: Address, port: int) -> Address:
    family = Family.IPV6 if ":" in target[0] else Family.IPV4
    return place.address_of(family), port


def learn_path(client: socket.socket) -> None:
    """Lose a datagram that leaves no room for the outer header, and hear of it."""
    with pytest.raises(OSError, match="too long"):
        ask(client, bytes(MTU - UDP_HEADERS[Family.IPV4]))


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_a_datagram_of_any_length_arrives_whole_and_so_does_its_answer(wide: Wide, family: Family, way: Way) -> None:
    with udp_client(wide.place(way.caller), wide.dialled(way.offer, way.kind, family)) as client:
        if way.offer == "dsr-remote":
            learn_path(client)
        for size in (*SIZES, LONGEST_DATAGRAM[family]):
            sent = secrets.token_bytes(size)
            assert ask(client, sent) == sent


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: "".join(map(str, order)))
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_fragments_out_of_order_cilium_25709(wide: Wide, family: Family, way: Way, order: tuple[int, ...]) -> None:
    place, target = wide.place(way.caller), wide.dialled(way.offer, way.kind, family)
    with udp_client(place, target) as client:
        sent = secrets.token_bytes(3000)
        made = fragments(source_of(place, target, client.getsockname()[1]), target, sent, 3)

        def exchange() -> None:
            send_raw(place, target, [made[number] for number in order])
            assert client.recv(65_536) == sent

        counts = counted(wide, family, exchange)
    early = order.index(0)
    if way.offer != "self":
        # A hairpin's way back is one more datagram through this node, in order.
        assert counts[Counter.FRAGMENT_HELD] == counts[Counter.FRAGMENT_RELEASED] == early
    assert counts[Counter.DROP_FRAGMENT] == 0


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: "".join(map(str, order)))
@pytest.mark.parametrize("caller", ["uncovered", "outside"])
def test_replies_out_of_order_come_from_the_service(
    wide: Wide, family: Family, caller: str, order: tuple[int, ...]
) -> None:
    """A connected socket hears nobody else; the pod sees no other peer than the one it has dialled."""
    place, backend = wide.place(caller), wide.lab.pod(2, 1)
    forget_datagrams(
        Pins(BPFFS, wide.agents[1].instance), [family]
    )  # a flow that has the client's port would change it
    with udp_client(place, wide.dialled("remote", "ClusterIP", family)) as client:
        ask(client, b"who")
        seen_as = place if caller == "uncovered" else wide.lab.node(1)
        asker = source_of(seen_as, client.getpeername(), client.getsockname()[1])
        sent = secrets.token_bytes(3000)
        made = fragments((backend.address_of(family), UDP_TARGET), asker, sent, 3)
        send_raw(backend, asker, [made[number] for number in order])
        assert client.recv(65_536) == sent


def test_many_fragments_the_last_one_first(wide: Wide, family: Family) -> None:
    place, target = wide.place("outside"), wide.dialled("remote", "NodePort", family)
    with udp_client(place, target) as client:
        sent = secrets.token_bytes(60_000)
        made = fragments(source_of(place, target, client.getsockname()[1]), target, sent, 45)

        def exchange() -> None:
            send_raw(place, target, reversed(made))
            assert client.recv(65_536) == sent

        counts = counted(wide, family, exchange)
    assert counts[Counter.FRAGMENT_HELD] == counts[Counter.FRAGMENT_RELEASED] == 44


@pytest.mark.parametrize("twice", [0, 1, 2])
@pytest.mark.parametrize("offer", ["local", "remote", "dsr-remote"])
def test_a_fragment_that_comes_twice_does_no_harm(wide: Wide, family: Family, offer: str, twice: int) -> None:
    place, target = wide.place("outside"), wide.dialled(offer, "NodePort", family)
    with udp_client(place, target) as client:
        sent = secrets.token_bytes(3000)
        made = fragments(source_of(place, target, client.getsockname()[1]), target, sent, 3)
        send_raw(place, target, [made[2], made[twice], *made])
        assert client.recv(65_536) == sent


@pytest.mark.parametrize("missing", [0, 1, 2])
@pytest.mark.parametrize("offer", ["local", "remote"])
def test_a_datagram_with_a_missing_fragment_never_arrives(wide: Wide, family: Family, offer: str, missing: int) -> None:
    place, target = wide.place("outside"), wide.dialled(offer, "NodePort", family)
    with udp_client(place, target) as client:
        made = fragments(source_of(place, target, client.getsockname()[1]), target, bytes(3000), 3)
        del made[missing]
        client.settimeout(NO_ANSWER_SECONDS)
        send_raw(place, target, made)
        with pytest.raises(TimeoutError):
            client.recv(65_536)
        client.settimeout(SECONDS)
        assert ask(client, b"and the next one?") == b"and the next one?"


def test_fragments_without_a_first_one_keep_no_more_than_the_map_has_room_for(wide: Wide, family: Family) -> None:
    place, target = wide.place("outside"), wide.dialled("remote", "NodePort", family)
    with open_map(Pins(BPFFS, wide.agents[1].instance), family, "held_fragments") as opened:
        room = opened.info.max_entries
    source = source_of(place, target, 40_000)

    def flood() -> None:
        for _ in range(room // 2):
            send_raw(place, target, fragments(source, target, bytes(3000), 3)[1:])

    counts = counted(wide, family, flood)
    assert counts[Counter.FRAGMENT_HELD] > 0
    assert 0 < held_rows(wide, family) <= room
    with udp_client(place, target) as client:
        sent = secrets.token_bytes(3000)
        made = fragments(source_of(place, target, client.getsockname()[1]), target, sent, 3)
        send_raw(place, target, reversed(made))
        assert client.recv(65_536) == sent


@pytest.mark.parametrize("order", [(0, 1, 2), *ORDERS], ids=lambda order: "".join(map(str, order)))
@pytest.mark.parametrize("where", ["node", "pod"])
def test_fragments_that_are_for_no_service_arrive_in_any_order(
    wide: Wide, family: Family, where: str, order: tuple[int, ...]
) -> None:
    """At the node's own address they may have waited; a pod's address is none of a Service."""
    node, place = wide.lab.node(1), wide.place("outside")
    receiver = node if where == "node" else node.pod(3)
    target = (receiver.address_of(family), UDP_TARGET)
    with udp_client(place, target) as client:
        sent = secrets.token_bytes(3000)
        made = fragments(source_of(place, target, client.getsockname()[1]), target, sent, 3)
        send_raw(place, target, [made[number] for number in order])
        assert client.recv(65_536) == sent
