"""The shortest way through XDP: established flows go it to the byte as they go the long one, and not a moment longer
than they may.
"""

import time
from dataclasses import replace

import pytest

from ebpflb.core.abi import Counter, Family, FlowFlag, FlowSeen, Protocol
from tests.prog.harness import Hook, XdpOutcome, XdpVerdict
from tests.prog.lab import Lab
from tests.prog.test_xdp import REQUEST, cluster_ip, next_hop
from tests.prog.wire import Wire, build
from tests.prog.world import GATEWAY_MAC, GATEWAYS, Device

pytestmark = pytest.mark.root

ONWARD = replace(REQUEST, flags="A")
SENT_ON = Wire("node:4000", "remote:8080", flags="A")
OTHER_MAC = "02:00:00:00:00:fd"
SOON_S = 1
"""Many times as long as a shortcut holds."""


def run(lab: Lab, wire: Wire) -> XdpOutcome:
    return lab.datapath.run_xdp(lab.frame(wire), Device.UPLINK)


def establish(lab: Lab, *backends: str) -> None:
    """Have a flow that goes the shortest way: its handshake, a packet that draws the shortcut, one that takes it."""
    lab.load(cluster_ip(*(backends or ("remote",))))
    run(lab, REQUEST)
    run(lab, Wire("remote:8080", "node:4000", flags="SA"))
    for _packet in range(3):
        assert run(lab, ONWARD) == XdpOutcome(XdpVerdict.TX, next_hop(lab, SENT_ON))
    assert lab.datapath.confirmed()


def test_both_directions_come_out_as_they_did_before(lab: Lab) -> None:
    establish(lab)
    reply = Wire("remote:8080", "node:4000", flags="A", payload=b"odd")
    for _packet in range(3):
        before = lab.datapath.counters().get(Counter.FORWARDED, 0)
        restored = run(lab, reply)
        assert restored == XdpOutcome(
            XdpVerdict.TX, next_hop(lab, Wire("cluster:80", "client:4000", flags="A", payload=b"odd"))
        )
        assert lab.datapath.counters()[Counter.FORWARDED] == before + 1


def test_flows_that_share_a_slot_keep_apart(tcp: Lab) -> None:
    """Of 120 flows, some seven meet another one in its slot: one of the two is drawn beside it, for each packet."""
    tcp.load(cluster_ip("remote"))
    ports = range(5000, 5120)
    rows = {
        tcp.key(f"client:{port}", "cluster:80"): tcp.flow(
            f"node:{port}",
            "remote:8080",
            backend="remote",
            flags=FlowFlag.FORWARD | FlowFlag.SNAT,
            seen=FlowSeen.DATA,
        )
        for port in ports
    }
    tcp.datapath.put_flows(rows)
    for _turn in range(2):
        for port in ports:
            outcome = run(tcp, replace(ONWARD, src=f"client:{port}"))
            wanted = tcp.frame(replace(SENT_ON, src=f"node:{port}", ttl=63))
            assert (outcome.verdict, outcome.frame[12:]) == (XdpVerdict.TX, wanted[12:]), port
    assert tcp.datapath.confirmed().keys() == rows.keys()


def test_a_local_backend_is_passed_up(lab: Lab) -> None:
    lab.load(cluster_ip("pod"))
    run(lab, REQUEST)
    lab.run(Hook.OUT, Wire("pod:8080", "client:4000", flags="SA"), Device.POD)
    for _packet in range(3):
        outcome = run(lab, ONWARD)
        assert outcome == XdpOutcome(XdpVerdict.PASS, lab.frame(Wire("client:4000", "pod:8080", flags="A")))
    assert lab.datapath.confirmed()


