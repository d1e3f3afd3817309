"""What masquerading and policies do to whole conversations: there and back, who is spared, what stays as it was."""

from dataclasses import replace

import pytest

from ebpflb.core.abi import Counter, DeviceFlag, FrontendKind
from tests.prog.clients import (
    CLUSTER_CIDR,
    DEVICES,
    NODE_CIDR,
    NONE,
    OTHER_POD,
    OUTSIDE,
    OWN,
    OWN_POD,
    Client,
    first_packet,
    met,
)
from tests.prog.harness import Hook, Verdict
from tests.prog.lab import Lab, Step, delivers, drops, forwards, passes
from tests.prog.services import Node, Service
from tests.prog.wire import Wire
from tests.prog.world import Device

pytestmark = pytest.mark.root

UPLINK, POD, OUT = Hook.UPLINK_IN, Hook.POD_IN, Hook.OUT


def test_a_masqueraded_flow_to_a_pod_of_this_node_and_back(lab: Lab) -> None:
    """Redirected to the pod's device; its reply is met there, and leaves by the client's."""
    lab.load(Service("any:30080", ("pod2",)), devices=DEVICES, node=NODE_CIDR)
    reply = forwards(Wire("pod2:8080", "node:4000", flags="SA"), Wire("node:30080", "client:4000", flags="SA"), POD)
    again = forwards(Wire("client:4000", "node:30080", flags="A"), Wire("node:4000", "pod2:8080", flags="A"))
    lab.play(
        forwards(Wire("client:4000", "node:30080"), Wire("node:4000", "pod2:8080")).opening(),
        passes(OUT, Wire("node:4000", "pod2:8080", ttl=63)),
        replace(reply, device=Device.POD2),
        passes(OUT, Wire("node:30080", "client:4000", flags="SA", ttl=63)),
        again.confirming(),
        again,
    )


def test_a_masqueraded_flow_from_one_pod_to_another(lab: Lab) -> None:
    lab.load(Service("any:30080", ("pod2",)), devices=DEVICES, node=NODE_CIDR)
    reply = forwards(Wire("pod2:8080", "node:4000", flags="SA"), Wire("node:30080", "pod:4000", flags="SA"), POD)
    lab.play(
        forwards(Wire("pod:4000", "node:30080"), Wire("node:4000", "pod2:8080"), POD).opening(),
        replace(reply, device=Device.POD2),
        forwards(
            Wire("pod:4000", "node:30080", flags="A"), Wire("node:4000", "pod2:8080", flags="A"), POD
        ).confirming(),
    )


def kept(backend: str) -> Step:
    return delivers(UPLINK, Wire("client:4000", "node:30080"), Wire("client:4000", f"{backend}:8080")).opening()


@pytest.mark.parametrize("flags", [DeviceFlag(0), DeviceFlag.POD_SOURCE])
def test_a_pod_whose_answers_nobody_would_see_sees_the_client(lab: Lab, flags: DeviceFlag) -> None:
    node = replace(NODE_CIDR, device_flags={Device.POD2: flags})
    lab.load(Service("any:30080", ("pod2",)), devices=DEVICES, node=node)
    lab.play(kept("pod2"))


def test_a_process_of_the_node_sees_the_client(lab: Lab) -> None:
    """hostNetwork: what comes in with a source of the node's own is a martian."""
    lab.load(Service("any:30080", ("node",)), devices=DEVICES, node=NODE_CIDR)
    lab.play(
        kept("node"),
        delivers(OUT, Wire("node:8080", "client:4000", flags="SA"), Wire("node:30080", "client:4000", flags="SA")),
    )


def test_a_pods_device_without_an_address_to_masquerade_with(lab: Lab) -> None:
    lab.load(Service("any:30080", ("pod2",)), devices={Device.POD2: "any"}, node=NODE_CIDR)
    lab.play(drops(UPLINK, Wire("client:4000", "node:30080"), Counter.DROP_NO_SNAT_ADDRESS))


HAIRPINS = {
    "a ClusterIP": (Service("cluster:80", ("remote2",), FrontendKind.CLUSTER_IP), "cluster:80"),
    "a NodePort": (Service("any:30080", ("remote2",)), "node:30080"),
    "eTP Local, as a pod": (Service("any:30080", ("remote2",), local_policy=True), "node:30080"),
}


@pytest.mark.parametrize("node", [NONE, CLUSTER_CIDR], ids=["no detector", "by ClusterCIDR"])
@pytest.mark.parametrize("name", HAIRPINS)
def test_a_pod_elsewhere_that_is_its_own_backend_sees_the_node(lab: Lab, name: str, node: Node) -> None:
    """Whatever the policy says of others: it would throw away a packet from itself."""
    service, dialled = HAIRPINS[name]
    lab.load(service, devices=DEVICES, node=node)
    there = Wire("remote2:4000", dialled)
    if service.local_policy and node is NONE:
        lab.play(drops(UPLINK, there, Counter.DROP_NO_LOCAL_BACKEND))
        return
    lab.play(
        forwards(there, Wire("node:4000", "remote2:8080")).opening(),
        forwards(Wire("remote2:8080", "node:4000", flags="SA"), Wire(dialled, "remote2:4000", flags="SA")),
    )


