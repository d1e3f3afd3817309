"""P2: what connect() of a UDP socket costs through the socket hooks, above an empty program, in hash look-ups.

Decides which numbers become the figure. All contenders sit in the same pod, each in a cgroup of its own, and end up
connected to the same backends.

    Stand of ours + ConnectPrograms --interleaved: ours, empty, one look-up, no hook--> P2

Measured twice: one socket that connects again and again, and a new socket each time, for which connect() also has to
find a source port. The figure is the worse of the two.
"""

import os
from collections.abc import Mapping
from functools import partial
from typing import Final

from ebpflb.bench.connect_programs import EMPTY, HASH, ConnectPrograms
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
        rounds = {command: _rounds(loaders, command, effort, progress) for command in (SAME_SOCKET, NEW_SOCKET)}
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
    """Return the figure. Raises ``RefusedError`` where a program's look-up does not show above an empty one."""
    detail: dict[str, float] = {}
    found: dict[str, tuple[float, float]] = {}
    for command, words in ((SAME_SOCKET, "same_socket"), (NEW_SOCKET, "new_socket")):
        one = rounds[command]
        unit = one.median(HASH) - one.median(EMPTY)
        if unit <= 0:
            raise RefusedError(
                f"bench: a connect() with one look-up took no longer ({one.median(HASH):.0f} ns) than one without"
                f" ({one.median(EMPTY):.0f} ns)",
                remedy="run it again on a quieter machine",
            )
        above = [(ours - empty) / unit for ours, empty in zip(one.values[OURS], one.values[EMPTY], strict=True)]
        found[words] = (one.median(OURS) - one.median(EMPTY)) / unit, half_spread(above)
        detail[f"{words}_hash_look_ups"] = found[words][0]
        detail |= {f"{words}_{name.removeprefix('connect_')}_ns": one.median(name) for name in one.values}
        detail[f"{words}_one_look_up_ns"] = unit
    worse = max(found, key=lambda words: found[words][0])
    value, spread = found[worse]
    return judge(
        "P2",
        value,
        floor=detail[f"{worse}_empty_ns"],
        peer=11.0,
        spread=spread,
        detail=detail,
        note=f"{worse.replace('_', ' ')}; peer: a simple sample, in look-ups, by its authors' machine",
    )
