"""The node's own sockets and the flows that it masquerades share the node's ports: neither gets the other's replies."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ebpflb.core.abi import Family, FrontendKind, Protocol
from tests.prog.harness import NODES_OWN, Hook, Outcome, Verdict
from tests.prog.lab import SNAT_PORTS, Lab, forwards, passes
from tests.prog.services import Service
from tests.prog.wire import Wire
from tests.prog.world import Device

pytestmark = pytest.mark.root

REMOTE = Service("cluster:80", ("remote",), FrontendKind.CLUSTER_IP)


@contextmanager
def socket_on_the_node(lab: Lab, port: int) -> Iterator[None]:
    """Have the node listen on a port, in the namespace that the programs run in."""
    family = socket.AF_INET if lab.family is Family.IPV4 else socket.AF_INET6
    kind = socket.SOCK_STREAM if lab.protocol is Protocol.TCP else socket.SOCK_DGRAM
    with lab.datapath.namespace.entered():
        listener = socket.socket(family, kind)
    with listener:
        listener.bind(("", port))
        if lab.protocol is Protocol.TCP:
            listener.listen()
        yield


def port_of(lab: Lab, source: str, destination: str) -> int:
    """Return the source port that a flow was given."""
    return int(lab.datapath.flows()[lab.key(source, destination)].to_sport)


def test_a_flow_is_not_given_the_port_of_a_socket(lab: Lab) -> None:
    lab.load(REMOTE)
    with socket_on_the_node(lab, 4000):
        assert lab.run(Hook.UPLINK_IN, Wire("client:4000", "cluster:80")).verdict is Verdict.REDIRECT
        assert port_of(lab, "client:4000", "cluster:80") in SNAT_PORTS
        lab.play(forwards(Wire("client:4001", "cluster:80"), Wire("node:4001", "remote:8080")).opening())


def test_the_nodes_own_packet_steps_aside(lab: Lab) -> None:
    lab.load(REMOTE)
    lab.run(Hook.UPLINK_IN, Wire("client:4000", "cluster:80"))
    own = lab.frame(Wire("node:4000", "remote:8080"))
    outcome = lab.datapath.run(Hook.OUT, own, came_in_by=NODES_OWN)
    port = port_of(lab, "node:4000", "remote:8080")
    assert outcome.verdict is Verdict.NEXT
    assert port in SNAT_PORTS
    assert outcome.frame == lab.frame(Wire(f"node:{port}", "remote:8080"))
    assert lab.datapath.run(Hook.OUT, own, came_in_by=NODES_OWN).frame == outcome.frame
    answer = lab.run(Hook.UPLINK_IN, Wire("remote:8080", f"node:{port}", flags="SA"))
    assert answer.verdict is Verdict.NEXT
    assert answer.frame == lab.frame(Wire("remote:8080", "node:4000", flags="SA"))


def test_a_socket_that_has_the_port_of_one_that_stepped_aside_does_so_too(lab: Lab) -> None:
    """Else its answers would go to the other one, for as long as that one's flow rests."""
    lab.load(REMOTE)
    lab.run(Hook.UPLINK_IN, Wire("client:4000", "cluster:80"))
    lab.datapath.run(Hook.OUT, lab.frame(Wire("node:4000", "remote:8080")), came_in_by=NODES_OWN)
    taken = port_of(lab, "node:4000", "remote:8080")
    outcome = lab.datapath.run(Hook.OUT, lab.frame(Wire(f"node:{taken}", "remote:8080")), came_in_by=NODES_OWN)
    port = port_of(lab, f"node:{taken}", "remote:8080")
    assert port not in {taken, 4000}
    assert outcome.frame == lab.frame(Wire(f"node:{port}", "remote:8080"))
    answer = lab.run(Hook.UPLINK_IN, Wire("remote:8080", f"node:{port}", flags="SA"))
    assert answer.frame == lab.frame(Wire("remote:8080", f"node:{taken}", flags="SA"))


@pytest.mark.parametrize(("backend", "device"), [("remote", Device.UPLINK), ("pod", Device.POD)])
def test_a_socket_steps_aside_for_one_that_a_packet_hook_serves(lab: Lab, backend: str, device: Device) -> None:
    """One dialled the Service, the other has the backend's address from a socket hook: their packets look the same."""
    lab.load(Service("cluster:80", (backend,), FrontendKind.CLUSTER_IP))
    reply_hook = Hook.POD_IN if device is Device.POD else Hook.UPLINK_IN
    served, own = lab.frame(Wire("node:4000", "cluster:80")), lab.frame(Wire("node:4000", f"{backend}:8080"))
    assert lab.datapath.run(Hook.OUT, served, came_in_by=NODES_OWN).frame == own
    aside = lab.datapath.run(Hook.OUT, own, device, came_in_by=NODES_OWN)
    port = port_of(lab, "node:4000", f"{backend}:8080")
    assert port in SNAT_PORTS
    assert aside == Outcome(Verdict.NEXT, lab.frame(Wire(f"node:{port}", f"{backend}:8080")))
    for answer, restored in (("node:4000", "cluster:80"), (f"node:{port}", f"{backend}:8080")):
        reply = lab.frame(Wire(f"{backend}:8080", answer, flags="SA"))
        expected = lab.frame(Wire(restored, "node:4000", flags="SA"))
        assert lab.datapath.run(reply_hook, reply, device) == Outcome(Verdict.NEXT, expected)
    assert lab.datapath.run(Hook.OUT, served, came_in_by=NODES_OWN).frame == own
    assert lab.datapath.run_again(own, device) == Outcome(Verdict.NEXT, own)


def test_the_masqueraded_flow_keeps_its_port(lab: Lab) -> None:
    lab.load(REMOTE)
    lab.run(Hook.UPLINK_IN, Wire("client:4000", "cluster:80"))
    lab.datapath.run(Hook.OUT, lab.frame(Wire("node:4000", "remote:8080")), came_in_by=NODES_OWN)
    lab.play(
        forwards(Wire("client:4000", "cluster:80", flags="A"), Wire("node:4000", "remote:8080", flags="A")),
        passes(Hook.OUT, Wire("node:4000", "remote:8080", flags="A")),
        forwards(Wire("remote:8080", "node:4000", flags="A"), Wire("cluster:80", "client:4000", flags="A")),
    )


def test_what_is_in_nobodys_way_is_left_alone(lab: Lab) -> None:
    lab.load(REMOTE)
    lab.run(Hook.UPLINK_IN, Wire("client:4000", "cluster:80"))
    flows = lab.datapath.flows()
    own = lab.frame(Wire("node:4001", "remote:8080"))
    assert lab.datapath.run(Hook.OUT, own, came_in_by=NODES_OWN).frame == own
    assert lab.datapath.flows().keys() == flows.keys()
