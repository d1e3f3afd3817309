"""P3, P4, P5, P9 and P9b: what the XDP programs cost a packet, above an empty program, in hash look-ups.

Decides which ways through the programs are measured, and refuses the numbers of a run that took another one: every
packet has to be counted as what it should be. IPv4 and TCP; the backend is behind the device that packets come in by.

    Node of 10 Services, Node of 10,000, Cycles --interleaved--> nanoseconds --ratios--> Results
"""

import os
from collections import Counter as Bag
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

from ebpflb.bench.cycles import FLOWS, PORT_BITS, Cycles, Reference, Run, Supply
from ebpflb.bench.cycles_frames import SYN, endpoints_of, is_right, segment
from ebpflb.bench.cycles_netns import PrivateNetns
from ebpflb.bench.cycles_node import Node
from ebpflb.bench.cycles_services import NETNS_LINES, Device, Where
from ebpflb.bench.measure import Effort, Measured, Progress, RefusedError
from ebpflb.bench.measures.program_results import (
    BEYOND,
    COLD,
    EMPTY,
    EMPTY_NEW,
    EMPTY_RANDOM,
    ESTABLISHED,
    FEW,
    FIRST,
    HASH,
    MANY,
    RANDOM,
    UNCLAIMED,
    among,
    results_of,
    series_of,
)
from ebpflb.bench.rounds import Contender, interleaved
from ebpflb.core.abi import Counter, Family
from ebpflb.datapath.clock import measure_hz
from ebpflb.host.mounts import BPFFS_POINT

_FIRST_PORT: Final = 2_000
_NEW_FLOWS: Final = 30_000
"""A round: their entries, two each, fit the map of unconfirmed flows twice over."""
_LEFT: Final = 0.95
_XDP_PASS, _XDP_TX, _XDP_REDIRECT = 2, 3, 4


@dataclass(frozen=True, slots=True)
class Way:
    """A way through the programs: packets, and what is counted for each of them."""

    node: Node
    supply: Supply
    frame: bytes
    verdict: int
    counts: tuple[Counter, ...] = ()


def measure(effort: Effort, progress: Progress) -> Measured:
    """Run every way, interleaved; return P3, P4, P5, P9, P9b and one plot.

    Raises ``RefusedError`` when packets took another way than the one to be measured.
    """
    repeat = 400_000 if effort.is_quick else 1_000_000
    rounds = effort.rounds(whole=31, quick=11)
    with ExitStack() as stack:
        keep = stack.enter_context
        keep(keep(PrivateNetns(NETNS_LINES)).entered())
        progress("building the programs")
        cycles = keep(Cycles(BPFFS_POINT))
        hz = measure_hz()
        nodes = [keep(Node(BPFFS_POINT, Family.IPV4, services, hz=hz)) for services in (FEW, MANY)]
        ways = {among(name, node.services): way for node in nodes for name, way in _ways(node).items()}
        for node in nodes:  # both have as many flows, or P9 would compare tables
            entries = node.multiply_flow(node.services - 1, FLOWS, PORT_BITS)
            if node.services == FEW:
                cycles.fill_cold(entries)
        keep(_one_cpu())
        contenders = _contenders(cycles, ways, repeat)
        values = interleaved(contenders, rounds, on_round=lambda number: progress(f"round {number} of {rounds}"))
    return Measured(results_of(values), (series_of(values),))


def _ways(node: Node) -> dict[str, Way]:
    service = node.services - 1
    established = node.connect(service)
    opening = segment(node.new_request(service, _FIRST_PORT), SYN)
    new, sent = (Counter.FORWARDED, Counter.FLOW_CREATED), (Counter.FORWARDED,)
    ways = {
        ESTABLISHED: Way(node, Supply.SAME4, established, _XDP_TX, sent),
        UNCLAIMED: Way(node, Supply.SAME4, segment(node.stray(), SYN), _XDP_PASS),
        FIRST: Way(node, Supply.PORTS4, opening, _XDP_TX, new),
    }
    if node.services == FEW:
        ways[BEYOND] = Way(node, Supply.SAME4, node.connect(Where.BEYOND), _XDP_REDIRECT, sent)
        ways[RANDOM] = Way(node, Supply.FLOWS4, established, _XDP_TX, sent)
    node.forget_pending()  # the handshakes' traces: the flows are confirmed
    return ways


def _contenders(cycles: Cycles, ways: Mapping[str, Way], repeat: int) -> dict[str, Contender]:
    references = {
        EMPTY: (ESTABLISHED, Reference.EMPTY),
        HASH: (ESTABLISHED, Reference.HOT),
        EMPTY_NEW: (FIRST, Reference.EMPTY),
        EMPTY_RANDOM: (RANDOM, Reference.EMPTY),
        COLD: (RANDOM, Reference.COLD),
    }
    return {
        **{
            name: partial(_run_reference, cycles, ways[way], program, repeat)
            for name, (way, program) in references.items()
        },
        **{name: partial(_run_way, cycles, name, way, repeat) for name, way in ways.items()},
    }


def _run_reference(cycles: Cycles, way: Way, program: Reference, repeat: int) -> float:
    run = cycles.run(way.supply, program, way.frame, repeat=repeat, ifindex=Device.UPLINK)
    if run.verdict != _XDP_PASS:
        raise RefusedError(f"programs: {program} did not find what it looks up")
    return run.ns


def _run_way(cycles: Cycles, name: str, way: Way, repeat: int) -> float:
    is_new = Counter.FLOW_CREATED in way.counts
    packets = _NEW_FLOWS if is_new else repeat
    before = Bag(way.node.counters())
    run = cycles.run(way.supply, way.node.program, way.frame, repeat=packets, ifindex=Device.UPLINK)
    counted = Bag(way.node.counters())
    counted.subtract(before)
    check(
        name,
        way.verdict,
        dict.fromkeys(way.counts, packets),
        run,
        {key: count for key, count in counted.items() if count},
    )
    # Each was counted as created; the kernel may take a few of an LRU's entries back before it is full.
    if is_new and not _LEFT * 2 * packets <= way.node.forget_pending() <= 2 * packets:
        raise RefusedError(f"programs: {name}: not every packet has made a pair of entries")
    return run.ns


def check(name: str, verdict: int, wanted: Mapping[Counter, int], run: Run, counted: Mapping[Counter, int]) -> None:
    """Raise ``RefusedError`` unless each packet was counted as it should be, and the last one came out right."""
    if run.verdict != verdict:
        raise RefusedError(f"programs: {name}: the verdict is {run.verdict}, not {verdict}")
    if counted != wanted:
        shown = ", ".join(f"{counter.name.lower()} {count}" for counter, count in counted.items()) or "nothing"
        raise RefusedError(f"programs: {name}: packets took another way ({shown} was counted)")
    if not is_right(run.frame):
        raise RefusedError(f"programs: {name}: the checksums of {endpoints_of(run.frame)} are wrong")


@contextmanager
def _one_cpu() -> Iterator[None]:
    """Keep the calling thread on one CPU, the last that it may use: the first one serves most interrupts."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)
