"""The rules of Services at XDP: the same decisions, once. What XDP cannot send, it begins, and tc goes on with it.

Were the packet left to tc as if nothing had happened, tc would draw a second time, and backends that XDP can reach
would get more than their share.
"""

from collections import Counter as Bag
from dataclasses import replace

import pytest

from ebpflb.core.abi import Algorithm, Counter, DeviceFlag, FlowFlag, FrontendKind
from tests.prog.clients import CLUSTER_CIDR, DEVICES, NODE_CIDR, NONE, first_packet
from tests.prog.clients import OUTSIDE as CLIENT
from tests.prog.harness import Hook, Outcome, Verdict, XdpOutcome, XdpVerdict
from tests.prog.lab import Lab, forwards
from tests.prog.rows import Flow, FlowKey
from tests.prog.services import BACKEND_IDS, Node, Service
from tests.prog.wire import Wire
from tests.prog.world import Device, packed

pytestmark = pytest.mark.root

CONNECTIONS = 100
NAMES = {number: name for name, number in BACKEND_IDS.items()}
RANDOM = Service("any:30080", ("pod", "remote"), algorithm=Algorithm.RANDOM)
REQUEST = Wire("client:4000", "node:30080")


def requests(lab: Lab) -> dict[FlowKey, Flow]:
    return {key: flow for key, flow in lab.datapath.flows().items() if not flow.flags & FlowFlag.REPLY}


def received(lab: Lab, wire: Wire) -> XdpOutcome | Outcome:
    """Have the uplink receive a packet: XDP sees it, and tc what XDP passes up."""
    outcome = lab.datapath.run_xdp(lab.frame(wire), Device.UPLINK)
    if outcome.verdict is not XdpVerdict.PASS:
        return outcome
    return lab.datapath.run(Hook.UPLINK_IN, outcome.frame)


def count(lab: Lab, counter: Counter) -> int:
    return lab.datapath.counters().get(counter, 0)


@pytest.mark.parametrize(
    ("backends", "node", "xdp"),
    [
        pytest.param(("pod", "remote"), NODE_CIDR, True, id="the pod's device takes no frames of XDP"),
        pytest.param(("pod", "remote"), NODE_CIDR, False, id="no device does"),
        pytest.param(("pod", "remote"), Node(), True, id="the pod sees the client"),
        pytest.param(("remote", "remote2"), NODE_CIDR, True, id="both elsewhere"),
    ],
)
def test_one_draw_decides(lab: Lab, backends: tuple[str, str], node: Node, *, xdp: bool) -> None:
    lab.load(replace(RANDOM, backends=backends), devices=DEVICES, node=node, xdp=xdp)
    before = count(lab, Counter.FLOW_CREATED)
    packets = [replace(REQUEST, src=f"client:{port}") for port in range(10_000, 10_000 + CONNECTIONS)]
    outcomes = [lab.datapath.run_xdp(lab.frame(packet), Device.UPLINK) for packet in packets]
    flows = lab.datapath.flows()
    for packet, outcome in zip(packets, outcomes, strict=True):
        if outcome == XdpOutcome(XdpVerdict.PASS, lab.frame(packet)):
            lab.run(Hook.UPLINK_IN, packet)
    assert lab.datapath.flows() == flows
    assert count(lab, Counter.FLOW_CREATED) == before + CONNECTIONS
    drawn = Bag(NAMES[flow.backend_id] for flow in requests(lab).values())
    assert min(drawn[name] for name in backends) > CONNECTIONS / 2 - 6 * 5  # six standard deviations


def test_a_repeated_syn_follows_the_flow_that_xdp_began(tcp: Lab) -> None:
    tcp.load(replace(RANDOM, backends=("pod",)), devices=DEVICES, node=NODE_CIDR)
    assert tcp.datapath.run_xdp(tcp.frame(REQUEST), Device.UPLINK).verdict is XdpVerdict.PASS
    flows = tcp.datapath.flows()
    for _ in range(2):
        received(tcp, REQUEST)
    assert tcp.datapath.flows() == flows


def test_a_conversation_that_changes_hooks(lab: Lab) -> None:
    """Begun at XDP, sent on at tc; answered from a pod's device, where there is no XDP; confirmed at XDP."""
    lab.load(replace(RANDOM, backends=("pod2",)), devices=DEVICES, node=NODE_CIDR)
    there = lab.frame(Wire("node:4000", "pod2:8080", ttl=63))
    assert received(lab, REQUEST) == Outcome(Verdict.REDIRECT, there)
    answer = Wire("pod2:8080", "node:4000", flags="SA")
    back = forwards(answer, Wire("node:30080", "client:4000", flags="SA"), Hook.POD_IN)
    lab.play(replace(back, device=Device.POD2))
    confirmed = count(lab, Counter.FLOW_CONFIRMED)
    again = received(lab, replace(REQUEST, flags="A"))
    assert again == Outcome(Verdict.REDIRECT, lab.frame(Wire("node:4000", "pod2:8080", flags="A", ttl=63)))
    assert count(lab, Counter.FLOW_CONFIRMED) == confirmed + 1


