"""The sweep of what the programs themselves left in the flow maps: both halves of one rule, in C and in Python."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest

from ebpflb.core.abi import FrontendKind
from ebpflb.datapath.expiry import FlowState
from tests.prog.harness import Hook
from tests.prog.lab import Lab, Step, forwards
from tests.prog.later import MARGIN_S, Later
from tests.prog.services import Service
from tests.prog.wire import Wire

pytestmark = pytest.mark.root

REMOTE = Service("cluster:80", ("remote",), FrontendKind.CLUSTER_IP)
REST_S = 60


@pytest.fixture
def later(tcp: Lab) -> Iterator[Later]:
    with Later.of(tcp) as opened:
        yield opened


def to(flags: str, source: str = "client:4000", port: str = "node:4000") -> Step:
    """A client's packet to the Service, masqueraded."""
    return forwards(Wire(source, "cluster:80", flags=flags), Wire(port, "remote:8080", flags=flags))


def back(flags: str) -> Step:
    """The backend's packet to the client."""
    return forwards(Wire("remote:8080", "node:4000", flags=flags), Wire("cluster:80", "client:4000", flags=flags))


@pytest.mark.parametrize("ending", [[to("FA"), back("FA")], [back("RA")], [to("R")]])
def test_a_port_of_ours_rests_though_its_client_is_back_at_once(tcp: Lab, later: Later, ending: list[Step]) -> None:
    """pitfalls 7.5: the backend is in TIME_WAIT; whoever gets the port before that ends draws a challenge ACK."""
    tcp.load(REMOTE)
    tcp.play(to("S").opening(), back("SA"), to("A").confirming(), *ending)
    taken = tcp.key("remote:8080", "node:4000")
    tcp.run(Hook.UPLINK_IN, Wire("client:4000", "cluster:80", flags="S"))
    assert len(tcp.datapath.flows()) == 3  # the new flow, and the old one's reply entry
    assert taken in tcp.datapath.flows()
    assert "reset" not in later.sweep(REST_S - MARGIN_S)
    assert taken in tcp.datapath.flows()
    assert later.sweep(REST_S + 2)["reset"] == 1
    assert tcp.datapath.flows() == {}
    tcp.play(to("S", "client2:4000").opening())


def test_a_confirmed_flow_is_counted_once_and_leaves_pending_soon(tcp: Lab, later: Later) -> None:
    tcp.load(REMOTE)
    tcp.play(to("S").opening(), back("SA"), to("A").confirming())
    flows = later.sweeper.sweep().flows
    assert (flows[FlowState.ESTABLISHED], flows[FlowState.MOVED]) == (1, 1)
    assert later.sweep(12) == {"moved": 1}
    assert later.sweeper.sweep().entries == {"flows": 2, "pending": 0}
    tcp.play(to("A"), back("A"))


def test_nobody_remembers_a_flow_that_was_swept(udp: Lab) -> None:
    """Its backend left its Service, another Service has it still; what programs keep of it is void."""
    other = Service("any:30080", ("remote", "remote2"))
    there = forwards(Wire("client:4000", "cluster:80"), Wire("node:4000", "remote:8080"))
    answer = forwards(Wire("remote:8080", "node:4000"), Wire("cluster:80", "client:4000"))
    udp.load(replace(REMOTE, affinity_s=60), other)
    udp.play(there.opening(), answer, there.confirming(), there, there)
    udp.load(replace(REMOTE, backends=("remote2",), affinity_s=60), other)
    with ExitStack() as stack:
        later = Later(udp, stack)
        udp.play(there, there)  # nobody has swept yet
        assert later.sweep(0) == {"backend-gone": 1}
        moved = udp.run(Hook.UPLINK_IN, Wire("client:4000", "cluster:80"))
    assert moved.frame == udp.frame(Wire(f"node:{port_of(udp)}", "remote2:8080").with_ttl(63))


def port_of(lab: Lab) -> int:
    """Return the source port of the only flow that begins at the client."""
    return int(lab.datapath.flows()[lab.key("client:4000", "cluster:80")].to_sport)
