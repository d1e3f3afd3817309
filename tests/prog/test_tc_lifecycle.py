"""Flows whose backend or Service changes under them: who stays, who moves, who gets nothing."""

import pytest

from ebpflb.core.abi import Counter, FlowFlag, FlowSeen, FrontendKind, Protocol
from tests.prog.harness import Hook
from tests.prog.lab import Lab, Step, delivers, drops, forwards, passes
from tests.prog.services import Service
from tests.prog.wire import Wire

pytestmark = pytest.mark.root

UPLINK, POD, OUT = Hook.UPLINK_IN, Hook.POD_IN, Hook.OUT
POD_ONLY = Service("cluster:80", ("pod",), FrontendKind.CLUSTER_IP)
POD2_ONLY = Service("cluster:80", ("pod2",), FrontendKind.CLUSTER_IP)
NOBODY = Service("cluster:80", (), FrontendKind.CLUSTER_IP, has_backends=True, local_policy=True)


def to(backend: str, flags: str = "S") -> Step:
    """The client's packet to the Service, delivered to a backend."""
    return delivers(
        UPLINK, Wire("client:4000", "cluster:80", flags=flags), Wire("client:4000", f"{backend}:8080", flags=flags)
    )


def back(backend: str, flags: str = "SA") -> Step:
    """A backend's packet to the client, restored."""
    return delivers(
        OUT, Wire(f"{backend}:8080", "client:4000", flags=flags), Wire("cluster:80", "client:4000", flags=flags)
    )


def moves(backend: str) -> Step:
    """The client's first packet that goes to another backend than the last."""
    return to(backend).opening().also(Counter.FLOW_RESELECTED)


def opened(lab: Lab) -> Lab:
    """Return the lab with a flow of the client's to pod."""
    lab.load(POD_ONLY)
    lab.play(to("pod").opening())
    return lab


def backends_of(lab: Lab) -> set[str]:
    """Return the backends that the client's flow, both entries, leads to; asserts that nothing is left of others."""
    rows = lab.datapath.flows()
    assert len(rows) == 2
    return {name for name in ("pod", "pod2") if lab.key(f"{name}:8080", "client:4000") in rows}


def test_a_syn_sent_again_keeps_its_backend(tcp: Lab) -> None:
    opened(tcp)
    tcp.load(Service("cluster:80", ("pod2", "pod"), FrontendKind.CLUSTER_IP))
    tcp.play(*[to("pod")] * 20)


@pytest.mark.parametrize("generations", [{}, {"pod": 8}])
def test_a_syn_leaves_a_backend_that_is_gone(tcp: Lab, generations: dict[str, int]) -> None:
    opened(tcp)
    tcp.load(POD2_ONLY, draining=generations, generations=generations)
    tcp.play(moves("pod2"))
    assert backends_of(tcp) == {"pod2"}


def test_a_syn_leaves_a_draining_backend(tcp: Lab) -> None:
    opened(tcp)
    tcp.load(POD2_ONLY, draining=["pod"])
    tcp.play(moves("pod2"), to("pod2", "A"), back("pod2"))
    assert backends_of(tcp) == {"pod2"}


@pytest.mark.parametrize("step", [to("pod", "FA"), to("pod", "RA"), back("pod", "FA"), back("pod", "R")])
def test_a_syn_after_the_end_begins_anew(tcp: Lab, step: Step) -> None:
    opened(tcp)
    tcp.play(back("pod"), to("pod", "A").confirming(), step)
    tcp.load(POD2_ONLY, draining=["pod"])
    tcp.play(moves("pod2"))
    seen = [flow.seen for flow in tcp.datapath.flows().values()]
    assert sorted(seen) == [FlowSeen(0), FlowSeen.SYN]


@pytest.mark.parametrize("step", [to("pod", "FA"), back("pod", "R")])
def test_a_syn_after_the_end_may_choose_the_same_backend(tcp: Lab, step: Step) -> None:
    opened(tcp)
    tcp.play(step, moves("pod"))
    assert backends_of(tcp) == {"pod"}


def test_a_syn_to_a_frontend_of_another_service_begins_anew(tcp: Lab) -> None:
    opened(tcp)
    tcp.load(Service("cluster:80", ("pod2", "pod"), FrontendKind.CLUSTER_IP, id=2), draining=["pod"])
    tcp.run(UPLINK, Wire("client:4000", "cluster:80"))
    assert {flow.service_id for flow in tcp.datapath.flows().values()} == {2}
    assert len(tcp.datapath.flows()) == 2


def test_a_syn_without_its_reply_entry_begins_anew(tcp: Lab) -> None:
    opened(tcp)
    request = tcp.key("client:4000", "cluster:80")
    orphan = {request: tcp.datapath.flows()[request]}
    tcp.datapath.clear()
    tcp.datapath.put_flows(orphan)
    tcp.play(moves("pod"))
    assert backends_of(tcp) == {"pod"}


