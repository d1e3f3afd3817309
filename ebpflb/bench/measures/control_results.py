"""What the runs of P10 to P12 say: ratios to ``nft -f``, and curves against the number of Services. Pure.

OurTimes, PeerTimes --conclude, draw--> Result..., Series...
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Final

from ebpflb.bench.apiserver_objects import Scale
from ebpflb.bench.figures import Result, judge
from ebpflb.bench.measure import Point, Series
from ebpflb.bench.measures.control_peers import PeerTimes
from ebpflb.bench.rounds import half_spread

OURS: Final = "ebpflb"
FULL = Scale(10_000, 10)
MB: Final = 1e6
_MEMORY: Final = "of the agent with the children that it had at the same time; none is left when its first list is read"


@dataclass(frozen=True, slots=True)
class OurTimes:
    """One run of the agent."""

    scale: Scale
    whole_s: float
    changes_s: tuple[float, ...]
    peak_bytes: int


@dataclass(frozen=True, slots=True)
class OurRuns:
    """Every run of the agent."""

    curve: tuple[OurTimes, ...]
    """One a size."""
    growth: tuple[OurTimes, OurTimes, OurTimes]
    """Of P10b: of the smallest cluster, which is what any start takes, and the two that are compared."""
    full: tuple[OurTimes, ...]
    """At the full size; the first has had all changes."""
    note: str = ""
    """Of what is not as it should be, for every figure."""


def conclude(ours: OurRuns, peer: PeerTimes) -> list[Result]:
    """Return the results of ours, and of ``nft -f`` at its largest size."""
    full = ours.full
    services, factor = full[0].scale.services, full[0].scale.services / peer.scale.services
    whole_s, peer_s, change_s = median(run.whole_s for run in full), peer.whole_s * factor, median(peer.changes_s)
    changes, short = full[0].changes_s, _noted(ours.note, _shortfall(peer, factor))
    p99_s = quantiles(changes, n=100, method="inclusive")[98]
    least, small, large = ours.growth
    linear = _seconds_a_service(large, least) / _seconds_a_service(small, least)
    sizes = (
        f"{small.scale.services:,} and {large.scale.services:,} Services x {large.scale.endpoints}, "
        f"without what {least.scale.services:,} take"
    )
    change_detail = {"ours_p50_s": median(changes), "ours_p99_s": p99_s, "nft_s": change_s, "changes": len(changes)}
    whole_detail = {"ours_s": whole_s, "nft_s": peer.whole_s, "services": services, "nft_services": peer.scale.services}
    return [
        judge(
            "P10",
            whole_s / peer_s,
            peer=peer_s,
            spread=half_spread([run.whole_s / peer_s for run in full]),
            detail=whole_detail,
            note=_noted("from the agent's start, its programs built", short),
        ),
        judge(
            "P10b",
            linear,
            detail={"least_s": least.whole_s, "small_s": small.whole_s, "large_s": large.whole_s},
            note=_noted(ours.note, sizes),
        ),
        judge(
            "P11",
            median(changes) / change_s,
            peer=change_s,
            spread=half_spread([each / change_s for each in changes]),
            detail=change_detail,
            note=short,
        ),
        judge("P11b", p99_s / change_s, peer=change_s, detail=change_detail, note=short),
        judge(
            "P12",
            max(run.peak_bytes for run in full) / MB,
            detail={"rounds": len(full)},
            note=_noted(_MEMORY, ours.note),
        ),
    ]


def _noted(*words: str) -> str:
    return "; ".join(filter(None, words))


def _shortfall(peer: PeerTimes, factor: float) -> str:
    """Return what is to be said of a peer with fewer Services than ours; nothing when it had as many."""
    if factor == 1:
        return ""
    return (
        f"nft -f had {peer.scale.services:,} Services; its whole load is taken {factor:.3g} times, as if it grew in "
        "proportion (it grows faster), its change as it is (it grows, too)"
    )


def _seconds_a_service(run: OurTimes, least: OurTimes) -> float:
    return (run.whole_s - least.whole_s) / (run.scale.services - least.scale.services)


def draw(ours: Sequence[OurTimes], peers: dict[str, list[PeerTimes]]) -> tuple[Series, Series]:
    """Return the curves of both times against the number of Services."""
    runs: dict[str, Sequence[OurTimes | PeerTimes]] = {OURS: ours, **peers}
    x, y = "Services of 10 endpoints", "seconds"
    whole = {name: [Point(run.scale.services, run.whole_s) for run in of] for name, of in runs.items()}
    change = {
        name: [Point(run.scale.services, median(run.changes_s), half_spread(run.changes_s)) for run in of]
        for name, of in runs.items()
    }
    return (
        Series("program_all", "time to program all Services", x, y, whole, is_log_x=True, is_log_y=True),
        Series("program_one", "time to change one endpoint", x, y, change, is_log_x=True, is_log_y=True),
    )
