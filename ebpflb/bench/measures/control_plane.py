"""P10 to P12: from the API server to the maps, everything at once and one endpoint's change; the agent's memory.

    API server (a process of its own) --> the real agent --> pinned maps, read by bpf(2) --> P10, P10b, P11, P11b, P12
    the same Services as rules         --> nft -f, iptables-restore                       --> the peers

P10 is the agent's whole start: from its process's until it says that the first snapshot is in the maps, which were
empty; its programs were built before (P15 measures that). P11 is from the moment at which the API server writes the
event until the slots name the new backend. P12 is the peak of resident memory, VmHWM, after both. With --kubeconfig it
is a cluster of the user's instead (``control_cluster.py``).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ebpflb.bench.apiserver import ApiServer
from ebpflb.bench.apiserver_objects import Scale
from ebpflb.bench.bytecode import bytecode_at_hand
from ebpflb.bench.measure import Effort, Measured, Progress
from ebpflb.bench.measures.control_cluster import measure_cluster
from ebpflb.bench.measures.control_peers import measure_mode
from ebpflb.bench.measures.control_results import FULL, OurRuns, OurTimes, conclude, draw
from ebpflb.bench.measures.control_rig import Changing, Rig, opened_rig
from ebpflb.bench.netfilter_load import IPTABLES_LEGACY, IPTABLES_NFT, MODES, NFTABLES, version_of
from ebpflb.bench.scaling_model import Cluster, sizes_for


@dataclass(frozen=True, slots=True)
class Programme:
    """Which sizes a run measures."""

    curve: tuple[Scale, ...]
    """Of ours."""
    growth: tuple[Scale, Scale, Scale]
    """Of P10b: what any start takes, and two of which the second has five times the Services."""
    peers: dict[str, tuple[Scale, ...]]
    """By mode; the last of nftables' stands for P10 and P11."""
    changes: Changing
    """At the full size; elsewhere a tenth of them."""
    peer_changes: int
    rounds: int


QUICK = Programme(
    curve=(Scale(100, 10), Scale(2_000, 10), FULL),
    growth=(Scale(100, 10), Scale(2_000, 10), FULL),
    peers={
        NFTABLES.name: tuple(Scale(size, 10) for size in (100, 3_000)),
        IPTABLES_LEGACY.name: tuple(Scale(size, 10) for size in (100, 1_000)),
        IPTABLES_NFT.name: tuple(Scale(size, 10) for size in (10, 100)),
    },
    changes=Changing(100, 6.0),
    peer_changes=5,
    rounds=1,
)
WHOLE = Programme(
    curve=(*(Scale(size, 10) for size in (10, 100, 1_000)), FULL),
    growth=(Scale(10, 5), Scale(10_000, 5), Scale(50_000, 5)),
    peers={
        NFTABLES.name: (*(Scale(size, 10) for size in (10, 100, 1_000)), FULL),
        IPTABLES_LEGACY.name: (*(Scale(size, 10) for size in (10, 100, 1_000)), FULL),
        IPTABLES_NFT.name: tuple(Scale(size, 10) for size in (10, 100, 1_000)),
    },
    changes=Changing(1_000, 60.0),
    peer_changes=11,
    rounds=3,
)


def measure(effort: Effort, progress: Progress) -> Measured:
    """Measure P10 to P12."""
    programme = QUICK if effort.is_quick else WHOLE
    facts = {mode.name: version_of(mode) for mode in MODES}
    sizes = programme.peers
    with bytecode_at_hand(), opened_rig() as rig:
        progress("building the programs")
        rig.instance().prepare()
        if effort.kubeconfig:
            ours, said = measure_cluster(rig, effort, programme.changes, programme.rounds, progress)
            facts |= said
            sizes = {mode: up_to(scales, ours.full[0].scale.services) for mode, scales in sizes.items()}
        else:
            ours = _own_runs(rig, programme, progress)
    peers = {mode.name: measure_mode(mode, sizes[mode.name], programme.peer_changes, progress) for mode in MODES}
    return Measured(conclude(ours, peers[NFTABLES.name][-1]), draw(ours.curve, peers), facts)


def up_to(scales: tuple[Scale, ...], services: int) -> tuple[Scale, ...]:
    """Return the sizes of a peer that are no larger than ours, the largest as large as ours if it may be."""
    largest = min(services, scales[-1].services)
    return (*(each for each in scales if each.services < largest), Scale(largest, 10))


def middle(runs: Sequence[OurTimes]) -> OurTimes:
    """Return the run of median length: a tenth of a second that one of three was held up for is 0.06 in P10b."""
    return sorted(runs, key=lambda run: run.whole_s)[len(runs) // 2]


def _own_runs(rig: Rig, programme: Programme, progress: Progress) -> OurRuns:
    """Run the agent over clusters of the bench's own API server."""
    few = Changing(programme.changes.most // 10, programme.changes.seconds)
    plan = [(scale, programme.changes if scale == FULL else few) for scale in programme.curve]
    runs = _runs(rig, [*plan, *[(FULL, Changing())] * (programme.rounds - 1)], progress)
    curve = {run.scale: run for run in runs[: len(plan)]}
    least, small, large = [curve.get(scale) for scale in programme.growth]
    if least is None or small is None or large is None:
        # More than the maps' default sizes hold: on a node whose maps have others, all three.
        with opened_rig(_map_sizes(programme.growth[-1])) as roomy:
            progress("building the programs with larger maps")
            roomy.instance().prepare()
            growth = _runs(roomy, [(scale, Changing()) for scale in programme.growth] * programme.rounds, progress)
            least, small, large = (middle(growth[place :: len(programme.growth)]) for place in range(3))
    return OurRuns(tuple(curve.values()), (least, small, large), tuple(run for run in runs if run.scale == FULL))


def _runs(rig: Rig, plan: Sequence[tuple[Scale, Changing]], progress: Progress) -> list[OurTimes]:
    """Run the agent over one cluster after the other, each into empty maps."""
    runs: list[OurTimes] = []
    for scale, changing in plan:
        server = ApiServer(rig.lab.node(1), scale)  # it encodes its objects while the maps are emptied
        if runs:
            rig.empty()
        with server:
            kubeconfig = server.write_kubeconfig(rig.folder / "kubeconfig")
            runs.append(rig.run(server, kubeconfig, progress, changing)[0])
    return runs


def _map_sizes(scale: Scale) -> tuple[str, ...]:
    """Return the flags for maps that such a cluster fits into."""
    wanted = sizes_for(Cluster(1, scale.services, scale.services * scale.endpoints))
    names = ("frontends", "services", "backends", "slots")
    return tuple(word for name in names for word in ("--map-size", f"{name}={getattr(wanted, name)}"))
