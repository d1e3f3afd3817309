"""What each Service costs a start, phase by phase, in few and in many: ``python -m ebpflb.bench.start_cost``.

Explains P10b: what grows faster than the number of Services, and what does not. Counts the processor time of threads,
not the clock: that of a start shows as well what runs beside what. Without an API server and maps, so that anybody may
run it. Decides what is timed; must not know what the phases do.

    Scale --child: pages, Inbox, compile_tables, diff, what hears of a round--> microseconds a Service, by phase
    rounds of children, sizes in turn --main--> medians and their ratio on stdout
"""

import argparse
import json
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from statistics import median
from typing import Final, NamedTuple

from ebpflb.bench.apiserver_objects import Scale, service_json, slice_json
from ebpflb.core.abi import Family
from ebpflb.core.compile import compile_tables
from ebpflb.core.diff import diff
from ebpflb.core.health import HealthChecks
from ebpflb.core.holdings import Limits
from ebpflb.core.ids import Allocation
from ebpflb.core.manifest import Document, Invisible, convert_service, convert_slice
from ebpflb.core.model import Host, Node
from ebpflb.core.pending import PendingChanges
from ebpflb.core.report import misplaced_addresses
from ebpflb.core.tables import Tables
from ebpflb.host.heap import use_one_heap
from ebpflb.kube.reflector import PAGE_LIMIT
from ebpflb.kube.wire import Page, decode_envelope
from ebpflb.reconcile import garbage
from ebpflb.reconcile.batch import Batch
from ebpflb.reconcile.inbox import Inbox
from ebpflb.reconcile.ports import Kind, ModelObject

_NODE: Final = Node("bench-node")
_ROOM: Final = Limits(*[1 << 22] * 7)
_NS: Final = 1000
"""In a microsecond."""

Costs = dict[str, float]
"""Microseconds a Service, by phase, in the order in which phases end first."""


class _List(NamedTuple):
    """What is read of one kind."""

    kind: Kind
    made: Callable[[int], bytes]
    convert: Callable[[Document], ModelObject | Invisible]


class Phases:
    """Processor time by phase, of whichever thread."""

    def __init__(self) -> None:
        self.spent_ns: defaultdict[str, int] = defaultdict(int)

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Count what this thread does in the block."""
        began_ns = time.thread_time_ns()
        try:
            yield
        finally:
            self.spent_ns[name] += time.thread_time_ns() - began_ns

    def costs(self, services: int) -> Costs:
        """Return what a Service costs."""
        return {name: spent / _NS / services for name, spent in self.spent_ns.items()}


def start_once(scale: Scale) -> Costs:
    """Do what an agent does from the lists to the plan, both lists at the same time as it does."""
    phases, inbox = Phases(), Inbox(_NODE.name, tells_together=False)
    inbox.host(Host())
    inbox.replace(Kind.NODE, [_NODE])
    inbox.replace(Kind.SERVICE_CIDR, [])
    lists = (
        _List(Kind.SERVICE, service_json, convert_service),
        _List(Kind.ENDPOINT_SLICE, partial(slice_json, endpoints=scale.endpoints), convert_slice),
    )
    readers = [threading.Thread(target=_read, args=(phases, inbox, scale.services, each)) for each in lists]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    inbox.wait(None)
    with phases("batch"):
        batch = inbox.take()
    if batch is not None:
        _compile(phases, batch)
        _tell(phases, batch)
    return phases.costs(scale.services)


def _read(phases: Phases, inbox: Inbox, count: int, each: _List) -> None:
    """Read one list, page by page; what makes the pages is the API server's."""
    objects: list[ModelObject] = []
    for first in range(0, count, PAGE_LIMIT):
        items = b",".join(map(each.made, range(first, min(first + PAGE_LIMIT, count))))
        raw = b'{"metadata":{"resourceVersion":"1"},"items":[%s]}' % items
        with phases(f"read {each.kind.value}"):
            for item in decode_envelope(raw, Page).items or ():
                converted = each.convert(item)
                if not isinstance(converted, Invisible):
                    objects.append(converted)
    with phases("hold"):
        inbox.replace(each.kind, objects)


def _compile(phases: Phases, batch: Batch) -> None:
    with garbage.paused(), phases("compile"):
        compiled = [compile_tables(batch.snapshot, family, Allocation(), _ROOM) for family in Family]
    with phases("compare"):
        for each in compiled:
            diff(each.tables, Tables(each.tables.family))


def _tell(phases: Phases, batch: Batch) -> None:
    """Do what metrics, health checks and the log do when they hear of the first round."""
    pending, checks = PendingChanges(tuple(Family)), HealthChecks(_NODE.name)
    with phases("tell"):
        pending.take(batch.changes, ())
        list(pending.settle(()))
        checks.take(batch.changes)
        list(misplaced_addresses(batch.changes.slices))
        batch.changes.touched()


def report(costs: Sequence[tuple[Scale, Sequence[Costs]]]) -> Iterator[str]:
    """Yield the table: medians at each size, and the last size's of the first one's."""
    yield f"{'us a Service':24}" + "".join(f"{scale.services:>10,}" for scale, _ in costs) + "     ratio"
    for name in (*costs[0][1][0], "all"):
        found = [median(_cost(each, name) for each in rounds) for _, rounds in costs]
        yield f"{name:24}" + "".join(f"{each:10.1f}" for each in found) + f"{found[-1] / found[0]:10.2f}"


def _cost(costs: Costs, name: str) -> float:
    return sum(costs.values()) if name == "all" else costs[name]


def main(words: Sequence[str] | None = None) -> int:
    """Print the table, or as a child the costs of one start; return an exit code."""
    arguments = _parser().parse_args(words)
    scales = [Scale(services, arguments.endpoints) for services in arguments.services]
    if arguments.once:
        use_one_heap()
        garbage.tune()
        sys.stdout.write(json.dumps(start_once(scales[0])))
        return 0
    costs: dict[Scale, list[Costs]] = {scale: [] for scale in scales}
    for number in range(arguments.rounds):
        for scale in scales if number % 2 == 0 else reversed(scales):
            costs[scale].append(_in_child(scale))
    sys.stdout.writelines(f"{line}\n" for line in report(list(costs.items())))
    return 0


def _in_child(scale: Scale) -> Costs:
    """Return the costs of a start in a process of its own: what another one has left behind is not in it."""
    words = ["--once", "--services", str(scale.services), "--endpoints", str(scale.endpoints)]
    command = [sys.executable, "-m", "ebpflb.bench.start_cost", *words]
    found: Costs = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ebpflb.bench.start_cost", description=__doc__.splitlines()[0])
    parser.add_argument("--services", type=int, nargs="+", default=[10_000, 50_000], metavar="N")
    parser.add_argument("--endpoints", type=int, default=5, metavar="N", help="of each Service")
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument("--once", action="store_true", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
