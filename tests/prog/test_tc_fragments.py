"""Fragments in any order: the first one notes the ports, the others follow it, who comes too early waits.

What is let go comes in once more by its device: it is read there, as a program behind would see it.
"""

import itertools
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment
from scapy.packet import Packet, Raw

from ebpflb.core.abi import Counter, Family, FrontendKind
from tests.prog.harness import Hook, Outcome, Verdict
from tests.prog.lab import Lab
from tests.prog.races import side_by_side
from tests.prog.services import Node, Service
from tests.prog.wire import ETHERNET_BYTES, SENDER_MAC, Wire, ethernet, network
from tests.prog.world import Device

pytestmark = pytest.mark.root

UPLINK = Hook.UPLINK_IN
PAYLOAD = bytes(range(256)) * 12
PIECE = 1024
ETH_P_ALL = 3
SOL_PACKET, PACKET_IGNORE_OUTGOING = 263, 23  # linux/socket.h, linux/if_packet.h
HELD_BYTES = 2040
RACES = 2_000
"""Of which some hundred are close."""


@dataclass(frozen=True, slots=True)
class Ends:
    """Where a datagram comes from and goes to, and the TTL that it arrives with."""

    src: str
    dst: str
    ttl: int = 64
    id: int = 77


DIALLED = Ends("client:4000", "cluster:80")
TRANSLATED = Ends("node:4000", "remote:8080", ttl=63)


def fragments(lab: Lab, ends: Ends, payload: bytes = PAYLOAD, piece: int = PIECE) -> list[bytes]:
    """Return a datagram's frames in order; its checksum, in the first, is that of the whole."""
    wire = Wire(ends.src, ends.dst, ttl=ends.ttl)
    sport, dport = (int(end.rpartition(":")[2]) for end in (ends.src, ends.dst))
    whole = network(wire, lab.family) / UDP(sport=sport, dport=dport) / Raw(payload)
    body = bytes(whole)[20 if lab.family is Family.IPV4 else 40 :]
    pieces = [body[at : at + piece] for at in range(0, len(body), piece)]
    return [
        bytes(ethernet(wire) / _header(lab, wire, ends.id, at * piece // 8, at < len(pieces) - 1) / Raw(data))
        for at, data in enumerate(pieces)
    ]


def _header(lab: Lab, wire: Wire, identification: int, offset: int, more: bool) -> Packet:
    header = network(wire, lab.family)
    if lab.family is Family.IPV4:
        header[IP].id, header[IP].frag, header[IP].flags, header[IP].proto = (
            identification,
            offset,
            "MF" if more else 0,
            socket.IPPROTO_UDP,
        )
        return header
    header[IPv6].nh = socket.IPPROTO_FRAGMENT
    return header / IPv6ExtHdrFragment(nh=socket.IPPROTO_UDP, offset=offset, m=int(more), id=identification)


@contextmanager
def entrance(lab: Lab, device: Device = Device.UPLINK) -> Iterator[socket.socket]:
    """Give a socket that sees what comes in by a device."""
    with lab.datapath.namespace.entered():
        tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        tap.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)  # the stack may answer what comes in
        tap.bind((device.name.lower(), ETH_P_ALL))
    with tap:
        tap.settimeout(30)
        yield tap


def let_go(tap: socket.socket) -> bytes:
    """Return the next fragment that comes in; a device that is new may hear its peer join groups before."""
    while True:
        frame = tap.recv(1 << 16)
        if frame[6:12] == bytes.fromhex(SENDER_MAC.replace(":", "")):
            return frame


def counted(lab: Lab, counter: Counter) -> int:
    return lab.datapath.counters().get(counter, 0)


def run_one(lab: Lab, frames: Sequence[bytes], number: int) -> None:
    lab.datapath.run(UPLINK, frames[number])


@pytest.fixture
def remote(udp: Lab) -> Lab:
    """Give a lab whose Service has a backend on another node."""
    udp.load(Service("cluster:80", ("remote",), FrontendKind.CLUSTER_IP))
    return udp


def test_in_order_each_is_translated(remote: Lab) -> None:
    for dialled, translated in zip(fragments(remote, DIALLED), fragments(remote, TRANSLATED), strict=True):
        assert remote.datapath.run(UPLINK, dialled) == Outcome(Verdict.REDIRECT, translated)


def test_replies_are_restored_as_they_leave(udp: Lab) -> None:
    udp.load(Service("cluster:80", ("pod",), FrontendKind.CLUSTER_IP))
    udp.run(UPLINK, Wire("client:4000", "cluster:80"))
    replies, restored = (
        fragments(udp, Ends("pod:8080", "client:4000")),
        fragments(udp, Ends("cluster:80", "client:4000")),
    )
    for reply, expected in zip(replies, restored, strict=True):
        assert udp.datapath.run(Hook.OUT, reply) == Outcome(Verdict.NEXT, expected)


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))), ids=str)
def test_in_any_order_each_arrives_once(remote: Lab, order: tuple[int, ...]) -> None:
    """Whoever waits is let go one by one, each by the one before: as the device would hand them in."""
    sent, translated = fragments(remote, DIALLED), fragments(remote, TRANSLATED)
    arrived = []
    with entrance(remote) as tap:
        for number in order:
            pending = [sent[number]]
            while pending:
                before = counted(remote, Counter.FRAGMENT_RELEASED)
                outcome = remote.datapath.run(UPLINK, pending.pop())
                if outcome.verdict is Verdict.REDIRECT:
                    arrived.append(outcome.frame)
                if counted(remote, Counter.FRAGMENT_RELEASED) > before:
                    pending.append(let_go(tap))
    assert sorted(arrived) == sorted(translated)
    assert not remote.datapath.held_fragments()


