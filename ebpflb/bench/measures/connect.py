"""P1: what connect() costs among many Services, by mode; the curve of latency against their number.

Decides which numbers become the figures. Knows no namespace: the rig has them.

    Rig --stands, one a mode--> interleaved rounds at each number of Services --> P1, P1b, P1c, connect_latency

A client dials ten Services from all over, in turn: what a program uses does not grow with the cluster. What connect()
costs to 2,000 of them, which no cache holds, is told in P1's detail.

``bare`` is connect() to the backends from the same pod as ours, from a cgroup without hooks: the same path, but for
what the socket hooks do. ``direct`` is the same on a node without any agent or rule.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

from ebpflb.bench.figures import Result, judge
from ebpflb.bench.measure import Effort, Measured, Point, Progress, Series
from ebpflb.bench.modes import DIRECT, IPTABLES_LEGACY, IPTABLES_NFT, KINDS, SOCKET, Kind, present_kinds
from ebpflb.bench.rig import Rig, Stand
from ebpflb.bench.rig_checks import check_growth
from ebpflb.bench.rounds import Contender, Rounds, half_spread, interleaved

BARE: Final = "bare"
FEW, MANY, MOST = 10, 10_000, 100_000
_SIZES: Final = (1, FEW, 100, 1_000, MANY, MOST)
_QUICK_SIZES: Final = (FEW, 1_000, MANY, MOST)
_CONNECTS: Final = 1_000
"""A round of one mode."""
_COLD: Final = 2_000
"""Services that are dialled where none shall be in the caches."""


def measure(effort: Effort, progress: Progress) -> Measured:
    """Measure P1, P1b and P1c."""
    kinds, absent = present_kinds()
    sizes = _QUICK_SIZES if effort.is_quick else _SIZES
    rounds: dict[int, Rounds] = {}
    pairs: dict[int, Rounds] = {}
    with Rig() as rig:
        progress("namespaces and the agent")
        stands = rig.stands(kinds)
        for size in sizes:
            rounds[size] = _at_size(stands, size, effort, progress)
            if size in (FEW, MANY, MOST):
                pairs[size] = _pair(stands[SOCKET], effort.rounds(whole=101, quick=25))
            if size == MANY:
                stands[SOCKET].dial(_COLD)
                cold = _pair(stands[SOCKET], effort.rounds(whole=101, quick=11))
    for mode in (IPTABLES_LEGACY, IPTABLES_NFT):
        if mode in rounds[MANY].values:
            check_growth(mode, rounds[FEW].median(mode), rounds[MANY].median(mode))
    netfilter = [name for name, kind in KINDS.items() if kind.is_netfilter and name in rounds[FEW].values]
    return Measured(results(rounds, pairs, cold, netfilter), [latency_series(rounds)], absent)


def _at_size(stands: Mapping[str, Stand], size: int, effort: Effort, progress: Progress) -> Rounds:
    """Let all modes that are measured with so many Services take turns."""
    contenders: dict[str, Contender] = {}
    for name, stand in stands.items():
        if not _takes_part(stand.kind, size, effort):
            continue
        progress(f"{name}, {size:,} Services")
        stand.load(size, is_fast=size == MOST)
        contenders[name] = partial(_connect, stand)
        if name == SOCKET:
            contenders[BARE] = partial(_connect, stand, is_bare=True)
    count = effort.rounds(whole=25, quick=11 if size in (FEW, MANY) else 5)
    return interleaved(
        contenders, count, on_round=lambda number: progress(f"round {number} of {count}, {size:,} Services")
    )


def _pair(stand: Stand, count: int) -> Rounds:
    """Let ours and ``bare`` take turns alone, often: what is told of them is a matter of a few per cent."""
    contenders = {SOCKET: partial(_connect, stand), BARE: partial(_connect, stand, is_bare=True)}
    return interleaved(contenders, count)


def _takes_part(kind: Kind, size: int, effort: Effort) -> bool:
    return kind.name == DIRECT or size <= kind.most(is_quick=effort.is_quick)


def _connect(stand: Stand, *, is_bare: bool = False) -> float:
    return stand.run("connect", _CONNECTS, is_bare=is_bare).median


def results(
    rounds: Mapping[int, Rounds], pairs: Mapping[int, Rounds], cold: Rounds, netfilter: Sequence[str]
) -> list[Result]:
    """Return the figures, given the rounds at each number of Services.

    ``pairs``: of ours and ``bare`` alone. ``cold``: the same at 10,000 with Services that no cache holds.
    ``netfilter``: modes that had a turn at 10.
    """
    return [_p1(rounds[MANY], pairs[MANY], cold), _p1b(pairs), _p1c(rounds[FEW], netfilter)]


def _p1(rounds: Rounds, pair: Rounds, cold: Rounds) -> Result:
    detail = {f"{name.replace(' ', '_').replace('-', '_')}_ns": rounds.median(name) for name in rounds.values}
    detail["ours_of_direct_ratio"] = rounds.ratio(SOCKET, DIRECT)
    detail["ours_of_bare_2000_dialled_ratio"] = cold.ratio(SOCKET, BARE)
    return judge(
        "P1",
        pair.ratio(SOCKET, BARE),
        floor=pair.median(BARE),
        peer=rounds.median(IPTABLES_LEGACY) if IPTABLES_LEGACY in rounds.values else None,
        spread=pair.spread(SOCKET, BARE),
        detail={**detail, "pair_ours_ns": pair.median(SOCKET), "pair_bare_ns": pair.median(BARE)},
        note="floor: from the same pod, past the hooks",
    )


def _p1b(pairs: Mapping[int, Rounds]) -> Result:
    """Compare the ratios to ``bare``, since minutes lie between the two numbers of Services."""
    few = pairs[FEW].ratio(SOCKET, BARE)
    ratios = [ratio / few for ratio in pairs[MOST].ratios(SOCKET, BARE)]
    return judge(
        "P1b",
        pairs[MOST].ratio(SOCKET, BARE) / few,
        floor=pairs[MOST].median(BARE),
        peer=pairs[FEW].median(SOCKET),
        spread=half_spread(ratios),
        detail={
            "ours_at_10_ns": pairs[FEW].median(SOCKET),
            "bare_at_10_ns": pairs[FEW].median(BARE),
            "ours_at_100000_ns": pairs[MOST].median(SOCKET),
            "bare_at_100000_ns": pairs[MOST].median(BARE),
        },
        note="each above bare connect() in its own rounds",
    )


def _p1c(rounds: Rounds, netfilter: Sequence[str]) -> Result:
    fastest = min(netfilter, key=rounds.median)
    detail = {f"{name.replace('-', '_')}_ns": rounds.median(name) for name in netfilter}
    return judge(
        "P1c",
        rounds.ratio(SOCKET, fastest),
        floor=rounds.median(DIRECT),
        peer=rounds.median(fastest),
        spread=rounds.spread(SOCKET, fastest),
        detail={**detail, "ours_ns": rounds.median(SOCKET)},
        note=f"fastest: {fastest}",
    )


def latency_series(rounds: Mapping[int, Rounds]) -> Series:
    """Return the curve: medians of the rounds' medians, in microseconds."""
    names = [name for name in (*KINDS, BARE) if any(name in each.values for each in rounds.values())]
    return Series(
        "connect_latency",
        "connect() by number of Services",
        "Services",
        "microseconds",
        {
            name: [
                Point(size, each.median(name) / 1000, half_spread(each.values[name]) / 1000)
                for size, each in sorted(rounds.items())
                if name in each.values
            ]
            for name in names
            if name != BARE
        },
        is_log_x=True,
        is_log_y=True,
    )
