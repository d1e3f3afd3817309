"""The node's own packets to a Service, as far as the socket hooks left them alone: translated where they leave."""

import pytest

from ebpflb.core.abi import Counter, FlowFlag, FrontendKind, Protocol
from tests.prog.harness import NODES_OWN, Hook, Outcome, Verdict
from tests.prog.lab import Lab
from tests.prog.services import Service
from tests.prog.wire import Wire
from tests.prog.world import Device

pytestmark = pytest.mark.root

REQUEST = Wire("node:4000", "cluster:80")


def sends(lab: Lab, wire: Wire) -> Outcome:
    """Have the node send a packet out of its uplink."""
    return lab.datapath.run(Hook.OUT, lab.frame(wire), Device.UPLINK, came_in_by=NODES_OWN)


@pytest.mark.parametrize(("backend", "device"), [("remote", Device.UPLINK), ("pod", Device.POD)])
def test_a_request_is_sent_to_the_backends_device_and_its_reply_restored(
    lab: Lab, backend: str, device: Device
) -> None:
    lab.load(Service("cluster:80", (backend,), FrontendKind.CLUSTER_IP))
    assert sends(lab, REQUEST) == Outcome(Verdict.REDIRECT, lab.frame(Wire("node:4000", f"{backend}:8080")))
    reply = lab.frame(Wire(f"{backend}:8080", "node:4000", flags="SA"))
    hook = Hook.POD_IN if device is Device.POD else Hook.UPLINK_IN
    restored = lab.datapath.run(hook, reply, device)
    assert restored == Outcome(Verdict.NEXT, lab.frame(Wire("cluster:80", "node:4000", flags="SA")))


@pytest.mark.parametrize(("backend", "device"), [("remote", Device.UPLINK), ("pod", Device.POD)])
def test_what_was_translated_is_left_alone_by_the_device_it_is_sent_to(lab: Lab, backend: str, device: Device) -> None:
    """It passes a second hook there: that its replies are restored is no reason to take another port."""
    lab.load(Service("cluster:80", (backend,), FrontendKind.CLUSTER_IP))
    translated = sends(lab, REQUEST).frame
    flows = lab.datapath.flows()
    assert lab.datapath.run_again(translated, device) == Outcome(Verdict.NEXT, translated)
    assert lab.datapath.flows().keys() == flows.keys()


def test_what_another_instance_has_translated_is_nothing_special(lab: Lab) -> None:
    lab.load(Service("cluster:80", ("remote",), FrontendKind.CLUSTER_IP))
    again = lab.datapath.run_again(lab.frame(REQUEST), Device.UPLINK, note=0xFFFE)
    assert again == Outcome(Verdict.REDIRECT, lab.frame(Wire("node:4000", "remote:8080")))


def test_a_backend_on_the_node_itself_is_a_hairpin(lab: Lab) -> None:
    lab.load(Service("cluster:80", ("node",), FrontendKind.CLUSTER_IP))
    there = sends(lab, REQUEST)
    assert there == Outcome(Verdict.REDIRECT, lab.frame(Wire("hairpin:4000", "node:8080", swapped=True)))
    back = sends(lab, Wire("node:8080", "hairpin:4000", flags="SA"))
    assert back == Outcome(Verdict.REDIRECT, lab.frame(Wire("cluster:80", "node:4000", flags="SA", swapped=True)))


def test_a_connection_that_stands_is_left_alone(tcp: Lab) -> None:
    """It began before the agent did, or a socket hook translated it."""
    tcp.load(Service("cluster:80", ("remote",), FrontendKind.CLUSTER_IP))
    wire = Wire("node:4000", "cluster:80", flags="A")
    assert sends(tcp, wire) == Outcome(Verdict.NEXT, tcp.frame(wire))


def test_a_policy_of_clients_outside_does_not_bind_the_node(lab: Lab) -> None:
    lab.load(Service("balancer:80", ("remote",), FrontendKind.LOAD_BALANCER, local_policy=True))
    wire = Wire("node:4000", "balancer:80")
    assert sends(lab, wire) == Outcome(Verdict.REDIRECT, lab.frame(Wire("node:4000", "remote:8080")))
    (flow,) = (flow for flow in lab.datapath.flows().values() if not flow.flags & FlowFlag.REPLY)
    assert flow.flags == FlowFlag.AT_EGRESS | FlowFlag.FORWARD


def test_datagrams_confirm_their_flow_as_they_go_on(udp: Lab) -> None:
    udp.load(Service("cluster:80", ("remote",), FrontendKind.CLUSTER_IP))
    before = udp.datapath.counters().get(Counter.FLOW_CONFIRMED, 0)
    sends(udp, REQUEST)
    udp.run(Hook.UPLINK_IN, Wire("remote:8080", "node:4000"))
    sends(udp, REQUEST)
    assert udp.datapath.counters()[Counter.FLOW_CONFIRMED] == before + 1
    assert udp.protocol is Protocol.UDP
