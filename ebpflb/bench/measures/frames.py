"""P6, P7, P8 and P9c: frames that one core forwards, of flows that are established, in every mode.

Decides which contenders make which figure. The product is the real thing: its agent as a process, told
``--acceleration native``, with the programs that it attached. Everything but the product's control plane runs on one
core: frames are made, forwarded and counted there, and its time is what is compared.

    Core, contenders --bursts, interleaved--> ns per frame --> P6, P7, P8, P9c; packets a second per mode
"""

from collections.abc import Callable, Mapping
from typing import Final

from ebpflb.bench.figures import Result, judge, unmeasured
from ebpflb.bench.frame_contenders import (
    DROP,
    FEW,
    FORWARDING,
    LEGACY,
    MANY,
    NFT,
    NFTABLES,
    SWAP,
    Lanes,
    contending,
    ours,
)
from ebpflb.bench.frame_lanes import Way
from ebpflb.bench.live_core import Core
from ebpflb.bench.measure import Effort, Measured, Point, Progress, RefusedError, Series
from ebpflb.bench.rounds import Rounds, interleaved

_FRAMES: Final = {False: (60_000, 400_000), True: (25_000, 200_000)}
"""Of a burst, by quick or not: through the stack, and past it."""
_ROUNDS: Final = (41, 9)
"""Many and short: what disturbs a machine for a while shall meet all contenders."""
_NO_FLOOR: Final = 1.05
"""So much faster than its floor nothing is by chance."""
_NETFILTER: Final = (LEGACY, NFT, NFTABLES)
_IPTABLES: Final = (LEGACY, NFT)


def measure(effort: Effort, progress: Progress) -> Measured:
    """Measure them. Raises ``RefusedError`` when a frame does not arrive, or when no peer is slower than its floor."""
    progress("frames: rigs, rules and two agents")
    with Core() as core, contending(core) as contest:
        rounds = run_bursts(contest.lanes, effort, progress)
    check(rounds)
    return Measured(results_of(rounds), [series_of(rounds)], contest.absent)


def name_of(contender: str, way: Way) -> str:
    """Return the name of a contender's values of one way."""
    return f"{contender} {way.name.lower()}"


def run_bursts(lanes: Lanes, effort: Effort, progress: Progress) -> Rounds:
    """Let every contender send a burst along each of its ways in every round."""
    through_stack, past_it = _FRAMES[effort.is_quick]
    turns: dict[str, Callable[[], float]] = {}
    for (contender, way), lane in lanes.items():
        frames = past_it if way is not Way.STACK and contender not in (*_NETFILTER, FORWARDING) else through_stack
        turns[name_of(contender, way)] = _turn(lane.burst, frames)
    count = effort.rounds(*_ROUNDS)
    return interleaved(turns, count, on_round=lambda number: progress(f"frames: round {number} of {count}"))


def _turn(burst: Callable[[int], float], frames: int) -> Callable[[], float]:
    return lambda: burst(frames)


def check(rounds: Rounds) -> None:
    """Refuse values that cannot be: netfilter no slower than forwarding without it, a floor that is none."""
    for mode in present(rounds, *_NETFILTER):
        for way in Way:
            if rounds.ratio(name_of(mode, way), name_of(FORWARDING, way)) < 1:
                raise RefusedError(
                    f"frames: {mode} forwards faster than a kernel without rules ({way.words})",
                    remedy="measure on a machine that does less beside it",
                )
    swap = name_of(SWAP, Way.REMOTE)
    if rounds.ratio(name_of(DROP, Way.REMOTE), swap) > 1:
        raise RefusedError(
            "frames: to drop a frame takes longer than to send it back",
            remedy="measure on a machine that does less beside it",
        )
    if rounds.ratio(swap, name_of(ours(FEW), Way.REMOTE)) > _NO_FLOOR:
        raise RefusedError(
            "frames: a load balancer is faster than a program that does less: the floor is none",
            remedy="measure on a machine that does less beside it",
        )


