"""What state a flow is in, and whether it is over. Pure and by columns: 500,000 entries are a few array operations.

Two entries make a flow; each names the other by what its packets become. They live and die together, by the later of
their two stamps. Jiffies have 32 bits and wrap: only signed differences are compared. Both flow maps are judged alike,
each by itself: partners are in the same map.

    flow entries + now + Serving --judge--> for each entry: state, partner, over or not

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
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ebpflb.core.abi import FlowFlag, FlowSeen, Protocol
from ebpflb.datapath.arrays import Rows, as_text, places
from ebpflb.datapath.serving import Dialled, Mask, Serving

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


class Judgement(NamedTuple):
    """Columns parallel to the entries that were judged."""

    state: npt.NDArray[np.uint8]
    """``FlowState``."""
    partner: Positions
    """Position of the other entry of the flow; -1: it is missing."""
    is_idle: Mask
    """The flow's timeout has passed."""
    is_orphaned: Mask
    """Entries of UDP whose backend is gone or has left its service port: a new flow would find another one."""
    is_reply: Mask
    """Entries that translate what the backend says."""

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
    is_reply = (values["flags"] & FlowFlag.REPLY) != 0
    orphaned = serving.are_orphaned(_dialled(keys, values, is_reply), values) & (state != FlowState.MOVED)
    return Judgement(state, partner, age >= limits, orphaned, is_reply)


def _dialled(keys: Rows, values: Rows, is_reply: Mask) -> Dialled:
    """Return the frontends: where requests go, and where replies seem to come from."""
    address, port = keys["daddr"].copy(), keys["dport"].copy()
    address[is_reply], port[is_reply] = values["to_saddr"][is_reply], values["to_sport"][is_reply]
    return Dialled(address, port, keys["protocol"])


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
    have = as_text(keys)
    order = np.argsort(have)
    place, known = places(have[order], as_text(reverse))
    found = np.where(known, order[place], -1)
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
