"""What breaks other load balancers, shown by the flow table and its source ports: a test for each class, by number.

The classes are those of docs/pitfalls.md, as in test_pitfalls.py.
"""

from dataclasses import replace

import pytest

from ebpflb.core.abi import Counter, FlowFlag, FrontendKind
from ebpflb.datapath.store import open_map
from tests.prog.harness import Hook, Verdict
from tests.prog.lab import SNAT_PORTS, Lab, delivers, forwards
from tests.prog.later import MARGIN_S, Later
from tests.prog.services import Service
from tests.prog.test_tc_own_ports import port_of, socket_on_the_node
from tests.prog.wire import Wire

pytestmark = pytest.mark.root

UPLINK, OUT = Hook.UPLINK_IN, Hook.OUT
REQUEST = Wire("client:4000", "cluster:80")
ANSWER = Wire("remote:8080", "node:4000", flags="SA")
TIME_WAIT_S = 60


def cluster_ip(*backends: str) -> Service:
    return Service("cluster:80", backends, FrontendKind.CLUSTER_IP)


def confirmed(lab: Lab) -> None:
    """Have a client's connection to a remote backend stand."""
    lab.load(cluster_ip("remote"))
    lab.play(
        forwards(REQUEST, Wire("node:4000", "remote:8080")).opening(),
        forwards(ANSWER, Wire("cluster:80", "client:4000", flags="SA")),
        forwards(replace(REQUEST, flags="A"), Wire("node:4000", "remote:8080", flags="A")).confirming(),
    )


def test_pitfall_03_source_port_collides_with_a_socket_of_the_host(lab: Lab) -> None:
    lab.load(cluster_ip("remote"))
    with socket_on_the_node(lab, 4000):
        outcome = lab.run(UPLINK, REQUEST)
    port = port_of(lab, "client:4000", "cluster:80")
    assert port in SNAT_PORTS
    assert outcome.frame == lab.frame(Wire(f"node:{port}", "remote:8080", ttl=63))


def opened_and_lost(lab: Lab, lost: FlowFlag) -> None:
    """Have a client's flow of which an LRU map has dropped a half."""
    lab.load(cluster_ip("remote"))
    lab.run(UPLINK, REQUEST)
    with open_map(lab.datapath.pins, lab.family, "pending") as pending:
        keys, values = pending.read()
        pending.delete(keys[(values["flags"] & FlowFlag.REPLY) == lost])
    assert len(lab.datapath.flows()) == 1


@pytest.mark.parametrize("lost", [FlowFlag(0), FlowFlag.REPLY], ids=["request", "reply"])
def test_pitfall_04_half_of_a_pair_is_lost(lab: Lab, lost: FlowFlag) -> None:
    """It may, while the flow is not confirmed: the client's next packet makes it whole."""
    opened_and_lost(lab, lost)
    assert lab.run(UPLINK, REQUEST).verdict is Verdict.REDIRECT
    port = port_of(lab, "client:4000", "cluster:80")
    lab.play(forwards(replace(ANSWER, dst=f"node:{port}"), Wire("cluster:80", "client:4000", flags="SA")))


@pytest.mark.parametrize("flags", ["S", "A"])
def test_pitfall_04_lost_half_takes_the_answers_of_another_client(lab: Lab, flags: str) -> None:
    """The port of the lost half is free, and given to the next client."""
    opened_and_lost(lab, FlowFlag.REPLY)
    answer = forwards(ANSWER, Wire("cluster:80", "client2:4000", flags="SA"))
    lab.play(forwards(Wire("client2:4000", "cluster:80"), Wire("node:4000", "remote:8080")).opening(), answer)
    lab.run(UPLINK, replace(REQUEST, flags=flags))
    assert port_of(lab, "client:4000", "cluster:80") != 4000
    lab.play(answer)


def test_pitfall_05_source_port_is_reused_in_the_backends_time_wait(tcp: Lab) -> None:
    confirmed(tcp)
    tcp.run(UPLINK, replace(REQUEST, flags="RA"))
    other = Wire("client2:4000", "cluster:80")
    with Later.of(tcp) as later:
        later.sweep(TIME_WAIT_S - MARGIN_S)
        tcp.run(UPLINK, other)
        assert port_of(tcp, other.src, other.dst) != 4000
        later.sweep(TIME_WAIT_S + 5)
    tcp.run(UPLINK, Wire("client2:4000", "cluster:80"))
    assert port_of(tcp, other.src, other.dst) == 4000


def test_pitfall_14_one_backend_through_two_frontends_from_one_port(lab: Lab) -> None:
    lab.load(cluster_ip("pod"), Service("external:80", ("pod",), FrontendKind.EXTERNAL_IP, id=2))
    lab.play(delivers(UPLINK, REQUEST, Wire("client:4000", "pod:8080")).opening())
    lab.run(UPLINK, Wire("client:4000", "external:80"))
    port = port_of(lab, "client:4000", "external:80")
    lab.play(
        delivers(OUT, Wire("pod:8080", "client:4000"), Wire("cluster:80", "client:4000")),
        delivers(OUT, Wire("pod:8080", f"client:{port}"), Wire("external:80", "client:4000")),
    )


def test_pitfall_16_full_flow_table_ends_what_stands(lab: Lab) -> None:
    """It evicts nobody: those who have a flow keep it, and who comes now is served, unconfirmed."""
    confirmed(lab)
    kept = set(lab.datapath.confirmed())
    lab.fill_flows()
    before = lab.datapath.counters()[Counter.FLOW_CREATED]
    lab.run(UPLINK, Wire("client:4001", "cluster:80"))
    assert lab.datapath.counters()[Counter.FLOW_CREATED] == before + 1
    assert kept <= set(lab.datapath.confirmed())
    lab.play(forwards(replace(REQUEST, flags="A"), Wire("node:4000", "remote:8080", flags="A")))