def test_without_the_first_none_goes_on(remote: Lab) -> None:
    before = counted(remote, Counter.FRAGMENT_HELD)
    for frame in fragments(remote, DIALLED)[1:]:
        assert remote.datapath.run(UPLINK, frame).verdict is Verdict.DROP
    assert counted(remote, Counter.FRAGMENT_HELD) == before + 3
    assert remote.datapath.held_fragments() == 3
    assert not remote.datapath.flows()


def test_who_waited_too_long_waits_for_ever(remote: Lab) -> None:
    """A later datagram of the same number does not get them (ipfrag_time)."""
    first, *later = fragments(remote, DIALLED)
    remote.datapath.run(UPLINK, later[0])
    remote.datapath.age_datagrams(31 * remote.datapath.clock.hz)
    before = counted(remote, Counter.FRAGMENT_RELEASED)
    assert remote.datapath.run(UPLINK, first).verdict is Verdict.REDIRECT
    assert counted(remote, Counter.FRAGMENT_RELEASED) == before


@pytest.mark.parametrize("has_note", [True, False], ids=["its note is there", "its note gave way"])
def test_what_an_earlier_datagram_left_is_not_let_go_for_a_later_one(remote: Lab, has_note: bool) -> None:
    """Numbers are used again: what waited for a first fragment that never came is somebody else's."""
    old, *_rest = fragments(remote, DIALLED, payload=bytes(1500))[1:]
    first, new = fragments(remote, DIALLED, payload=PAYLOAD[:1500])
    with entrance(remote) as tap:
        assert remote.datapath.run(UPLINK, old).verdict is Verdict.DROP
        remote.datapath.age_datagrams(31 * remote.datapath.clock.hz)
        if not has_note:
            remote.datapath.forget_datagrams()
        assert remote.datapath.run(UPLINK, new).verdict is Verdict.DROP
        assert remote.datapath.run(UPLINK, first).verdict is Verdict.REDIRECT
        assert let_go(tap) == new
        before = counted(remote, Counter.FRAGMENT_RELEASED)
        assert remote.datapath.run(UPLINK, new).verdict is Verdict.REDIRECT
        assert counted(remote, Counter.FRAGMENT_RELEASED) == before


def test_a_fragment_that_gave_way_does_not_keep_the_others(remote: Lab) -> None:
    first, gone, waiting, *_rest = fragments(remote, DIALLED)
    with entrance(remote) as tap:
        for frame in (gone, waiting):
            assert remote.datapath.run(UPLINK, frame).verdict is Verdict.DROP
        remote.datapath.forget_fragment(0)
        assert remote.datapath.run(UPLINK, first).verdict is Verdict.REDIRECT
        assert let_go(tap) == waiting


def test_a_note_that_gave_way_leaves_no_fragment_behind(remote: Lab) -> None:
    first, early, late, *_rest = fragments(remote, DIALLED)
    with entrance(remote) as tap:
        assert remote.datapath.run(UPLINK, early).verdict is Verdict.DROP
        remote.datapath.forget_datagrams()
        assert remote.datapath.run(UPLINK, late).verdict is Verdict.DROP
        assert remote.datapath.run(UPLINK, first).verdict is Verdict.REDIRECT
        assert let_go(tap) == early
        assert remote.datapath.run(UPLINK, early).verdict is Verdict.REDIRECT
        assert let_go(tap) == late