def test_only_the_backend_that_is_the_client_is_masqueraded(lab: Lab) -> None:
    lab.load(Service("cluster:80", ("remote2", "remote"), FrontendKind.CLUSTER_IP), devices=DEVICES, node=CLUSTER_CIDR)
    assert met(lab, OTHER_POD, "cluster:80") == {("remote2", "node"), ("remote", "kept")}


ELSEWHERE = Node(node_ports_at=("node2",), addresses=("node",))
CHANGES = {
    "eTP Local, no backend here": (Service("any:30080", ("pod2",), local_policy=True, has_backends=True), NODE_CIDR),
    "the Service is gone": (None, NODE_CIDR),
    "no backend at all": (Service("any:30080"), NODE_CIDR),
    "the NodePort holds elsewhere": (
        Service("any:30080", ("remote",)),
        Node(node_ports_at=("node2",), addresses=("node",)),
    ),
    "everybody is a pod": (Service("any:30080", ("remote",), local_policy=True), Node(pods=("client", 0))),
}


@pytest.mark.parametrize("name", CHANGES)
def test_an_established_connection_is_not_asked_again(tcp: Lab, name: str) -> None:
    before = Service("any:30080", ("remote",))
    changed, node = CHANGES[name]
    tcp.load(before, devices=DEVICES, node=NODE_CIDR)
    there = forwards(Wire("client:4000", "node:30080", flags="A"), Wire("node:4000", "remote:8080", flags="A"))
    back = forwards(Wire("remote:8080", "node:4000", flags="A"), Wire("node:30080", "client:4000", flags="A"))
    tcp.play(forwards(Wire("client:4000", "node:30080"), Wire("node:4000", "remote:8080")).opening(), back)
    tcp.load(*([changed] if changed else []), devices=DEVICES, node=node)
    tcp.play(there.confirming(), back, there)


@pytest.mark.parametrize("name", ["eTP Local, no backend here", "the NodePort holds elsewhere"])
def test_datagrams_of_a_flow_are_not_asked_again_either(udp: Lab, name: str) -> None:
    """While their backend serves: it is still one of the Service's."""
    udp.load(Service("any:30080", ("remote",)), devices=DEVICES, node=NODE_CIDR)
    there = forwards(Wire("client:4000", "node:30080"), Wire("node:4000", "remote:8080"))
    udp.play(there.opening())
    changed, node = CHANGES[name]
    assert changed is not None
    udp.load(changed, draining=["remote"], devices=DEVICES, node=node)
    udp.play(there)


@pytest.mark.parametrize("client", [OUTSIDE, OWN_POD, OWN], ids=lambda client: client.name)
def test_node_ports_hold_where_they_are_configured(lab: Lab, client: Client) -> None:
    node = Node(node_ports_at=("node",), addresses=("node2",))
    lab.load(Service("any:30080", ("remote",)), node=node)
    assert first_packet(lab, client, 4000, "node2:30080") is Verdict.NEXT
    assert not lab.datapath.flows()
    assert first_packet(lab, client, 4000, "node:30080") is Verdict.REDIRECT


def test_a_service_on_an_address_without_node_ports_is_served(lab: Lab) -> None:
    node = Node(node_ports_at=("node",), addresses=("node2",))
    lab.load(Service("node2:80", ("pod",), FrontendKind.EXTERNAL_IP), node=node)
    lab.play(delivers(UPLINK, Wire("client:4000", "node2:80"), Wire("client:4000", "pod:8080")).opening())


@pytest.mark.parametrize("client", [OUTSIDE, OWN_POD], ids=lambda client: client.name)
def test_source_ranges_bind_the_balancers_address_alone(lab: Lab, client: Client) -> None:
    """And come before everything else: a client outside them is dropped though there is no backend."""
    ranges = (("client2", 32),)
    lab.load(
        Service("balancer:80", (), FrontendKind.LOAD_BALANCER, source_ranges=ranges),
        Service("any:30080", ("remote",), id=2),
        Service("external:80", ("remote",), FrontendKind.EXTERNAL_IP, id=3),
    )
    step = drops(client.hook, Wire(f"{client.name}:4000", "balancer:80"), Counter.DROP_SOURCE_RANGE)
    lab.play(replace(step, device=client.device))
    assert first_packet(lab, client, 4000, "node:30080") is Verdict.REDIRECT
    assert first_packet(lab, client, 4001, "external:80") is Verdict.REDIRECT


def test_source_ranges_bind_the_node_itself(lab: Lab) -> None:
    ranges = (("client2", 32),)
    lab.load(Service("balancer:80", ("remote",), FrontendKind.LOAD_BALANCER, source_ranges=ranges))
    assert first_packet(lab, OWN, 4000, "balancer:80") is Verdict.DROP
