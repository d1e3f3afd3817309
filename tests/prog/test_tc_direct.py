"""Packets of flows that were here a moment ago, and pods that are handed theirs directly: what comes out is the same.

A pod's device is played by the uplink: a neighbour with a known address, which is what counts.
"""

from dataclasses import replace

import pytest

from ebpflb.core.abi import Counter, DeviceFlag
from tests.prog.clients import DEVICES, NODE_CIDR
from tests.prog.harness import Hook, Verdict
from tests.prog.lab import Lab, forwards
from tests.prog.services import Service
from tests.prog.wire import Wire
from tests.prog.world import GATEWAY_MAC, Device

pytestmark = pytest.mark.root

DIRECT = replace(NODE_CIDR, device_flags={Device.UPLINK: DeviceFlag.DIRECT})
SERVICE = Service("any:30080", ("remote",))
ASKED, TRANSLATED = Wire("client:4000", "node:30080"), Wire("node:4000", "remote:8080")
ANSWERED, RESTORED = Wire("remote:8080", "node:4000", flags="SA"), Wire("node:30080", "client:4000", flags="SA")


def handed(lab: Lab, packet: Wire, *counters: Counter, hook: Hook = Hook.UPLINK_IN) -> bytes:
    """Send a packet, which must be redirected; return the frame."""
    before = lab.datapath.counters()
    outcome = lab.run(hook, packet)
    after = lab.datapath.counters()
    assert outcome.verdict is Verdict.REDIRECT
    assert {counter for counter in after if after[counter] != before.get(counter, 0)} == {Counter.FORWARDED, *counters}
    return outcome.frame


def at_its_end(lab: Lab, packet: Wire) -> bytes:
    """Return the frame as who is handed it receives it: with the addresses that its device would have put there."""
    own = lab.datapath.namespace.mac(Device.UPLINK)
    return bytes.fromhex(GATEWAY_MAC.replace(":", "")) + own + lab.frame(packet.with_ttl(packet.ttl - 1))[12:]


def test_who_is_handed_a_packet_finds_his_own_address_on_it(lab: Lab) -> None:
    lab.load(SERVICE, devices=DEVICES, node=DIRECT)
    assert handed(lab, ASKED, Counter.FLOW_CREATED) == at_its_end(lab, TRANSLATED)
    assert handed(lab, ANSWERED) == at_its_end(lab, RESTORED)
    asked, translated = replace(ASKED, flags="A"), replace(TRANSLATED, flags="A")
    assert handed(lab, asked, Counter.FLOW_CONFIRMED) == at_its_end(lab, translated)
    for _ in range(3):  # the first draws the shortcut
        assert handed(lab, asked) == at_its_end(lab, translated)
        assert handed(lab, replace(ANSWERED, flags="A")) == at_its_end(lab, replace(RESTORED, flags="A"))


def test_nobody_is_handed_what_is_leaving_already(lab: Lab) -> None:
    """What the node itself sends is claimed at an egress hook, from where no packet can be handed over."""
    lab.load(SERVICE, devices=DEVICES, node=DIRECT)
    before = lab.frame(Wire("node:4000", "node:30080"))
    outcome = lab.datapath.run(Hook.OUT, before, came_in_by=0)
    assert outcome.frame[:12] == before[:12]


def test_others_leave_by_their_device(lab: Lab) -> None:
    lab.load(SERVICE, devices=DEVICES, node=NODE_CIDR)
    lab.play(
        forwards(ASKED, TRANSLATED).opening(),
        forwards(ANSWERED, RESTORED),
        forwards(replace(ASKED, flags="A"), replace(TRANSLATED, flags="A")).confirming(),
        *[forwards(replace(ASKED, flags="A"), replace(TRANSLATED, flags="A"))] * 3,
    )


def test_a_shortcut_ends_with_what_it_rests_on(udp: Lab) -> None:
    """The backend goes: the flow's next datagram goes to another one, at once."""
    udp.load(SERVICE, devices=DEVICES, node=DIRECT)
    handed(udp, ASKED, Counter.FLOW_CREATED)
    handed(udp, ANSWERED)
    handed(udp, ASKED, Counter.FLOW_CONFIRMED)
    for _ in range(2):
        handed(udp, ASKED)
    udp.load(Service("any:30080", ("remote2",)), devices=DEVICES, node=DIRECT)
    moved = handed(udp, ASKED, Counter.FLOW_RESELECTED, Counter.FLOW_CREATED)
    assert moved == at_its_end(udp, Wire("node:4000", "remote2:8080"))


def test_a_connections_end_is_seen(tcp: Lab) -> None:
    """FIN and RST take the long way, which notes them, however often the flow was here."""
    tcp.load(SERVICE, devices=DEVICES, node=DIRECT)
    handed(tcp, ASKED, Counter.FLOW_CREATED)
    handed(tcp, ANSWERED)
    handed(tcp, replace(ASKED, flags="A"), Counter.FLOW_CONFIRMED)
    for _ in range(2):
        handed(tcp, replace(ASKED, flags="A"))
    handed(tcp, replace(ASKED, flags="FA"))
    handed(tcp, replace(ANSWERED, flags="FA"))
    handed(tcp, ASKED, Counter.FLOW_RESELECTED, Counter.FLOW_CREATED)


def test_the_last_hop_is_counted_on_every_way(lab: Lab) -> None:
    """A TTL that has run out is answered, also on a flow that has a shortcut."""
    lab.load(SERVICE, devices=DEVICES, node=DIRECT)
    handed(lab, ASKED, Counter.FLOW_CREATED)
    handed(lab, ANSWERED)
    handed(lab, replace(ASKED, flags="A"), Counter.FLOW_CONFIRMED)
    for _ in range(2):
        handed(lab, replace(ASKED, flags="A"))
    before = lab.datapath.counters()
    lab.run(Hook.UPLINK_IN, replace(ASKED, flags="A").with_ttl(1))
    after = lab.datapath.counters()
    assert after.get(Counter.FORWARDED) == before.get(Counter.FORWARDED)
    assert after.get(Counter.TTL_ANSWERED, 0) == before.get(Counter.TTL_ANSWERED, 0) + 1
