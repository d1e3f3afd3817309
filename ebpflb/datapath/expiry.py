"""What state a flow is in, and whether it is over. Pure and by columns: 500,000 entries are a few array operations.

Two entries make a flow; each names the other by what its packets become. They live and die together, by the later of
their two stamps. Jiffies have 32 bits and wrap: only signed differences are compared. Both flow maps are judged alike,
each by itself: partners are in the same map.

    flow entries + now + backends, members --judge--> for each entry: state, partner, over or not

Some entries have no partner. A DSR request has none by design, and stands for both directions: replies do not pass
here. A reply entry of a masqueraded flow is left alone when the client reuses its port: it keeps *our* port from being
given to another flow while the backend is in TIME_WAIT (ADR 0012), and is judged by what it has seen itself.

Timeouts, with what Linux' conntrack does where kube-proxy runs on it:

* unconfirmed, 60 s: no packet but SYNs from one of the two sides (SYN_SENT 120 s, SYN_RECV 60 s). A SYN-ACK does not
  confirm a flow: a flood with forged sources draws those too, and must not hold entries for a day.
* established, 24 h: kube-proxy's ``conntrack.tcpEstablishedTimeout``.
* half-closed, 1 h: kube-proxy's ``conntrack.tcpCloseWaitTimeout``.
* closed by both sides, 60 s: as long as Linux hosts stay in TIME_WAIT, so that a source port of ours is not given to
  another client while the backend still remembers the last one (conntrack: 120 s).
* reset, 10 s: conntrack's CLOSE. If we chose the source, 60 s, as above: an RST may be forged, or cross a FIN.
* moved, 10 s: what a confirmed flow left in ``pending``. Programs see that mark and look in ``flows``; it is no flow.
* UDP without reply 30 s, with replies 120 s: conntrack's defaults. SCTP counts as UDP here. No port of theirs rests:
  there is no TIME_WAIT that a next flow could meet, and kube-proxy, too, deletes at once.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from ebpflb.core.abi import BackendState, FlowFlag, FlowSeen, Protocol
from ebpflb.datapath.arrays import Rows

Mask = npt.NDArray[np.bool_]
Positions = npt.NDArray[np.intp]
_Bits = npt.NDArray[np.uint8]


class FlowState(IntEnum):
    """The state of a flow, both entries together."""

    UNCONFIRMED = 0
    ESTABLISHED = 1
    HALF_CLOSED = 2
    CLOSED = 3
    RESET = 4
    UNREPLIED = 5
    REPLIED = 6
    MOVED = 7
    """Of entries in ``pending``: the flow is confirmed, and has its own in ``flows``."""

    @property
    def words(self) -> str:
        """For people: ``half-closed``."""
        return self.name.lower().replace("_", "-")


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds without a packet after which a flow of each state is over; the module says why these."""

    unconfirmed: int = 60
    established: int = 86_400
    half_closed: int = 3_600
    closed: int = 60
    reset: int = 10
    unreplied: int = 30
    replied: int = 120
    moved: int = 10

    def of(self, state: FlowState) -> int:
        """Return the timeout of one state."""
        seconds: int = getattr(self, state.name.lower())
        return seconds


class Backends(NamedTuple):
    """Columns of the map ``backends``; the position is the id."""

    state: npt.NDArray[np.uint8]
    generation: npt.NDArray[np.uint32]

    def are_gone(self, backend_id: npt.NDArray[np.uint32], generation: npt.NDArray[np.uint32]) -> Mask:
        """Return, for each reference to a backend, whether it names none or another one by now."""
        beyond = backend_id >= len(self.state)
        known = np.where(beyond, 0, backend_id)
        gone: Mask = beyond | (self.generation[known] != generation) | (self.state[known] == BackendState.NONE)
        return gone


class Members(NamedTuple):
    """Which backends belong to which service ports, each pair as one number; sorted."""

    pairs: npt.NDArray[np.uint64]

    @classmethod
    def of(cls, service_id: npt.NDArray[np.uint32], backend_id: npt.NDArray[np.uint32]) -> Self:
        """Take two columns: of the keys of ``members``, say."""
        return cls(np.sort(_pairs(service_id, backend_id)))

    def have(self, service_id: npt.NDArray[np.uint32], backend_id: npt.NDArray[np.uint32]) -> Mask:
        """Return which backends belong to their service port."""
        wanted = _pairs(service_id, backend_id)
        if not len(self.pairs):
            return np.zeros(len(wanted), np.bool_)
        place = np.minimum(np.searchsorted(self.pairs, wanted), len(self.pairs) - 1)
        found: Mask = self.pairs[place] == wanted
        return found

    def have_lost(self, service_id: npt.NDArray[np.uint32], backend_id: npt.NDArray[np.uint32]) -> Mask:
        """Return, for each backend that a service had, whether it has left that service, and others are there.

        A service port without any member keeps what it has, as with kube-proxy: there is nowhere better to go.
        """
        lost: Mask = ~self.have(service_id, backend_id) & np.isin(service_id, _services(self.pairs))
        return lost


class Serving(NamedTuple):
    """Which backends there are, and which of them serve which service port."""

    backends: Backends
    members: Members

    def are_orphaned(self, keys: Rows, values: Rows) -> Mask:
        """Return which flows or sockets are of UDP, and their backend is gone or has left their service port."""
        orphaned: Mask = keys["protocol"] == Protocol.UDP
        of_udp = values[orphaned]
        gone = self.backends.are_gone(of_udp["backend_id"], of_udp["generation"])
        orphaned[orphaned] = gone | self.members.have_lost(of_udp["service_id"], of_udp["backend_id"])
        return orphaned


