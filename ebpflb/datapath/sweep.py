"""Removes flows that are over from both flow maps: ``flows``, the confirmed, and ``pending``, the others.

Decides how a sweep meets a table that programs go on writing: an entry is removed only if it is still what was
judged, and a flow that timed out always whole. ``expiry.py`` decides what is over. Knows nothing of sockets.

    flows, pending + Serving --read--> judge --> look again --> delete --> SweepResult

Each map is swept by itself, since partners are in the same one. The tables that say who serves are read after both:
members are put before a frontend leads to them and removed after none does, so whoever was chosen before is a member
still, or has left. The maps of fragments need no sweep (ADR 0012).

A UDP flow whose backend serves it no more ends in two steps. Its request's entry goes at once: the next datagram
chooses anew. Its reply's entry lingers, for an answer that is under way, and then goes whatever comes: a backend that
streams must not keep it. Two things can bring the request's entry back meanwhile: a first answer to a flow in
``pending`` makes it again, and a second datagram then confirms the flow into ``flows``. Nothing does so from ``flows``,
so each look takes one of these ways back, and there are no more than three: hence the looks go on until one sees no
orphan (``SweepResult.orphans``).
"""

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple
from typing import Protocol as Interface

import numpy as np
import numpy.typing as npt

from ebpflb.datapath.arrays import Rows, as_text, places
from ebpflb.datapath.changes import ChangeCount, Writer
from ebpflb.datapath.expiry import FlowState, Judgement, Positions, Timeouts, judge
from ebpflb.datapath.maps import BpfMap
from ebpflb.datapath.serving import Mask, Serving, read_serving

LINGER_S = 1
"""How long the reply's entry of a UDP flow outlives the service of its backend: the answer that was under way."""
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
    """What one sweep saw and did. Flows, not entries, but for ``entries`` and ``orphans``."""

    entries: Mapping[str, int]
    """Found in each map, by its name: its fill level."""
    removed: Mapping[str, int]
    """By reason: the state in which a flow timed out, or ``backend-gone``, once its request's entry is."""
    flows: Mapping[FlowState, int]
    """What stays, by state. ``MOVED`` are no flows of their own: their flow is counted where it moved to."""
    orphans: int = 0
    """Entries of UDP flows that their backends serve no more, removed or not: sweep again, in ``LINGER_S``."""


class FlowMaps(NamedTuple):
    """The maps of one family that a sweep needs."""

    flows: BpfMap
    pending: BpfMap
    backends: BpfMap
    members: BpfMap
    frontends: BpfMap
    changes: BpfMap


class FlowSweeper:
    """Sweeps one family's flow maps."""

    def __init__(self, maps: FlowMaps, clock: Clock, timeouts: Timeouts | None = None) -> None:
        self._maps = maps
        self._clock = clock
        self._timeouts = timeouts or Timeouts()
        self._tables = {"flows": maps.flows, "pending": maps.pending}
        self._swept = ChangeCount(maps.changes, Writer.SWEEP)
        self._lingering = {name: Lingering() for name in self._tables}

    def sweep(self) -> SweepResult:
        """Remove every flow that is over."""
        now = self._clock.now_jiffies()
        rows = {name: table.read() for name, table in self._tables.items()}
        removed: Counter[str] = Counter()
        flows = Counter(dict.fromkeys(FlowState, 0))
        orphans = 0
        if any(len(keys) for keys, _values in rows.values()):  # what serves takes longest to read
            serving = read_serving(self._maps.backends, self._maps.members, self._maps.frontends)
            for name, (keys, values) in rows.items():
                judgement = self._judge(keys, values, serving, now)
                gone = _remove_idle(self._tables[name], keys, values, judgement)
                removed.update(_timed_out(judgement, gone))
                removed[BACKEND_GONE] += self._remove_orphans(name, keys, values, judgement, now)
                orphans += int(judgement.is_orphaned.sum())
                flows.update(_states(judgement, judgement.leads & ~gone & ~judgement.is_orphaned))
        return SweepResult({name: len(keys) for name, (keys, _values) in rows.items()}, +removed, flows, orphans)

    def _judge(self, keys: Rows, values: Rows, serving: Serving, now: int) -> Judgement:
        return judge(keys, values, serving, now_jiffies=now, hz=self._clock.hz, timeouts=self._timeouts)

    def _remove_orphans(self, name: str, keys: Rows, values: Rows, judgement: Judgement, now: int) -> int:
        """Remove orphaned requests, and replies that have lingered; return how many flows ended."""
        replies = np.flatnonzero(judgement.is_orphaned & judgement.is_reply)
        lingered = self._lingering[name].ages(keys[replies], now) >= LINGER_S * self._clock.hz
        requests = np.flatnonzero(judgement.is_orphaned & ~judgement.is_reply)
        ended = 0
        for which in (requests, replies[lingered]):
            for start in range(0, len(which), _CHUNK):
                chunk = which[start : start + _CHUNK]
                # Traffic keeps no such flow alive.
                same = chunk[_is_same(self._tables[name], keys[chunk], values[chunk], _OWNERS)]
                self._tables[name].delete(keys[same])
                self._swept.note()  # programs may keep in mind what they did with the flow a moment ago
                ended += int((~judgement.is_reply[same]).sum())
        return ended


class Lingering:
    """Since when each orphaned reply entry of a map has been seen as one."""

    def __init__(self) -> None:
        self._keys: npt.NDArray[np.bytes_] = np.empty(0, "S1")
        self._since = np.empty(0, np.uint32)

    def ages(self, keys: Rows, now_jiffies: int) -> npt.NDArray[np.int32]:
        """Return the jiffies since each was first passed here, call after call; whoever was not is forgotten."""
        texts = as_text(keys)
        place, known = places(self._keys, texts)
        since = np.full(len(keys), now_jiffies, np.uint32)
        since[known] = self._since[place[known]]
        order = np.argsort(texts)
        self._keys, self._since = texts[order], since[order]
        return (np.uint32(now_jiffies) - since).astype(np.int32)


_OWNERS = ("backend_id", "generation", "service_id")


def _remove_idle(table: BpfMap, keys: Rows, values: Rows, judgement: Judgement) -> Mask:
    """Remove the flows that have timed out and are still what was judged; return which entries led them."""
    over = np.flatnonzero(judgement.is_idle & ~judgement.is_orphaned & judgement.leads)
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
    columns = ("last_seen", *_OWNERS)
    same = _is_same(table, keys[flows], values[flows], columns)
    paired = partner >= 0
    same[paired] &= _is_same(table, keys[partner[paired]], values[partner[paired]], columns)
    return flows[same]


def _is_same(table: BpfMap, keys: Rows, values: Rows, columns: tuple[str, ...]) -> Mask:
    same, current = table.lookup_rows(keys)
    for column in columns:
        same &= current[column] == values[column]
    return same


def _timed_out(judgement: Judgement, removed: Mask) -> Counter[str]:
    return Counter({state.words: count for state, count in _states(judgement, removed).items()})


def _states(judgement: Judgement, which: Mask) -> Counter[FlowState]:
    return Counter({state: int((which & (judgement.state == state)).sum()) for state in FlowState})
