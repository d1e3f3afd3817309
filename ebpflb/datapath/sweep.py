"""Removes flows that are over from both flow maps: ``flows``, the confirmed, and ``pending``, the others.

Decides how a sweep meets a table that programs go on writing: an entry is removed only if it is still what was
judged, and always with its partner. ``expiry.py`` decides what is over. Knows nothing of sockets.

    flows, pending + backends, members --read--> judge --> look again --> delete --> SweepResult

Each map is swept by itself, since partners are in the same one. The tables that name backends are read after both:
members are put before a frontend leads to them and removed after none does, so whoever was chosen before is a member
still, or has left. The maps of fragments need no sweep (ADR 0012).
"""

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple
from typing import Protocol as Interface

import numpy as np

from ebpflb.datapath.arrays import Rows
from ebpflb.datapath.expiry import FlowState, Judgement, Mask, Positions, Timeouts, judge
from ebpflb.datapath.maps import BpfMap
from ebpflb.datapath.stale import read_serving

_CHUNK = 2_048
"""Flows between looking again and deleting: some milliseconds."""
BACKEND_GONE = "backend-gone"


class Clock(Interface):
    """Where the time of flow entries comes from: ``JiffiesClock``, or a test's."""

    @property
    def hz(self) -> int:
        """Jiffies per second."""

    def now_jiffies(self) -> int:
        """Return the low 32 bits of jiffies."""


class SweepResult(NamedTuple):
    """What one sweep saw and did. Flows, not entries, but for ``entries``."""

    entries: Mapping[str, int]
    """Found in each map, by its name: its fill level."""
    removed: Mapping[str, int]
    """By reason: the state in which a flow timed out, or ``backend-gone``."""
    flows: Mapping[FlowState, int]
    """What stays, by state. ``MOVED`` are no flows of their own: their flow is counted where it moved to."""


class FlowMaps(NamedTuple):
    """The maps of one family that a sweep needs."""

    flows: BpfMap
    pending: BpfMap
    backends: BpfMap
    members: BpfMap


class FlowSweeper:
    """Sweeps one family's flow maps."""

    def __init__(self, maps: FlowMaps, clock: Clock, timeouts: Timeouts | None = None) -> None:
        self._maps = maps
        self._clock = clock
        self._timeouts = timeouts or Timeouts()

    def sweep(self) -> SweepResult:
        """Remove every flow that is over."""
        now = self._clock.now_jiffies()
        tables = {name: getattr(self._maps, name) for name in ("flows", "pending")}
        rows = {name: table.read() for name, table in tables.items()}
        removed: Counter[str] = Counter()
        flows = Counter(dict.fromkeys(FlowState, 0))
        if any(len(keys) for keys, _values in rows.values()):  # what serves takes longest to read
            serving = read_serving(self._maps.backends, self._maps.members)
            for name, (keys, values) in rows.items():
                judgement = judge(keys, values, serving, now_jiffies=now, hz=self._clock.hz, timeouts=self._timeouts)
                gone = _remove(tables[name], keys, values, judgement)
                removed.update(_reasons(judgement, gone))
                flows.update(_states(judgement, judgement.leads & ~gone))
        return SweepResult({name: len(keys) for name, (keys, _values) in rows.items()}, removed, flows)


def _remove(table: BpfMap, keys: Rows, values: Rows, judgement: Judgement) -> Mask:
    """Remove the flows that are over and still what was judged; return which entries lead the removed ones."""
    over = np.flatnonzero(judgement.is_over & judgement.leads)
    removed = np.zeros(len(keys), np.bool_)
    for start in range(0, len(over), _CHUNK):
        flows = _unchanged(table, keys, values, judgement, over[start : start + _CHUNK])
        others = judgement.partner[flows]
        table.delete(keys[np.concatenate([flows, others[others >= 0]])])
        removed[flows] = True
    return removed


def _unchanged(table: BpfMap, keys: Rows, values: Rows, judgement: Judgement, flows: Positions) -> Positions:
    """Return the flows of which both entries are still what was judged: a client may have reused its port."""
    partner = judgement.partner[flows]
    orphaned = judgement.is_orphaned[flows]
    same = _is_same(table, keys[flows], values[flows], orphaned)
    paired = partner >= 0
    same[paired] &= _is_same(table, keys[partner[paired]], values[partner[paired]], orphaned[paired])
    return flows[same]


def _is_same(table: BpfMap, keys: Rows, values: Rows, orphaned: Mask) -> Mask:
    found, current = table.lookup_rows(keys)
    # Traffic keeps no flow alive whose backend is gone.
    same: Mask = found & (orphaned | (current["last_seen"] == values["last_seen"]))
    for column in ("backend_id", "generation", "service_id"):
        same &= current[column] == values[column]
    return same


def _reasons(judgement: Judgement, removed: Mask) -> Counter[str]:
    reasons = Counter({BACKEND_GONE: int((removed & judgement.is_orphaned).sum())})
    timed_out = _states(judgement, removed & ~judgement.is_orphaned)
    reasons.update({state.words: count for state, count in timed_out.items()})
    return +reasons


def _states(judgement: Judgement, which: Mask) -> Counter[FlowState]:
    return Counter({state: int((which & (judgement.state == state)).sum()) for state in FlowState})
