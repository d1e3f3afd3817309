"""Who dials a backend itself, from a port that its own flow to the same backend has: each gets its own answers."""

from dataclasses import replace

import pytest

from ebpflb.core.abi import Counter, FrontendKind
from tests.prog.harness import Hook, Outcome, Verdict, XdpOutcome, XdpVerdict
from tests.prog.lab import SNAT_PORTS, Lab, Step, delivers, passes
from tests.prog.services import Service
from tests.prog.wire import Wire
from tests.prog.world import Device

pytestmark = pytest.mark.root

SHOWN = Service("any:30080", ("pod",), local_policy=True)
DIALLED, ITSELF = Wire("client:4000", "node:30080"), Wire("client:4000", "pod:8080")
REPLY = Wire("pod:8080", "client:4000", flags="SA")
RESTORED = Wire("node:30080", "client:4000", flags="SA")


def by_the_service(*, is_over: bool) -> list[Step]:
    """Return a connection to the Service, whose policy shows the client."""
    steps = [
        delivers(Hook.UPLINK_IN, DIALLED, ITSELF).opening(),
        delivers(Hook.OUT, REPLY, RESTORED),
        delivers(Hook.UPLINK_IN, replace(DIALLED, flags="A"), replace(ITSELF, flags="A")).confirming(),
    ]
    if is_over:
        steps.append(delivers(Hook.OUT, replace(REPLY, flags="FA"), replace(RESTORED, flags="FA")))
    return steps


def port_given(lab: Lab) -> int:
    """Return the source port that the client's own call was given."""
    return int(lab.datapath.flows()[lab.key("client:4000", "pod:8080")].to_sport)


def test_a_client_outside_steps_aside_for_its_flow_that_is_over(tcp: Lab) -> None:
    tcp.load(SHOWN)
    tcp.play(*by_the_service(is_over=True))
    there = tcp.run(Hook.UPLINK_IN, ITSELF)
    port = port_given(tcp)
    assert port in SNAT_PORTS
    aside = Wire(f"client:{port}", "pod:8080")
    assert there == Outcome(Verdict.NEXT, tcp.frame(aside))
    back = Wire("pod:8080", f"client:{port}", flags="SA")
    tcp.play(
        delivers(Hook.UPLINK_IN, ITSELF, aside),  # the SYN once more
        delivers(Hook.OUT, back, REPLY),
        delivers(Hook.UPLINK_IN, replace(ITSELF, flags="A"), replace(aside, flags="A")).confirming(),
        delivers(Hook.OUT, replace(REPLY, flags="A"), replace(RESTORED, flags="A")),
    )


def test_a_packet_is_left_alone_that_its_own_flow_may_just_have_made(tcp: Lab) -> None:
    """XDP translates it, then tc sees it; so does a bridge after its port."""
    tcp.load(SHOWN)
    tcp.play(*by_the_service(is_over=False), passes(Hook.UPLINK_IN, ITSELF))


def test_what_xdp_translated_for_a_port_that_serves_again_is_left_alone(tcp: Lab) -> None:
    tcp.load(SHOWN)
    tcp.play(*by_the_service(is_over=True))
    made = tcp.datapath.run_xdp(tcp.frame(DIALLED), Device.UPLINK)
    assert made == XdpOutcome(XdpVerdict.PASS, tcp.frame(ITSELF))
    tcp.play(passes(Hook.UPLINK_IN, ITSELF))


def test_a_pod_steps_aside_for_its_flow_that_stands(tcp: Lab) -> None:
    tcp.load(Service("cluster:80", ("remote",), FrontendKind.CLUSTER_IP))
    tcp.play(delivers(Hook.POD_IN, Wire("pod:4000", "cluster:80"), Wire("pod:4000", "remote:8080")).opening())
    there = tcp.run(Hook.POD_IN, Wire("pod:4000", "remote:8080"))
    port = int(tcp.datapath.flows()[tcp.key("pod:4000", "remote:8080")].to_sport)
    assert port in SNAT_PORTS
    assert there == Outcome(Verdict.NEXT, tcp.frame(Wire(f"pod:{port}", "remote:8080")))
    assert tcp.datapath.counters()[Counter.FLOW_CREATED] >= 2
