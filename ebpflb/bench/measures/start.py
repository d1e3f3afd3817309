"""P15: how long an agent takes from its start until its programs are where they belong.

    lab, manifests --> empty program of bcc | agent, nothing pinned | agent, pins adopted --turns--> P15, P15b

Both families, as an agent serves them unless told otherwise; a node with an uplink and a pod. The peer is what any tool
on bcc pays: a process that starts, imports bcc and compiles an empty program that includes ``linux/bpf.h``, over full
kernel headers. Cold: no pin of the instance is left, and nothing is cached but Python's byte code, which any installed
package has. Warm: everything is pinned and attached, and adopted. All three are process start to end of the work, by
the same clock.
"""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from ebpflb.bench.agent_run import AgentInstance
from ebpflb.bench.agents import BPFFS
from ebpflb.bench.bytecode import bytecode_at_hand
from ebpflb.bench.figures import judge, unmeasured
from ebpflb.bench.kernel_headers import REMEDY, KernelHeaders, find_headers
from ebpflb.bench.measure import Effort, Measured, Progress, RefusedError
from ebpflb.bench.plan import DUAL_STACK
from ebpflb.bench.rounds import Rounds, interleaved
from ebpflb.bench.topology import Lab
from ebpflb.datapath.build import remove_build
from ebpflb.datapath.compile_job import ProgramJob, Unit, compile_units
from ebpflb.datapath.programs import BPF_PROG_TYPE_SCHED_CLS, NO_ATTACH_TYPE

_EMPTY: Final = "#include <linux/bpf.h>\nint lb_empty(struct __sk_buff *skb) { return 0; }\n"
_PEER, _COLD, _WARM = "bcc", "cold", "warm"


@dataclass(frozen=True, slots=True)
class EmptyProgram:
    """The peer."""

    headers: KernelHeaders
    pins: Path
    """A folder on bpffs, its own."""

    def seconds(self) -> float:
        """Compile, load and pin it once, in a process of its own; return how long that took."""
        remove_build(self.pins)
        self.pins.mkdir(parents=True)
        job = ProgramJob("lb_empty", BPF_PROG_TYPE_SCHED_CLS, NO_ATTACH_TYPE, self.pins / "lb_empty")
        began = time.monotonic()
        headers = self.headers
        compile_units("an empty program", [Unit(_EMPTY, (job,))], headers.flags, headers.tree, hides_symbols=False)
        return time.monotonic() - began


@dataclass(frozen=True, slots=True)
class Agent:
    """The agent of a lab's node over a folder without manifests."""

    instance: AgentInstance
    devices: int

    def cold_seconds(self) -> float:
        """Start it where nothing of it is left."""
        self.instance.cleanup()
        return self._seconds("build_compiled")

    def warm_seconds(self) -> float:
        """Start it where everything is pinned and attached."""
        return self._seconds("build_adopted")

    def _seconds(self, how: str) -> float:
        run = self.instance.start()
        try:
            seconds = run.seconds_to_attached(self.devices)
            builds = [line for line in run.running.lines() if f"event={how} " in line]
        finally:
            run.stop()
        if len(builds) != len(self.instance.node.families):
            raise RefusedError(f"the agent did not say {how} of every family: it was not the start that is measured")
        return seconds


def measure(effort: Effort, progress: Progress) -> Measured:
    """Measure P15 and P15b."""
    headers = find_headers()
    if headers is None:
        note = f"this machine has no kernel headers to compile the peer over; {REMEDY}"
        return Measured([unmeasured("P15", note), unmeasured("P15b", note)])
    with bytecode_at_hand(), _rig(headers) as (empty, agent):
        progress("the first compilation, which does not count")
        empty.seconds()
        rounds = interleaved(
            {_PEER: empty.seconds, _COLD: agent.cold_seconds, _WARM: agent.warm_seconds},
            effort.rounds(7, 2),
            warm_up=0 if effort.is_quick else 1,
            on_round=lambda number: progress(f"round {number} of {effort.rounds(7, 2)}"),
        )
    return conclude(rounds, headers)


def conclude(rounds: Rounds, headers: KernelHeaders) -> Measured:
    """Return the results of rounds of the three."""
    detail = {f"{name}_s": median(rounds.values[name]) for name in (_COLD, _WARM)}
    note = "IPv4 and IPv6; without XDP, which a veth does not get unless it is asked for"
    results = [
        judge(
            figure_id,
            rounds.ratio(name, _PEER),
            peer=rounds.median(_PEER),
            spread=rounds.spread(name, _PEER),
            detail={**detail, "bcc_empty_s": rounds.median(_PEER)},
            note=note,
        )
        for figure_id, name in (("P15", _COLD), ("P15b", _WARM))
    ]
    return Measured(results, facts={"kernel headers": headers.tree.name})


@contextmanager
def _rig(headers: KernelHeaders) -> Iterator[tuple[EmptyProgram, Agent]]:
    """Yield the peer, and the agent of a node with an uplink and one pod."""
    with (
        tempfile.TemporaryDirectory(prefix="ebpflb-bench-") as folder,
        Lab("start", nodes=1, pods_per_node=1, families=DUAL_STACK) as lab,
    ):
        manifests, node = Path(folder) / "manifests", lab.node(1)
        manifests.mkdir()
        instance = AgentInstance(node, lab.id, ("--manifests", str(manifests)), Path(folder) / "state")
        empty = EmptyProgram(headers, BPFFS / "ebpflb" / f"{lab.id}-empty")
        try:
            yield empty, Agent(instance, devices=len(node.uplinks) + len(node.pods))
        finally:
            remove_build(empty.pins)
            instance.cleanup()