class Judgement(NamedTuple):
    """Columns parallel to the entries that were judged."""

    state: npt.NDArray[np.uint8]
    """``FlowState``."""
    partner: Positions
    """Position of the other entry of the flow; -1: it is missing."""
    is_idle: Mask
    """The flow's timeout has passed."""
    is_orphaned: Mask
    """A UDP flow whose backend is gone or has left its service port: a new flow would find another one."""

    @property
    def is_over(self) -> Mask:
        """Either."""
        return self.is_idle | self.is_orphaned

    @property
    def leads(self) -> Mask:
        """One entry for each flow."""
        return (self.partner < 0) | (np.arange(len(self.partner)) < self.partner)


def judge(keys: Rows, values: Rows, serving: Serving, *, now_jiffies: int, hz: int, timeouts: Timeouts) -> Judgement:
    """Judge every flow entry."""
    partner = partners(keys, values)
    paired = partner >= 0
    state = flow_states(keys, values, partner)
    # A stamp may be younger than `now`, which was read before the map: negative ages are fresh, not ancient.
    age = (np.uint32(now_jiffies) - values["last_seen"]).astype(np.int32)
    age = np.where(paired, np.minimum(age, age[partner]), age)
    limits = np.array([timeouts.of(each) * hz for each in FlowState], np.int64)[state]
    limits[(state == FlowState.RESET) & are_masqueraded(values)] = max(timeouts.reset, timeouts.closed) * hz
    orphaned = serving.are_orphaned(keys, values) & (state != FlowState.MOVED)
    return Judgement(state, partner, age >= limits, orphaned)


def are_masqueraded(values: Rows) -> Mask:
    """Return which entries belong to a flow whose source port is ours; each half says so of both."""
    is_reply = (values["flags"] & FlowFlag.REPLY) != 0
    of_request = np.where(is_reply, values["partner_flags"], values["flags"])
    masqueraded: Mask = (of_request & FlowFlag.SNAT) != 0
    return masqueraded


def partners(keys: Rows, values: Rows) -> Positions:
    """Return the position of each entry's partner, or -1: the entry whose key is what this one's replies carry.

    Both must name each other: a port reused since may have given the key to another flow.
    """
    reverse = np.zeros(len(keys), keys.dtype)
    for mine, becomes in (("saddr", "to_daddr"), ("daddr", "to_saddr"), ("sport", "to_dport"), ("dport", "to_sport")):
        reverse[mine] = values[becomes]
    reverse["protocol"] = keys["protocol"]
    have, want = _as_text(keys), _as_text(reverse)
    if not len(have):
        return np.empty(0, np.intp)
    order = np.argsort(have)
    place = np.minimum(np.searchsorted(have, want, sorter=order), len(have) - 1)
    found = order[place]
    found = np.where(have[found] == want, found, -1)
    itself = np.arange(len(keys))
    mutual = (found >= 0) & (found != itself) & (found[found] == itself)
    return np.where(mutual, found, -1)


def flow_states(keys: Rows, values: Rows, partner: Positions) -> npt.NDArray[np.uint8]:
    """Return the ``FlowState`` of each entry's flow. A partner that is missing has seen nothing."""
    own = values["seen"]
    stands_for_both = (values["flags"] & (FlowFlag.DSR | FlowFlag.REPLY)) == FlowFlag.DSR
    other = np.where(partner >= 0, own[partner], np.where(stands_for_both, own, 0)).astype(np.uint8)
    is_reply = (values["flags"] & FlowFlag.REPLY) != 0
    return _states(keys["protocol"] == Protocol.TCP, np.where(is_reply, other, own), np.where(is_reply, own, other))


def _states(is_tcp: Mask, request: _Bits, reply: _Bits) -> npt.NDArray[np.uint8]:
    either, both = request | reply, request & reply
    rules = (
        ((either & FlowSeen.MOVED) != 0, FlowState.MOVED),
        (~is_tcp & ((reply & FlowSeen.DATA) != 0), FlowState.REPLIED),
        (~is_tcp, FlowState.UNREPLIED),
        ((either & FlowSeen.RST) != 0, FlowState.RESET),
        ((both & FlowSeen.FIN) != 0, FlowState.CLOSED),
        ((both & FlowSeen.DATA) == 0, FlowState.UNCONFIRMED),
        ((either & FlowSeen.FIN) != 0, FlowState.HALF_CLOSED),
    )
    conditions = [condition for condition, _state in rules]
    return np.select(conditions, [np.uint8(state) for _condition, state in rules], np.uint8(FlowState.ESTABLISHED))


def _pairs(service_id: npt.NDArray[np.uint32], backend_id: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint64]:
    return service_id.astype(np.uint64) << np.uint64(32) | backend_id


def _services(pairs: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint32]:
    return np.unique((pairs >> np.uint64(32)).astype(np.uint32))


def _as_text(keys: Rows) -> npt.NDArray[np.bytes_]:
    """Return keys as byte strings, which numpy sorts fast. It ignores trailing NULs; at one length no two collide."""
    return np.ascontiguousarray(keys).view(f"S{keys.dtype.itemsize}")
