"""ClusterIPs at ports that no Service has, and addresses that no Service has: refused, dropped, or nobody's business.

semantics.md 1.8, at every packet hook where it can be met.
"""

from collections.abc import Callable
from dataclasses import replace

import pytest
from scapy.layers.sctp import SCTP
from scapy.packet import Raw

from ebpflb.core.abi import Counter, Family, FrontendKind, Protocol
from tests.prog.fragment_frames import fragments_of
from tests.prog.harness import NODES_OWN, Hook, Outcome, Verdict, XdpOutcome, XdpVerdict
from tests.prog.lab import Lab, delivers, drops, passes
from tests.prog.services import Node, Service
from tests.prog.test_tc_ping import ping
from tests.prog.test_tc_reject import expected_answer
from tests.prog.wire import Wire, ethernet, network
from tests.prog.world import Device

pytestmark = pytest.mark.root

UPLINK, POD, OUT = Hook.UPLINK_IN, Hook.POD_IN, Hook.OUT
CLUSTER_IP = Service("cluster:80", ("pod",), FrontendKind.CLUSTER_IP)
CIDR = Node(cidrs=(("cluster", 16),))
CLIENTS = {UPLINK: "client", POD: "pod", OUT: "node"}
"""Who shows up where; the node's own packets did not come in by a device."""
REFUSED = (Counter.REJECTED, Counter.REJECTED_PORT)


def send(lab: Lab, hook: Hook, wire: Wire) -> Outcome:
    """Run a program on a client's packet; at ``OUT``, on the node's own."""
    device = Device.POD if hook is POD else Device.UPLINK
    return lab.datapath.run(hook, lab.frame(wire), device, came_in_by=NODES_OWN if hook is OUT else device)


def counted(lab: Lab) -> dict[Counter, int]:
    return lab.datapath.counters()


def raised(before: dict[Counter, int], after: dict[Counter, int]) -> dict[Counter, int]:
    return {
        counter: after[counter] - before.get(counter, 0) for counter in after if after[counter] != before.get(counter)
    }


@pytest.fixture(params=(Protocol.TCP, Protocol.UDP, Protocol.SCTP), ids=lambda protocol: protocol.name)
def any_lab(request: pytest.FixtureRequest, family: Family, lab_of: Callable[[Family, Protocol], Lab]) -> Lab:
    """Run the test for every protocol, in both families."""
    return lab_of(family, request.param)


@pytest.mark.parametrize("hook", CLIENTS)
def test_another_port_of_a_cluster_ip_is_refused_to_everybody(any_lab: Lab, hook: Hook) -> None:
    any_lab.load(CLUSTER_IP)
    wire = Wire(f"{CLIENTS[hook]}:4000", "cluster:81")
    before = counted(any_lab)
    outcome = send(any_lab, hook, wire)
    assert raised(before, counted(any_lab)) == dict.fromkeys(REFUSED, 1)
    assert outcome.verdict is Verdict.REDIRECT
    assert outcome.frame.hex() == expected_answer(any_lab, wire).hex()
    assert not any_lab.datapath.flows()


@pytest.mark.parametrize("hook", CLIENTS)
def test_another_protocol_of_a_cluster_ip_is_refused(family: Family, lab_of: Callable[..., Lab], hook: Hook) -> None:
    """The same number on two protocols is two ports."""
    tcp, udp = lab_of(family, Protocol.TCP), lab_of(family, Protocol.UDP)
    tcp.load(CLUSTER_IP)
    wire = Wire(f"{CLIENTS[hook]}:4000", "cluster:80")
    outcome = send(udp, hook, wire)
    assert outcome == Outcome(Verdict.REDIRECT, expected_answer(udp, wire))


@pytest.mark.parametrize("hook", CLIENTS)
def test_a_service_without_backends_has_an_address_all_the_same(lab: Lab, hook: Hook) -> None:
    lab.load(replace(CLUSTER_IP, backends=()), node=CIDR)
    wire = Wire(f"{CLIENTS[hook]}:4000", "cluster:81")
    assert send(lab, hook, wire) == Outcome(Verdict.REDIRECT, expected_answer(lab, wire))


OTHER_KINDS = [FrontendKind.LOAD_BALANCER, FrontendKind.EXTERNAL_IP]


@pytest.mark.parametrize("hook", CLIENTS)
@pytest.mark.parametrize("kind", OTHER_KINDS)
@pytest.mark.parametrize("name", ["external", "nearby"])
def test_another_port_of_any_other_address_is_left_alone(lab: Lab, kind: FrontendKind, hook: Hook, name: str) -> None:
    """Also of one that stands between ClusterIPs."""
    lab.load(CLUSTER_IP, Service(f"{name}:80", ("pod",), kind, id=2))
    frame = lab.frame(Wire(f"{CLIENTS[hook]}:4000", f"{name}:81"))
    assert send(lab, hook, Wire(f"{CLIENTS[hook]}:4000", f"{name}:81")) == Outcome(Verdict.NEXT, frame)