def test_a_neighbour_that_moves_is_followed_soon(tcp: Lab) -> None:
    establish(tcp)
    gateway, namespace = GATEWAYS[tcp.family], tcp.datapath.namespace
    namespace.configure([f"neighbour replace {gateway} lladdr {OTHER_MAC} dev uplink nud permanent"])
    try:
        moved = began = time.monotonic()
        while run(tcp, ONWARD).frame[:6].hex(":") != OTHER_MAC:
            assert began - moved < SOON_S, "the old neighbour still gets the frames"
            began = time.monotonic()  # what begins so late goes the new way, however long it is kept waiting
    finally:
        namespace.configure([f"neighbour replace {gateway} lladdr {GATEWAY_MAC} dev uplink nud permanent"])


def test_a_device_that_takes_no_more_frames_gets_none(lab: Lab) -> None:
    establish(lab)
    lab.load(cluster_ip("remote"), xdp=False)
    assert run(lab, ONWARD) == XdpOutcome(XdpVerdict.PASS, lab.frame(ONWARD))


def test_a_datagram_leaves_a_backend_that_is_gone(udp: Lab) -> None:
    establish(udp)
    udp.load(cluster_ip("remote2"))
    assert run(udp, ONWARD).frame == next_hop(udp, Wire("node:4000", "remote2:8080", flags="A"))


def test_a_connection_in_the_place_of_another_goes_its_own_way(tcp: Lab) -> None:
    establish(tcp)
    run(tcp, replace(REQUEST, flags="FA"))
    tcp.load(cluster_ip("remote2"), draining=("remote",))
    opened = run(tcp, REQUEST)
    assert opened.frame == next_hop(tcp, Wire("node:4000", "remote2:8080"))
    assert run(tcp, ONWARD).frame == next_hop(tcp, Wire("node:4000", "remote2:8080", flags="A"))


@pytest.mark.parametrize(("flags", "seen"), [("FA", FlowSeen.FIN), ("R", FlowSeen.RST)])
def test_the_end_of_a_connection_is_noted(tcp: Lab, flags: str, seen: FlowSeen) -> None:
    establish(tcp)
    assert run(tcp, replace(REQUEST, flags=flags)).verdict is XdpVerdict.TX
    assert tcp.datapath.confirmed()[tcp.key("client:4000", "cluster:80")].seen & seen


def test_the_last_hop_and_long_packets_are_left_to_tc(udp: Lab) -> None:
    establish(udp)
    for wire in (ONWARD.with_ttl(1), replace(ONWARD, payload=bytes(1600))):
        assert run(udp, wire) == XdpOutcome(XdpVerdict.PASS, udp.frame(wire))


def test_a_checksum_that_is_none_stays_none(udp: Lab) -> None:
    establish(udp)
    if udp.family is Family.IPV4:
        outcome = run(udp, replace(ONWARD, no_checksum=True))
        assert outcome.frame == next_hop(udp, replace(SENT_ON, no_checksum=True))


def test_a_stranger_passes_and_is_not_counted(lab: Lab) -> None:
    lab.load(cluster_ip("remote"))
    before = lab.datapath.counters()
    wire = Wire("client:4000", "stranger:80")
    assert run(lab, wire) == XdpOutcome(XdpVerdict.PASS, lab.frame(wire))
    assert lab.datapath.counters() == before


def test_a_stranger_passes_whatever_its_packet_carries(udp: Lab) -> None:
    """It is told by its address: nobody looks at the transport."""
    udp.load(cluster_ip("remote"))
    before = udp.datapath.counters()
    frame = build(Wire("client:4000", "stranger:80"), udp.family, Protocol.SCTP)
    assert udp.datapath.run_xdp(frame, Device.UPLINK) == XdpOutcome(XdpVerdict.PASS, frame)
    assert udp.datapath.counters() == before


def test_a_packet_that_is_cut_short_is_never_half_changed(lab: Lab) -> None:
    establish(lab)
    frame, whole = lab.frame(ONWARD), next_hop(lab, SENT_ON)
    headers = len(frame) - len(ONWARD.payload)
    for length in range(14, len(frame)):
        outcome = lab.datapath.run_xdp(frame[:length], Device.UPLINK)
        is_cut = length < headers
        expected = (XdpVerdict.PASS, frame[:length]) if is_cut else (XdpVerdict.TX, whole[:length])
        assert outcome == XdpOutcome(*expected), length
