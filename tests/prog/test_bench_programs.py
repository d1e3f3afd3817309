"""The programs that supply packets, and a small node: each packet is put back, and takes the way it is made for."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import NamedTuple

import pytest

from ebpflb.bench.cycles import PORT_BITS, Cycles, Reference, Supply
from ebpflb.bench.cycles_frames import SYN, endpoints_of, is_right, segment
from ebpflb.bench.cycles_netns import PrivateNetns
from ebpflb.bench.cycles_node import Node
from ebpflb.bench.cycles_services import NETNS_LINES, Device
from ebpflb.core.abi import Counter, Family
from tests.prog.fixtures_maps import BPFFS
from tests.prog.harness import XdpVerdict

pytestmark = pytest.mark.root

SERVICES, SERVICE, PACKETS = 4, 3, 1000


class Bench(NamedTuple):
    """A node among its namespace, and what runs it."""

    netns: PrivateNetns
    cycles: Cycles
    node: Node


@pytest.fixture(scope="module", name="bench")
def _bench() -> Iterator[Bench]:
    with ExitStack() as stack:
        netns = stack.enter_context(PrivateNetns(NETNS_LINES))
        cycles = stack.enter_context(Cycles(BPFFS))
        yield Bench(netns, cycles, stack.enter_context(Node(BPFFS, Family.IPV4, SERVICES, hz=250)))


def counted(bench: Bench, supply: Supply, frame: bytes) -> dict[Counter, int]:
    """Run the node's program; assert that the last packet was sent on; return what was counted."""
    before = bench.node.counters()
    with bench.netns.entered():
        run = bench.cycles.run(supply, bench.node.program, frame, repeat=PACKETS, ifindex=Device.UPLINK)
    assert run.verdict == XdpVerdict.TX
    assert is_right(run.frame)
    after = bench.node.counters()
    return {
        counter: after[counter] - before.get(counter, 0) for counter in after if after[counter] != before.get(counter)
    }


def test_every_repetition_meets_the_same_packet(bench: Bench) -> None:
    with bench.netns.entered():
        frame = bench.node.connect(SERVICE)
    assert counted(bench, Supply.SAME4, frame) == {Counter.FORWARDED: PACKETS}


def test_every_port_is_a_new_flow(bench: Bench) -> None:
    bench.node.forget_pending()
    frame = segment(bench.node.new_request(SERVICE, 2000), SYN)
    assert counted(bench, Supply.PORTS4, frame) == {Counter.FORWARDED: PACKETS, Counter.FLOW_CREATED: PACKETS}
    assert bench.node.forget_pending() == 2 * PACKETS


def test_random_flows_are_those_in_the_table(bench: Bench) -> None:
    with bench.netns.entered():
        frame = bench.node.connect(0)
    bench.cycles.fill_cold(bench.node.multiply_flow(0, 100_000, PORT_BITS))
    assert counted(bench, Supply.FLOWS4, frame) == {Counter.FORWARDED: PACKETS}
    assert bench.cycles.run(Supply.FLOWS4, Reference.COLD, frame, repeat=PACKETS).verdict == XdpVerdict.PASS


def test_what_is_compared_with_leaves_the_packet_alone(bench: Bench) -> None:
    request = bench.node.request(0)
    for reference in (Reference.EMPTY, Reference.HOT):
        run = bench.cycles.run(Supply.SAME4, reference, segment(request, SYN), repeat=PACKETS)
        assert run.verdict == XdpVerdict.PASS
        assert endpoints_of(run.frame) == request
