"""P10 to P12: from the API server to the maps, everything at once and one endpoint's change; the agent's memory.

    API server (a process of its own) --> the real agent --> pinned maps, read by bpf(2) --> P10, P10b, P11, P11b, P12
    the same Services as rules         --> nft -f, iptables-restore                       --> the peers

P10 is the agent's whole start: from its process's until it says that the first snapshot is in the maps, which were
empty; its programs were built before (P15 measures that). P11 is from the moment at which the API server writes the
event until the slots name the new backend. P12 is the peak of resident memory, VmHWM, after both.
"""

import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ebpflb.bench.agent_run import AgentInstance
from ebpflb.bench.apiserver import ApiServer
from ebpflb.bench.apiserver_objects import SERVICE_PORT, Scale, endpoint_addresses, service_address
from ebpflb.bench.landing import Landing
from ebpflb.bench.measure import Effort, Measured, Progress, RefusedError
from ebpflb.bench.measures.control_peers import measure_mode
from ebpflb.bench.measures.control_results import FULL, MB, OurTimes, conclude, draw
from ebpflb.bench.netfilter_load import IPTABLES_LEGACY, IPTABLES_NFT, MODES, NFTABLES, version_of
from ebpflb.bench.plan import DUAL_STACK
from ebpflb.bench.topology import Lab

_PAUSE_SECONDS: Final = 0.02
"""Between two changes: each shall come alone."""
_FEWEST_CHANGES: Final = 10
_SEED: Final = 5


@dataclass(frozen=True, slots=True)
class Programme:
    """Which sizes a run measures."""

    ours: tuple[Scale, ...]
    growth: tuple[Scale, Scale]
    """Of P10b: the second has five times the Services."""
    peers: dict[str, tuple[Scale, ...]]
    """By mode; the last of nftables' stands for P10 and P11."""
    changes: int
    changes_seconds: float
    """No further change begins after so long, if ten have been made."""
    peer_changes: int
    rounds: int


QUICK = Programme(
    ours=(Scale(100, 10), FULL),
    growth=(Scale(2_000, 5), Scale(10_000, 5)),
    peers={
        NFTABLES.name: tuple(Scale(size, 10) for size in (100, 1_000, 3_000)),
        IPTABLES_LEGACY.name: tuple(Scale(size, 10) for size in (100, 1_000)),
        IPTABLES_NFT.name: tuple(Scale(size, 10) for size in (10, 100)),
    },
    changes=100,
    changes_seconds=8.0,
    peer_changes=5,
    rounds=1,
)
WHOLE = Programme(
    ours=(*(Scale(size, 10) for size in (10, 100, 1_000)), FULL),
    growth=(Scale(10_000, 5), Scale(50_000, 5)),
    peers={
        NFTABLES.name: (*(Scale(size, 10) for size in (10, 100, 1_000)), FULL),
        IPTABLES_LEGACY.name: (*(Scale(size, 10) for size in (10, 100, 1_000)), FULL),
        IPTABLES_NFT.name: tuple(Scale(size, 10) for size in (10, 100, 1_000)),
    },
    changes=1_000,
    changes_seconds=60.0,
    peer_changes=11,
    rounds=3,
)


def measure(effort: Effort, progress: Progress) -> Measured:
    """Measure P10 to P12."""
    programme = QUICK if effort.is_quick else WHOLE
    versions = {mode.name: version_of(mode) for mode in MODES}
    with _rig() as rig:
        progress("building the programs")
        rig.instance(()).prepare()
        facts = _ask_cluster(rig, effort.kubeconfig, progress) if effort.kubeconfig else {}
        growth = [rig.run(scale, progress) for scale in programme.growth]
        changes = (programme.changes, programme.changes_seconds)
        ours = [rig.run(scale, progress, *changes) for scale in programme.ours]
        full = [ours[-1], *(rig.run(FULL, progress) for _ in range(programme.rounds - 1))]
    peers = {
        mode.name: measure_mode(mode, programme.peers[mode.name], programme.peer_changes, progress) for mode in MODES
    }
    return Measured(conclude(full, growth, ours[0], peers[NFTABLES.name][-1]), draw(ours, peers), {**versions, **facts})