def test_replies_to_pods_wait_too(udp: Lab) -> None:
    """A pod that no socket hook covers sees the Service as its peer: each fragment must be restored."""
    udp.load(Service("cluster:80", ("remote",), FrontendKind.CLUSTER_IP))
    udp.run(Hook.POD_IN, Wire("pod:4000", "cluster:80"))
    first, second, *_rest = fragments(udp, Ends("remote:8080", "pod:4000"))
    with entrance(udp) as tap:
        assert udp.datapath.run(UPLINK, second).verdict is Verdict.DROP
        assert udp.datapath.run(UPLINK, first) == Outcome(Verdict.NEXT, first)
        assert let_go(tap) == second
    assert udp.datapath.run(UPLINK, second) == Outcome(Verdict.NEXT, second)


def test_without_a_network_of_pods_theirs_pass(udp: Lab) -> None:
    udp.load(Service("cluster:80", ("remote",), FrontendKind.CLUSTER_IP), node=Node(pods=None))
    frame = fragments(udp, Ends("remote:8080", "pod:4000"))[1]
    assert udp.datapath.run(UPLINK, frame) == Outcome(Verdict.NEXT, frame)


def test_none_is_lost_between_two_processors(remote: Lab) -> None:
    """A card may hand the first fragment, which has ports, to another processor than the rest."""
    datagrams = [fragments(remote, replace(DIALLED, id=number), bytes(1500)) for number in range(RACES)]
    before = counted(remote, Counter.FRAGMENT_HELD), counted(remote, Counter.FRAGMENT_RELEASED)
    side_by_side([partial(run_one, remote, list(frames)) for frames in zip(*datagrams, strict=True)], RACES)
    held, released = counted(remote, Counter.FRAGMENT_HELD), counted(remote, Counter.FRAGMENT_RELEASED)
    assert held - before[0] <= released - before[1]
    assert not remote.datapath.held_fragments()


def test_datagrams_do_not_mix(remote: Lab) -> None:
    """Number, addresses and protocol tell them apart."""
    remote.datapath.run(UPLINK, fragments(remote, DIALLED)[0])
    for other in (Ends("client:4000", "cluster:80", id=78), Ends("client2:4000", "cluster:80")):
        assert remote.datapath.run(UPLINK, fragments(remote, other)[1]).verdict is Verdict.DROP


def test_fragments_to_nobody_pass(remote: Lab) -> None:
    before = counted(remote, Counter.PASSED_FRAGMENT)
    frames = fragments(remote, Ends("client:4000", "external:80"))
    for frame in (frames[1], frames[0]):
        assert remote.datapath.run(UPLINK, frame) == Outcome(Verdict.NEXT, frame)
    assert counted(remote, Counter.PASSED_FRAGMENT) == before + 1


def test_fragments_to_the_node_itself_come_in_though_out_of_order(remote: Lab) -> None:
    first, *later = fragments(remote, Ends("client:4000", "node:53"), payload=bytes(1500))
    with entrance(remote) as tap:
        assert remote.datapath.run(UPLINK, later[0]).verdict is Verdict.DROP
        assert remote.datapath.run(UPLINK, first) == Outcome(Verdict.NEXT, first)
        assert let_go(tap) == later[0]
    assert remote.datapath.run(UPLINK, later[0]) == Outcome(Verdict.NEXT, later[0])


def test_fragments_of_a_refused_datagram_are_not_refused_each(udp: Lab) -> None:
    udp.load(Service("cluster:80", (), FrontendKind.CLUSTER_IP))
    first, second, *_rest = fragments(udp, DIALLED)
    assert udp.datapath.run(UPLINK, first).verdict is Verdict.DROP
    assert udp.datapath.run(UPLINK, second) == Outcome(Verdict.NEXT, second)


def test_fragments_that_overlap_are_the_receivers_business(remote: Lab) -> None:
    """Each is translated by its datagram; whoever puts them together finds out (RFC 5722), and times them out."""
    halves = fragments(remote, DIALLED), fragments(remote, TRANSLATED)
    shifted = [fragments(remote, ends, piece=PIECE // 2) for ends in (DIALLED, TRANSLATED)]
    assert remote.datapath.run(UPLINK, halves[0][0]) == Outcome(Verdict.REDIRECT, halves[1][0])
    for dialled, translated in zip(*(each[1:] for each in shifted), strict=True):
        assert remote.datapath.run(UPLINK, dialled) == Outcome(Verdict.REDIRECT, translated)


def test_one_that_is_larger_than_what_may_wait_passes(remote: Lab) -> None:
    frames = fragments(remote, DIALLED, payload=bytes(5000), piece=2048)
    before = counted(remote, Counter.PASSED_FRAGMENT)
    assert len(frames[1]) > HELD_BYTES > ETHERNET_BYTES
    assert remote.datapath.run(UPLINK, frames[1]) == Outcome(Verdict.NEXT, frames[1])
    assert counted(remote, Counter.PASSED_FRAGMENT) == before + 1
    assert not counted(remote, Counter.DROP_FRAGMENT)