@pytest.mark.parametrize("hook", [UPLINK, POD])
def test_an_address_that_no_service_has_is_dropped_in_silence(any_lab: Lab, hook: Hook) -> None:
    any_lab.load(CLUSTER_IP, node=CIDR)
    any_lab.play(drops(hook, Wire(f"{CLIENTS[hook]}:4000", "unused:80"), Counter.DROP_UNUSED_ADDRESS))
    assert not any_lab.datapath.flows()


def test_the_nodes_own_packets_to_an_address_that_no_service_has_are_dropped(any_lab: Lab) -> None:
    any_lab.load(CLUSTER_IP, node=CIDR)
    before = counted(any_lab)
    assert send(any_lab, OUT, Wire("node:4000", "unused:80")).verdict is Verdict.DROP
    assert raised(before, counted(any_lab)) == {Counter.DROP_UNUSED_ADDRESS: 1}


def test_a_cidr_without_any_service_drops_all(lab: Lab) -> None:
    lab.load(node=CIDR)
    lab.play(
        drops(UPLINK, Wire("client:4000", "unused:80"), Counter.DROP_UNUSED_ADDRESS),
        drops(UPLINK, Wire("client:4000", "cluster:80"), Counter.DROP_UNUSED_ADDRESS),
        passes(UPLINK, Wire("client:4000", "nearby:80")),
    )


@pytest.mark.parametrize("hook", [UPLINK, POD])
def test_without_a_cidr_an_address_that_no_service_has_is_nobodys(lab: Lab, hook: Hook) -> None:
    lab.load(CLUSTER_IP)
    lab.play(passes(hook, Wire(f"{CLIENTS[hook]}:4000", "unused:80")))


def test_an_external_address_inside_the_cidr_is_no_unused_one(lab: Lab) -> None:
    lab.load(Service("unused:80", ("pod",), FrontendKind.EXTERNAL_IP), node=CIDR)
    lab.play(
        delivers(UPLINK, Wire("client:4000", "unused:80"), Wire("client:4000", "pod:8080")).opening(),
        passes(UPLINK, Wire("client:4000", "unused:81")),
    )


@pytest.mark.parametrize("hook", [UPLINK, POD])
def test_what_others_send_passes_where_it_leaves(lab: Lab, hook: Hook) -> None:
    """It was looked at where it came in."""
    lab.load(CLUSTER_IP, node=CIDR)
    for dialled in ("cluster:81", "unused:80"):
        lab.play(passes(OUT, Wire(f"{CLIENTS[hook]}:4000", dialled)))


@pytest.mark.parametrize("flags", ["R", "RA"])
def test_a_reset_to_another_port_is_not_answered(tcp: Lab, flags: str) -> None:
    tcp.load(CLUSTER_IP)
    tcp.play(passes(UPLINK, Wire("client:4000", "cluster:81", flags=flags)))


@pytest.mark.parametrize("flags", ["R", "A"])
def test_no_segment_reaches_an_address_that_no_service_has(tcp: Lab, flags: str) -> None:
    tcp.load(node=CIDR)
    tcp.play(drops(UPLINK, Wire("client:4000", "unused:80", flags=flags), Counter.DROP_UNUSED_ADDRESS))


def test_pings_are_dropped_with_the_rest_and_refused_by_nobody(udp: Lab) -> None:
    udp.load(replace(CLUSTER_IP, backends=()), node=CIDR)
    without_backends, unused = (ping(udp, "client", name) for name in ("cluster", "unused"))
    assert udp.datapath.run(UPLINK, without_backends) == Outcome(Verdict.NEXT, without_backends)
    before = counted(udp)
    assert udp.datapath.run(UPLINK, unused).verdict is Verdict.DROP
    assert raised(before, counted(udp)) == {Counter.DROP_UNUSED_ADDRESS: 1}


def test_what_cannot_be_quoted_is_refused_in_silence(lab_of: Callable[[Family, Protocol], Lab]) -> None:
    lab = lab_of(Family.IPV4, Protocol.UDP)
    lab.load(CLUSTER_IP)
    with_options = Wire("client:4000", "cluster:81", options=bytes([148, 4, 0, 0]))
    lab.play(drops(UPLINK, with_options, Counter.DROP_REWRITE).also(Counter.REJECTED_PORT))


def test_xdp_leaves_the_answer_to_tc_and_drops_by_itself(lab: Lab) -> None:
    lab.load(CLUSTER_IP, node=CIDR)
    wrong_port = lab.frame(Wire("client:4000", "cluster:81"))
    before = counted(lab)
    assert lab.datapath.run_xdp(wrong_port, Device.UPLINK) == XdpOutcome(XdpVerdict.PASS, wrong_port)
    assert raised(before, counted(lab)) == {Counter.XDP_TO_TC: 1}
    assert lab.datapath.run_xdp(lab.frame(Wire("client:4000", "unused:80")), Device.UPLINK).verdict is XdpVerdict.DROP
    assert raised(before, counted(lab)) == {Counter.XDP_TO_TC: 1, Counter.DROP_UNUSED_ADDRESS: 1}