@dataclass(frozen=True, slots=True)
class _Rig:
    """One node whose agent is run again and again: its programs stay, its maps are emptied in between."""

    lab: Lab
    folder: Path

    def instance(self, source: tuple[str, ...]) -> AgentInstance:
        """Return the node's agent, told of a source; without one, it has an empty folder of manifests."""
        empty = ("--manifests", str(self.folder / "empty"))
        return AgentInstance(self.lab.node(1), self.lab.id, source or empty, self.folder / "state")

    def run(self, scale: Scale, progress: Progress, changes: int = 0, seconds: float = 0.0) -> OurTimes:
        """Run the agent once over a cluster of this size, have it changed, and empty the maps again."""
        progress(f"ebpflb, {scale.services:,} Services x {scale.endpoints}")
        with ApiServer(self.lab.node(1), scale) as server:
            agent = self.instance(("--kubeconfig", str(server.write_kubeconfig(self.folder / "kubeconfig")))).start()
            try:
                whole_s = agent.seconds_to_ready()
                with Landing(self.instance(()).pins) as landing:
                    _check(landing, scale)
                    changes_s = tuple(_changes(server, landing, changes, seconds))
                peak = agent.peak_bytes()
            finally:
                agent.stop()
        self._empty()
        return OurTimes(scale, whole_s, changes_s, peak)

    def _empty(self) -> None:
        agent = self.instance(()).start()
        try:
            agent.seconds_to_ready()
        finally:
            agent.stop()


@contextmanager
def _rig() -> Iterator[_Rig]:
    with (
        tempfile.TemporaryDirectory(prefix="ebpflb-bench-") as folder,
        Lab("control", nodes=1, pods_per_node=1, families=DUAL_STACK) as lab,
    ):
        (Path(folder) / "empty").mkdir()
        rig = _Rig(lab, Path(folder))
        try:
            yield rig
        finally:
            rig.instance(()).cleanup()


def _check(landing: Landing, scale: Scale) -> None:
    """Refuse an agent that says it is ready and is not: the last Service must be served, by all its endpoints."""
    last = scale.services - 1
    began = time.monotonic_ns()
    seen = landing.await_addresses((service_address(last), SERVICE_PORT), endpoint_addresses(last, scale.endpoints))
    if seen - began > 1e8:  # noqa: PLR2004 - a tenth of a second: what one look never takes
        raise RefusedError("the agent said that it was ready before the last Service was in the maps")


def _changes(server: ApiServer, landing: Landing, count: int, seconds: float) -> Iterator[float]:
    """Change one endpoint of ``count`` Services, one after the other; yield the seconds from event to map of each."""
    rng, scale, is_changed = random.Random(_SEED), server.scale, dict[int, bool]()  # noqa: S311 - the same in each run
    end = time.monotonic() + seconds
    for made in range(count):
        if made >= _FEWEST_CHANGES and time.monotonic() > end:
            return
        number = rng.randrange(scale.services)
        is_changed[number] = not is_changed.get(number, False)
        wanted = endpoint_addresses(number, scale.endpoints, is_changed=is_changed[number])
        order = server.order_change(number)
        landed_ns = landing.await_addresses((service_address(number), SERVICE_PORT), wanted)
        yield (landed_ns - server.written_ns(order)) / 1e9
        time.sleep(_PAUSE_SECONDS)


def _ask_cluster(rig: _Rig, kubeconfig: str, progress: Progress) -> dict[str, str]:
    """Run the agent over a real cluster, which is read only; return what it took, beside the figures."""
    progress("ebpflb over the cluster of --kubeconfig")
    agent = rig.instance(("--kubeconfig", kubeconfig)).start()
    try:
        seconds = agent.seconds_to_ready()
        ready = next(line for line in agent.running.lines() if "event=ready " in line)
        peak = agent.peak_bytes() / MB
    finally:
        agent.stop()
    services = ready.rpartition("services=")[2]
    return {"cluster": f"{services} Services in the maps {seconds:.2f} s after the start, {peak:.0f} MB at most"}