def test_a_new_flow_leaves_the_reply_entry_of_another_client_alone(tcp: Lab) -> None:
    """An old entry may point at a source port that somebody else has got since."""
    tcp.load(Service("cluster:80", ("remote",), FrontendKind.CLUSTER_IP))
    stale = tcp.flow("node:4000", "remote:8080", backend="remote", flags=FlowFlag.FORWARD, seen=FlowSeen.FIN)
    tcp.play(forwards(Wire("client2:4000", "cluster:80"), Wire("node:4000", "remote:8080")).opening())
    others = tcp.datapath.flows()
    tcp.datapath.put_flows({tcp.key("client:4000", "cluster:80"): stale})
    tcp.run(UPLINK, Wire("client:4000", "cluster:80"))
    assert others.items() <= tcp.datapath.flows().items()
    assert len(tcp.datapath.flows()) == 4


@pytest.mark.parametrize("draining", [["pod"], []])
def test_an_established_connection_stays_with_a_backend_that_goes(tcp: Lab, draining: list[str]) -> None:
    opened(tcp)
    tcp.load(POD2_ONLY, draining=draining)
    tcp.play(
        back("pod"),
        to("pod", "A").confirming(),
        to("pod", "PA"),
        back("pod", "A"),
        to("pod", "FA"),
        back("pod", "FA"),
    )


def test_an_established_connection_outlives_its_service(tcp: Lab) -> None:
    opened(tcp)
    tcp.load()
    tcp.play(to("pod", "A"), back("pod", "A"))


def test_a_syn_to_a_service_that_is_gone_is_not_ours(tcp: Lab) -> None:
    opened(tcp)
    tcp.load()
    tcp.play(passes(UPLINK, Wire("client:4000", "cluster:80")))


def test_a_syn_that_may_go_nowhere_ends_the_old_flow(tcp: Lab) -> None:
    opened(tcp)
    tcp.load(NOBODY)
    tcp.play(
        drops(UPLINK, Wire("client:4000", "cluster:80"), Counter.DROP_NO_LOCAL_BACKEND).also(Counter.FLOW_RESELECTED)
    )
    assert tcp.datapath.flows() == {}


@pytest.mark.parametrize("generations", [{}, {"pod": 8}])
def test_datagrams_move_when_their_backend_is_gone(udp: Lab, generations: dict[str, int]) -> None:
    opened(udp)
    udp.load(POD2_ONLY, draining=generations, generations=generations)
    udp.play(moves("pod2"), to("pod2"), back("pod2"))
    assert backends_of(udp) == {"pod2"}


def test_datagrams_stay_with_a_draining_backend(udp: Lab) -> None:
    opened(udp)
    udp.load(POD2_ONLY, draining=["pod"])
    udp.play(to("pod"), back("pod"), to("pod").confirming(), to("pod"))


def test_late_replies_are_restored_though_their_backend_is_gone(lab: Lab) -> None:
    opened(lab)
    lab.load(POD2_ONLY)
    lab.play(back("pod"))


def test_datagrams_to_a_service_that_is_gone_with_its_backends_are_not_ours(udp: Lab) -> None:
    opened(udp)
    udp.load()
    udp.play(passes(UPLINK, Wire("client:4000", "cluster:80")))


@pytest.mark.parametrize("flags", ["R", "RA"])
@pytest.mark.parametrize("hook", [UPLINK, POD])
def test_a_reset_without_a_flow_begins_none(tcp: Lab, hook: Hook, flags: str) -> None:
    tcp.load(POD_ONLY)
    tcp.play(passes(hook, Wire("client:4000", "cluster:80", flags=flags)))
    assert tcp.datapath.flows() == {}


def test_a_connection_in_progress_that_nobody_remembers_is_taken_up(tcp: Lab) -> None:
    tcp.load(POD_ONLY)
    tcp.play(to("pod", "PA").opening(), back("pod", "A"))
    assert tcp.protocol is Protocol.TCP


def test_a_connection_from_the_backend_to_the_clients_port_is_not_the_flows_request(tcp: Lab) -> None:
    """A SYN that fits a reply entry opens a connection of its own, in the other direction."""
    tcp.load(Service("cluster:80", ("remote",), FrontendKind.CLUSTER_IP))
    tcp.play(
        forwards(Wire("client:4000", "cluster:80"), Wire("node:4000", "remote:8080")).opening(),
        passes(UPLINK, Wire("remote:8080", "node:4000")),
    )


@pytest.mark.parametrize(("step", "is_request"), [(to("pod", "A"), True), (to("pod"), True), (back("pod"), False)])
def test_each_packet_renews_its_own_direction(lab: Lab, step: Step, *, is_request: bool) -> None:
    opened(lab)
    long_ago = 1000 * lab.datapath.clock.hz
    lab.datapath.age_flows(long_ago)
    lab.play(step)
    ages = lab.datapath.flow_ages()
    request, reply = ages[lab.key("client:4000", "cluster:80")], ages[lab.key("pod:8080", "client:4000")]
    renewed, left = (request, reply) if is_request else (reply, request)
    assert renewed <= lab.datapath.elapsed() < long_ago <= left
