"""P2: what connect() of a UDP socket costs through the socket hooks, above an empty program, in hash look-ups.

Decides which numbers become the figure. All contenders sit in the same pod, each in a cgroup of its own, and end up
connected to the same backends.

    Stand of ours + ConnectPrograms --interleaved: ours, empty, look-ups, no hook--> P2

One socket connects to one Service again and again. What a new socket pays, to ten Services in turn, is told beside it:
it has to find a source port as well, and nothing that is kept of it is in a cache yet.
"""

import os
from collections.abc import Mapping
from functools import partial
from statistics import median
from typing import Final

from ebpflb.bench.connect_programs import EMPTY, HASH, LOOK_UPS, ConnectPrograms
from ebpflb.bench.figures import Result, judge
from ebpflb.bench.generator.driver import Loader
from ebpflb.bench.measure import Effort, Measured, Progress, RefusedError
from ebpflb.bench.modes import KINDS, SOCKET
from ebpflb.bench.rig import Rig
from ebpflb.bench.rounds import Rounds, half_spread, interleaved
from ebpflb.core.abi import Protocol

OURS: Final = "ours"
BARE: Final = "bare"
SAME_SOCKET: Final = "udp"
NEW_SOCKET: Final = "udpfresh"
"""Commands of the load generator."""
_SERVICES: Final = 10_000
_QUICK_SERVICES: Final = 1_000
_CONNECTS: Final = 5_000


def measure(effort: Effort, progress: Progress) -> Measured:
    """Measure P2."""
    services = _QUICK_SERVICES if effort.is_quick else _SERVICES
    with Rig() as rig, ConnectPrograms(f"bench-connect-{os.getpid()}") as programs:
        progress("namespaces and the agent")
        stand = rig.stand(KINDS[SOCKET], protocol=Protocol.UDP)
        stand.load(services)
        loaders = {OURS: stand.client, BARE: stand.client_outside("untouched")[0]}
        for name in (EMPTY, HASH):
            loaders[name], cgroup = stand.client_outside(name)
            programs.attach(name, cgroup)
        rounds = {NEW_SOCKET: _rounds(loaders, NEW_SOCKET, effort, progress)}
        stand.dial(1)
        rounds[SAME_SOCKET] = _rounds(loaders, SAME_SOCKET, effort, progress)
    return Measured([result(rounds)])


def _rounds(loaders: Mapping[str, Loader], command: str, effort: Effort, progress: Progress) -> Rounds:
    count = effort.rounds(whole=41, quick=15)
    contenders = {name: partial(_connect, loader, command) for name, loader in loaders.items()}
    words = "one socket" if command == SAME_SOCKET else "new sockets"
    return interleaved(
        contenders, count, warm_up=2, on_round=lambda number: progress(f"{words}, round {number} of {count}")
    )


def _connect(loader: Loader, command: str) -> float:
    return float(loader.run(command, _CONNECTS).median)


def result(rounds: Mapping[str, Rounds]) -> Result:
    """Return the figure. Raises ``RefusedError`` where look-ups do not show above an empty program."""
    detail: dict[str, float] = {}
    found: dict[str, tuple[float, float]] = {}
    for command, words in ((SAME_SOCKET, "same_socket"), (NEW_SOCKET, "new_socket")):
        one = rounds[command]
        unit = median(_above_empty(one, HASH)) / LOOK_UPS
        if unit <= 0:
            raise RefusedError(
                f"bench: a connect() with {LOOK_UPS} look-ups took no longer ({one.median(HASH):.0f} ns) than one"
                f" without ({one.median(EMPTY):.0f} ns)",
                remedy="run it again on a quieter machine",
            )
        above = [difference / unit for difference in _above_empty(one, OURS)]
        found[words] = median(above), half_spread(above)
        detail[f"{words}_hash_look_ups"] = found[words][0]
        detail[f"{words}_one_look_up_ns"] = unit
        detail |= {f"{words}_{name.removeprefix('connect_')}_ns": one.median(name) for name in one.values}
    value, spread = found["same_socket"]
    return judge(
        "P2",
        value,
        floor=detail["same_socket_empty_ns"],
        spread=spread,
        detail=detail,
        note=f"one socket; a new socket each time: {found['new_socket'][0]:.1f}",
    )


def _above_empty(rounds: Rounds, name: str) -> list[float]:
    """Return what a contender took longer than the empty program, round by round: in nanoseconds."""
    return [mine - empty for mine, empty in zip(rounds.values[name], rounds.values[EMPTY], strict=True)]
