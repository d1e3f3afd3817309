"""Removes flows that are over, and finds UDP sockets whose backend is gone or has left their Service.

Decides how a sweep meets a table that programs go on writing: an entry is removed only if it is still what was
judged, and always with its partner. ``expiry.py`` decides what is over. Destroys no socket itself.

    flows + backends, members --read--> judge --> look again --> delete --> SweepResult
    sock_origins + backends, members --stale_sockets--> StaleSockets --> (host/sockets.py destroys)

The table that names backends is read first: members are put before a frontend leads to them and removed after none
does, so whoever was chosen before is a member still, or has left.
"""

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple
from typing import Protocol as Interface

import numpy as np

from ebpflb.core.abi import Protocol
from ebpflb.datapath.codec import addresses_of
from ebpflb.datapath.expiry import Backends, FlowState, Judgement, Mask, Members, Positions, Serving, Timeouts, judge
from ebpflb.datapath.maps import BpfMap, Rows

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
    """What one sweep saw and did. Flows, not entries, but for ``examined``."""

    examined: int
    """Entries of the table: its fill level."""
    removed: Mapping[str, int]
    """By reason: the state in which a flow timed out, or ``backend-gone``."""
    flows: Mapping[FlowState, int]
    """What stays, by state."""


class StaleSocket(NamedTuple):
    """A UDP socket whose backend is gone or has left its Service."""

    cookie: int
    address: bytes
    """Of the backend: what the kernel believes to be the peer."""
    port: int
    protocol: Protocol


class StaleSockets(NamedTuple):
    """Stale sockets, and their entries of ``sock_origins``: delete these once the sockets are destroyed."""

    sockets: list[StaleSocket]
    keys: Rows


class FlowSweeper:
    """Sweeps one family's flow table."""

    def __init__(
        self, flows: BpfMap, backends: BpfMap, members: BpfMap, clock: Clock, timeouts: Timeouts | None = None
    ) -> None:
        self._flows = flows
        self._backends = backends
        self._members = members
        self._clock = clock
        self._timeouts = timeouts or Timeouts()

    def sweep(self) -> SweepResult:
        """Remove every flow that is over."""
        now = self._clock.now_jiffies()
        keys, values = self._flows.read()
        judgement = judge(
            keys,
            values,
            read_serving(self._backends, self._members),
            now_jiffies=now,
            hz=self._clock.hz,
            timeouts=self._timeouts,
        )
        over = np.flatnonzero(judgement.is_over & judgement.leads)
        removed = np.zeros(len(keys), np.bool_)
        for start in range(0, len(over), _CHUNK):
            flows = self._unchanged(keys, values, judgement, over[start : start + _CHUNK])
            others = judgement.partner[flows]
            self._flows.delete(keys[np.concatenate([flows, others[others >= 0]])])
            removed[flows] = True
        return _result(judgement, removed)

    def _unchanged(self, keys: Rows, values: Rows, judgement: Judgement, flows: Positions) -> Positions:
        """Return the flows of which both entries are still what was judged: a client may have reused its port."""
        partner = judgement.partner[flows]
        orphaned = judgement.is_orphaned[flows]
        same = self._is_same(keys[flows], values[flows], orphaned)
        paired = partner >= 0
        same[paired] &= self._is_same(keys[partner[paired]], values[partner[paired]], orphaned[paired])
        return flows[same]

    def _is_same(self, keys: Rows, values: Rows, orphaned: Mask) -> Mask:
        found, current = self._flows.lookup_rows(keys)
        # Traffic keeps no flow alive whose backend is gone.
        same: Mask = found & (orphaned | (current["last_seen"] == values["last_seen"]))
        for column in ("backend_id", "generation", "service_id"):
            same &= current[column] == values[column]
        return same


def read_serving(backends: BpfMap, members: BpfMap) -> Serving:
    """Read what tells whether a backend is still the same, and still serves a service port."""
    _ids, values = backends.read()
    keys, _sets = members.read()
    return Serving(Backends(values["state"], values["generation"]), Members.of(keys))


def stale_sockets(keys: Rows, values: Rows, serving: Serving) -> StaleSockets:
    """Return the UDP sockets of ``sock_origins`` whose backend serves them no more.

    TCP notices by itself, and may still drain.
    """
    stale = keys[serving.are_orphaned(keys, values)]
    columns = (stale["cookie"].tolist(), addresses_of(stale["address"]), stale["port"].tolist())
    return StaleSockets([StaleSocket(*row, Protocol.UDP) for row in zip(*columns, strict=True)], stale)


def _result(judgement: Judgement, removed: Mask) -> SweepResult:
    kept = judgement.leads & ~removed
    reasons = Counter({BACKEND_GONE: int((removed & judgement.is_orphaned).sum())})
    for state in FlowState:
        reasons[state.words] = int((removed & ~judgement.is_orphaned & (judgement.state == state)).sum())
    flows = {state: int((kept & (judgement.state == state)).sum()) for state in FlowState}
    return SweepResult(len(judgement.state), +reasons, flows)