TABLE = [
    # frontend, what is dialled, policy Local, node, client, how the backend sees the client
    (FrontendKind.NODE_PORT, False, NONE, "client", "node"),
    (FrontendKind.LOAD_BALANCER, False, CLUSTER_CIDR, "remote2", "node"),
    (FrontendKind.EXTERNAL_IP, True, CLUSTER_CIDR, "remote2", "kept"),
    (FrontendKind.CLUSTER_IP, False, NONE, "client", "kept"),
    (FrontendKind.CLUSTER_IP, False, replace(NONE, masquerade_all=True), "client", "node"),
    (FrontendKind.CLUSTER_IP, False, CLUSTER_CIDR, "client", "node"),
    (FrontendKind.CLUSTER_IP, False, CLUSTER_CIDR, "remote2", "kept"),
    (
        FrontendKind.CLUSTER_IP,
        False,
        Node(detects_by_device=True, device_flags={Device.UPLINK: DeviceFlag.POD_SOURCE}),
        "client",
        "kept",
    ),
    (FrontendKind.CLUSTER_IP, False, Node(detects_by_device=True), "client", "node"),
]


@pytest.mark.parametrize(("kind", "local_policy", "node", "client", "seen_as"), TABLE)
def test_the_table_at_xdp(
    lab: Lab, kind: FrontendKind, *, local_policy: bool, node: Node, client: str, seen_as: str
) -> None:
    where = "any:80" if kind is FrontendKind.NODE_PORT else "cluster:80"
    lab.load(Service(where, ("remote",), kind, local_policy=local_policy), devices=DEVICES, node=node)
    packet = Wire(f"{client}:4000", "node:80" if kind is FrontendKind.NODE_PORT else "cluster:80")
    lab.datapath.run_xdp(lab.frame(packet), Device.UPLINK)
    (flow,) = requests(lab).values()
    seen = {packed("node", lab.family): "node", packed(client, lab.family): "kept"}[flow.to_saddr]
    assert seen == seen_as


def test_node_ports_hold_where_they_are_configured(lab: Lab) -> None:
    lab.load(Service("any:30080", ("remote",)), node=Node(node_ports_at=("node",), addresses=("node2",)))
    elsewhere = lab.frame(replace(REQUEST, dst="node2:30080"))
    assert lab.datapath.run_xdp(elsewhere, Device.UPLINK) == XdpOutcome(XdpVerdict.PASS, elsewhere)
    assert first_packet(lab, CLIENT, 4000, "node2:30080") is Verdict.NEXT
    assert lab.datapath.run_xdp(lab.frame(REQUEST), Device.UPLINK).verdict is XdpVerdict.TX


@pytest.mark.parametrize("changed", [None, Service("any:30080", ("pod",), local_policy=True), Service("any:30080")])
def test_an_established_connection_is_not_asked_again(tcp: Lab, changed: Service | None) -> None:
    tcp.load(Service("any:30080", ("remote",)), devices=DEVICES, node=NODE_CIDR)
    assert tcp.datapath.run_xdp(tcp.frame(REQUEST), Device.UPLINK).verdict is XdpVerdict.TX
    tcp.load(*([changed] if changed else []), devices=DEVICES, node=NODE_CIDR)
    for wire in (Wire("remote:8080", "node:4000", flags="SA"), replace(REQUEST, flags="A")):
        assert tcp.datapath.run_xdp(tcp.frame(wire), Device.UPLINK).verdict is XdpVerdict.TX


def test_a_drop_is_counted_once(lab: Lab) -> None:
    """XDP drops by itself: tc never sees the packet."""
    lab.load(
        Service("balancer:80", ("pod",), FrontendKind.LOAD_BALANCER, source_ranges=(("client2", 32),)),
        Service("any:30080", ("remote",), id=2, local_policy=True),
    )
    for wire, reason in (
        (Wire("client:4000", "balancer:80"), Counter.DROP_SOURCE_RANGE),
        (REQUEST, Counter.DROP_NO_LOCAL_BACKEND),
    ):
        before = count(lab, reason)
        assert lab.datapath.run_xdp(lab.frame(wire), Device.UPLINK).verdict is XdpVerdict.DROP
        assert count(lab, reason) == before + 1
