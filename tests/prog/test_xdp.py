"""The XDP hook: plain packets of clients outside are sent on or passed up from there, all else is left to tc.

What becomes of a packet at XDP is what becomes of it at tc, to the byte but for the MAC addresses of the next hop.
"""

from dataclasses import replace

import pytest

from ebpflb.core.abi import Counter, Family, FrontendKind, Protocol
from tests.prog.harness import Hook, Verdict, XdpOutcome, XdpVerdict
from tests.prog.lab import Lab, forwards
from tests.prog.services import Service
from tests.prog.wire import Wire, build
from tests.prog.world import GATEWAY_MAC, Device

pytestmark = pytest.mark.root

REQUEST = Wire("client:4000", "cluster:80")


def cluster_ip(*backends: str, dsr: bool = False) -> Service:
    kind = FrontendKind.LOAD_BALANCER if dsr else FrontendKind.CLUSTER_IP
    return Service("cluster:80", backends, kind, dsr=dsr)


def sends(lab: Lab, wire: Wire, *counters: Counter) -> XdpOutcome:
    """Run the XDP program on a packet; asserts what is counted."""
    before = lab.datapath.counters()
    outcome = lab.datapath.run_xdp(lab.frame(wire), Device.UPLINK)
    after = lab.datapath.counters()
    raised = {counter for counter in after if after[counter] != before.get(counter, 0)}
    assert raised == set(counters)
    return outcome


def next_hop(lab: Lab, wire: Wire) -> bytes:
    """Return the frame as it goes to the gateway of the uplink: TTL and MAC addresses are those of a router's."""
    frame = lab.frame(wire.with_ttl(wire.ttl - 1))
    own = lab.datapath.namespace.mac(Device.UPLINK)
    return bytes.fromhex(GATEWAY_MAC.replace(":", "")) + own + frame[12:]


def test_a_remote_backend_and_its_reply(lab: Lab) -> None:
    lab.load(cluster_ip("remote"))
    first = sends(lab, REQUEST, Counter.FORWARDED, Counter.FLOW_CREATED)
    assert first == XdpOutcome(XdpVerdict.TX, next_hop(lab, Wire("node:4000", "remote:8080")))
    reply = sends(lab, Wire("remote:8080", "node:4000", flags="SA"), Counter.FORWARDED)
    assert reply == XdpOutcome(XdpVerdict.TX, next_hop(lab, Wire("cluster:80", "client:4000", flags="SA")))
    again = sends(lab, replace(REQUEST, flags="A"), Counter.FORWARDED, Counter.FLOW_CONFIRMED)
    assert again == XdpOutcome(XdpVerdict.TX, next_hop(lab, Wire("node:4000", "remote:8080", flags="A")))


def test_a_flow_that_began_at_xdp_goes_on_at_tc_and_back(lab: Lab) -> None:
    lab.load(cluster_ip("remote"))
    sends(lab, REQUEST, Counter.FORWARDED, Counter.FLOW_CREATED)
    reply = lab.run(Hook.UPLINK_IN, Wire("remote:8080", "node:4000", flags="SA"))
    assert reply.frame == lab.frame(Wire("cluster:80", "client:4000", flags="SA", ttl=63))
    sends(lab, replace(REQUEST, flags="A"), Counter.FORWARDED, Counter.FLOW_CONFIRMED)


def test_a_local_backend_is_passed_up_translated(lab: Lab) -> None:
    lab.load(cluster_ip("pod"))
    outcome = sends(lab, REQUEST, Counter.DELIVERED, Counter.FLOW_CREATED)
    assert outcome == XdpOutcome(XdpVerdict.PASS, lab.frame(Wire("client:4000", "pod:8080")))
    passed_on = lab.datapath.run(Hook.UPLINK_IN, outcome.frame)
    assert passed_on.frame == outcome.frame


def test_dsr_puts_the_packet_into_its_outer_header_as_tc_does(lab: Lab) -> None:
    lab.load(cluster_ip("remote", dsr=True))
    at_tc = lab.run(Hook.UPLINK_IN, REQUEST)
    lab.datapath.clear()
    outcome = sends(lab, REQUEST, Counter.FORWARDED, Counter.FLOW_CREATED, Counter.ENCAPSULATED)
    assert outcome.verdict is XdpVerdict.TX
    assert outcome.frame[12:] == at_tc.frame[12:]