def test_sctp_to_another_port_comes_from_xdp_untouched(udp: Lab) -> None:
    udp.load(CLUSTER_IP)
    wire = Wire("client:4000", "cluster:81")
    frame = bytes(ethernet(wire) / network(wire, udp.family) / SCTP(sport=4000, dport=81) / Raw(bytes([1, 0, 0, 4])))
    assert udp.datapath.run_xdp(frame, Device.UPLINK) == XdpOutcome(XdpVerdict.PASS, frame)


def test_a_flow_outlives_its_services_address(tcp: Lab) -> None:
    """An established connection is not asked again: the Service is gone, and with it the address."""
    tcp.load(CLUSTER_IP, node=CIDR)
    answer = Wire("pod:8080", "client:4000", flags="SA")
    tcp.play(
        delivers(UPLINK, Wire("client:4000", "cluster:80"), Wire("client:4000", "pod:8080")).opening(),
        delivers(OUT, answer, Wire("cluster:80", "client:4000", flags="SA")),
    )
    tcp.load(node=CIDR)
    follows = delivers(UPLINK, Wire("client:4000", "cluster:80", flags="A"), Wire("client:4000", "pod:8080", flags="A"))
    tcp.play(
        follows.confirming(), follows, drops(UPLINK, Wire("client:4000", "cluster:80"), Counter.DROP_UNUSED_ADDRESS)
    )


GRE = 47


def of_another_protocol(lab: Lab, dialled: str, number: int) -> bytes:
    """Return a packet that nobody translates."""
    wire = Wire("client:4000", f"{dialled}:0")
    field = {Family.IPV4: "proto", Family.IPV6: "nh"}[lab.family]
    return bytes(ethernet(wire) / network(wire, lab.family, **{field: number}) / Raw(bytes(32)))


@pytest.mark.parametrize("number", [GRE, 50, 89])
def test_no_protocol_circles_between_a_node_and_its_router(lab: Lab, number: int) -> None:
    """GRE, ESP, OSPF. An outer header of the packet's own family is read for what it holds (DSR)."""
    lab.load(CLUSTER_IP, node=CIDR)
    before = counted(lab)
    assert lab.datapath.run(UPLINK, of_another_protocol(lab, "unused", number)).verdict is Verdict.DROP
    assert raised(before, counted(lab)) == {Counter.DROP_UNUSED_ADDRESS: 1}
    for dialled in ("cluster", "nearby"):
        frame = of_another_protocol(lab, dialled, number)
        assert lab.datapath.run(UPLINK, frame) == Outcome(Verdict.NEXT, frame)


ICMP = {Family.IPV4: 1, Family.IPV6: 58}


@pytest.mark.parametrize("hook", CLIENTS)
@pytest.mark.parametrize("protocol", ["udp", "icmp", "gre"])
def test_no_fragment_circles_either(udp: Lab, hook: Hook, protocol: str) -> None:
    """The first one has no port that anybody translates, or none that is known; the others have none."""
    number = {"udp": 17, "icmp": ICMP[udp.family], "gre": GRE}[protocol]
    udp.load(CLUSTER_IP, node=CIDR)
    device = Device.POD if hook is POD else Device.UPLINK
    came_in_by = NODES_OWN if hook is OUT else device
    for frame in fragments_of(udp.family, Wire(f"{CLIENTS[hook]}:4000", "unused:80"), number):
        before = counted(udp)
        assert udp.datapath.run(hook, frame, device, came_in_by=came_in_by).verdict is Verdict.DROP
        assert raised(before, counted(udp)) == {Counter.DROP_UNUSED_ADDRESS: 1}
    for frame in fragments_of(udp.family, Wire(f"{CLIENTS[hook]}:4000", "nearby:80"), number):
        assert udp.datapath.run(hook, frame, device, came_in_by=came_in_by) == Outcome(Verdict.NEXT, frame)
    assert not udp.datapath.flows()
    assert not udp.datapath.held_fragments()


def test_xdp_leaves_other_protocols_to_tc_where_they_may_circle(lab: Lab) -> None:
    lab.load(CLUSTER_IP, node=CIDR)
    before = counted(lab)
    for dialled in ("unused", "external"):
        frame = of_another_protocol(lab, dialled, GRE)
        assert lab.datapath.run_xdp(frame, Device.UPLINK) == XdpOutcome(XdpVerdict.PASS, frame)
    assert raised(before, counted(lab)) == {Counter.XDP_TO_TC: 1}


@pytest.mark.parametrize("hook", [UPLINK, POD])
def test_the_nodes_own_address_is_none_that_no_service_has(lab: Lab, hook: Hook) -> None:
    """Also where somebody has given the node an address out of a ServiceCIDR."""
    lab.load(CLUSTER_IP, node=Node(cidrs=(("node", 24),)))
    lab.play(passes(hook, Wire(f"{CLIENTS[hook]}:4000", "node:22")))