def present(rounds: Rounds, *contenders: str) -> list[str]:
    """Return those of the contenders that this machine has."""
    return [each for each in contenders if name_of(each, Way.STACK) in rounds.values]


def results_of(rounds: Rounds) -> list[Result]:
    """Return the figures."""
    mine = ours(FEW)
    remote, swap = name_of(mine, Way.REMOTE), name_of(SWAP, Way.REMOTE)
    p6 = judge(
        "P6",
        rounds.ratio(swap, remote),
        floor=rounds.median(swap),
        peer=rounds.median(swap),
        spread=rounds.spread(swap, remote),
        detail=_nanoseconds(rounds, [(mine, Way.REMOTE), (SWAP, Way.REMOTE), (DROP, Way.REMOTE)]),
    )
    return [p6, _against_iptables("P7", rounds, [Way.STACK]), _against_iptables("P8", rounds, _PAST), _growth(rounds)]


_PAST: Final = [Way.LOCAL, Way.REMOTE]


def _against_iptables(figure: str, rounds: Rounds, ways: list[Way]) -> Result:
    """Return the figure of the way on which it is the worst, against the faster of iptables' back ends there."""
    mine, iptables = ours(FEW), present(rounds, *_IPTABLES)
    if not iptables:
        return unmeasured(figure, "no iptables to compare with: neither back end works here")
    peers = {way: min((name_of(mode, way) for mode in iptables), key=rounds.median) for way in ways}
    ratios = {way: rounds.ratio(peers[way], name_of(mine, way)) for way in ways}
    worst = min(ways, key=lambda way: ratios[way])
    contenders = (mine, *present(rounds, *_NETFILTER), FORWARDING)
    detail = dict(_nanoseconds(rounds, [(contender, way) for way in ways for contender in contenders]))
    detail |= {f"{way.name.lower()}_ratio": ratio for way, ratio in ratios.items()}
    return judge(
        figure,
        ratios[worst],
        floor=rounds.median(name_of(FORWARDING, worst)) if figure == "P7" else rounds.median(name_of(SWAP, Way.REMOTE)),
        peer=rounds.median(peers[worst]),
        spread=rounds.spread(peers[worst], name_of(mine, worst)),
        detail=detail,
        note=f"{worst.words}; against {peers[worst].split()[0]}, the faster of iptables' back ends there",
    )


def _growth(rounds: Rounds) -> Result:
    few, many = ours(FEW), ours(MANY)
    ratios = {way: rounds.ratio(name_of(many, way), name_of(few, way)) for way in Way}
    worst = max(Way, key=lambda way: ratios[way])
    detail = dict(_nanoseconds(rounds, [(mine, way) for way in Way for mine in (few, many)]))
    detail |= {f"{way.name.lower()}_ratio": ratio for way, ratio in ratios.items()}
    return judge(
        "P9c",
        ratios[worst],
        peer=rounds.median(name_of(few, worst)),
        spread=rounds.spread(name_of(many, worst), name_of(few, worst)),
        detail=detail,
        note=f"worst {worst.words}",
    )


def _nanoseconds(rounds: Rounds, which: list[tuple[str, Way]]) -> Mapping[str, float]:
    names = [name_of(contender, way) for contender, way in which]
    return {f"{name.replace('-', '_').replace(' ', '_')}_ns": rounds.median(name) for name in names}


def series_of(rounds: Rounds) -> Series:
    """Return packets a second of one core, by mode and way."""
    modes = [FORWARDING, *_NETFILTER, ours(FEW), ours(MANY), SWAP, DROP]
    points = {
        way.name.lower(): [
            Point(place, 1000 / rounds.median(name_of(mode, way)))
            for place, mode in enumerate(modes)
            if name_of(mode, way) in rounds.values
        ]
        for way in Way
    }
    return Series(
        "packets_per_second",
        "Frames that one core makes, forwards and counts, of established UDP flows",
        "mode",
        "million packets a second",
        points,
        labels=modes,
    )