LEFT_TO_TC = {
    "no backend": (Service("cluster:80", (), FrontendKind.CLUSTER_IP), REQUEST),
    "the TTL ends here": (cluster_ip("remote"), REQUEST.with_ttl(1)),
    "too big": (cluster_ip("remote"), replace(REQUEST, payload=bytes(1600))),
}


@pytest.mark.parametrize("name", LEFT_TO_TC)
def test_what_tc_decides_is_left_to_it_as_it_came(udp: Lab, name: str) -> None:
    service, wire = LEFT_TO_TC[name]
    udp.load(service)
    outcome = udp.datapath.run_xdp(udp.frame(wire), Device.UPLINK)
    assert outcome == XdpOutcome(XdpVerdict.PASS, udp.frame(wire))
    assert udp.datapath.counters()[Counter.XDP_TO_TC]


def test_a_device_that_takes_no_frames_of_xdp_gets_them_from_tc(lab: Lab) -> None:
    """The flow begins at XDP all the same: tc follows it, and asks nobody."""
    lab.load(cluster_ip("remote"), xdp=False)
    outcome = sends(lab, REQUEST, Counter.XDP_TO_TC, Counter.FLOW_CREATED)
    assert outcome == XdpOutcome(XdpVerdict.PASS, lab.frame(REQUEST))
    flows = lab.datapath.flows()
    lab.play(forwards(REQUEST, Wire("node:4000", "remote:8080")))
    assert lab.datapath.flows() == flows


def test_a_packet_that_passes_xdp_and_tc_is_one_packet(udp: Lab) -> None:
    """Under DSR nobody sees answers: the second packet of a client confirms its flow, and no flood sends one."""
    udp.load(cluster_ip("remote", dsr=True))
    too_big = replace(
        REQUEST, payload=bytes({Family.IPV4: 1470, Family.IPV6: 1450}[udp.family])
    )  # with an outer header
    frame = udp.frame(too_big)
    assert sends(udp, too_big, Counter.XDP_TO_TC, Counter.FLOW_CREATED) == XdpOutcome(XdpVerdict.PASS, frame)
    assert udp.datapath.run(Hook.UPLINK_IN, frame).verdict is Verdict.REDIRECT
    assert udp.datapath.counters()[Counter.TOO_BIG_ANSWERED]
    assert not udp.datapath.confirmed()
    udp.run(Hook.UPLINK_IN, REQUEST)
    assert len(udp.datapath.confirmed()) == 1


def test_sctp_is_left_to_tc(udp: Lab) -> None:
    udp.load(cluster_ip("remote"))
    frame = build(REQUEST, udp.family, Protocol.SCTP)
    assert udp.datapath.run_xdp(frame, Device.UPLINK) == XdpOutcome(XdpVerdict.PASS, frame)


def test_options_are_left_to_tc(udp: Lab) -> None:
    if udp.family is Family.IPV6:
        return  # has none
    udp.load(cluster_ip("remote"))
    frame = udp.frame(replace(REQUEST, options=bytes([148, 4, 0, 0])))
    assert udp.datapath.run_xdp(frame, Device.UPLINK) == XdpOutcome(XdpVerdict.PASS, frame)


def test_a_client_without_a_local_backend_is_dropped_here(lab: Lab) -> None:
    lab.load(replace(cluster_ip("remote"), local_policy=True))
    assert sends(lab, REQUEST, Counter.DROP_NO_LOCAL_BACKEND).verdict is XdpVerdict.DROP


def test_a_packet_cut_at_every_byte_is_never_half_changed(lab: Lab) -> None:
    lab.load(cluster_ip("remote"))
    frame, whole = lab.frame(REQUEST), next_hop(lab, Wire("node:4000", "remote:8080"))
    headers = 14 + (20 if lab.family is Family.IPV4 else 40) + (20 if lab.protocol is Protocol.TCP else 8)
    for length in range(14, len(frame)):
        outcome = lab.datapath.run_xdp(frame[:length], Device.UPLINK)
        if length < headers:
            assert outcome == XdpOutcome(XdpVerdict.PASS, frame[:length]), length
        else:
            assert outcome == XdpOutcome(XdpVerdict.TX, whole[:length]), length
