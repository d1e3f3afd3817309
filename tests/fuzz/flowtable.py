"""The two flow tables: where a flow is found, how it is confirmed, noted and ended (ADR 0004, ADR 0016).

A flow begins in ``pending`` and moves to ``flows`` when its sender goes on after an answer. What it leaves in
``pending`` is marked as moved, and counts for nothing.
"""

from dataclasses import replace
from typing import NamedTuple

from ebpflb.core.abi import Counter, FlowFlag, FlowSeen, Protocol
from tests.fuzz.decision import Work
from tests.fuzz.headers import Kind
from tests.fuzz.rows import Flow, FlowKey, reverse

REPLY, AT_EGRESS, FORWARD = int(FlowFlag.REPLY), int(FlowFlag.AT_EGRESS), int(FlowFlag.FORWARD)
HAIRPIN, SNAT, DSR = int(FlowFlag.HAIRPIN), int(FlowFlag.SNAT), int(FlowFlag.DSR)
"""Plain numbers: this runs a million times, and arithmetic on enums is slow."""
MOVED = int(FlowSeen.MOVED)
REFUSED = int(FlowSeen.RST)
ENDED = int(FlowSeen.FIN | FlowSeen.RST)


class Found(NamedTuple):
    """A flow's entry and the table that it is in."""

    table: str
    flow: Flow


def find(work: Work, key: FlowKey) -> Found | None:
    """Return the entry with this key."""
    flow = work.flow("flows", key)
    if flow is not None:
        return Found("flows", flow)
    flow = work.flow("pending", key)
    if flow is None or flow.seen & MOVED or not is_whole(work, key, flow):
        return None
    return Found("pending", flow)


def is_whole(work: Work, key: FlowKey, flow: Flow) -> bool:
    """A request in ``pending`` is believed only while its reply has an entry there (ADR 0016)."""
    if flow.flags & REPLY or not has_partner(flow):
        return True
    other = work.flow("pending", partner_key(key, flow))
    return other is not None and other.to == reverse(key[:-1])


def partner_key(key: FlowKey, flow: Flow) -> FlowKey:
    """Return the key of the other direction's entry."""
    return reverse(flow.to) + key[-1:]


def partner_of(key: FlowKey, flow: Flow) -> Flow:
    """Return the other direction's entry; it has seen nothing yet."""
    return Flow(
        reverse(key[:-1]),
        flow.backend_id,
        flow.generation,
        flow.service_id,
        flow.partner_flags,
        0,
        flow.flags,
    )


def has_partner(flow: Flow) -> bool:
    """Replies under DSR pass by: the node that the client dialled has the request's entry alone."""
    return not flow.flags & DSR or bool(flow.flags & REPLY)


def note(work: Work, found: Found) -> None:
    """Have the entry remember the packet; an ICMP error is none of its packets."""
    packet, key = work.packet, work.packet.key
    if packet.kind is Kind.ICMP_ERROR:
        return
    if found.table == "pending" and not packet.opens and not packet.resets:
        if found.flow.flags & REPLY:
            _first_reply(work, found)
        elif _confirm(work, found):
            return
    if packet.seen & ~found.flow.seen:
        work.changes[found.table, key] = replace(found.flow, seen=found.flow.seen | packet.seen)


def _first_reply(work: Work, found: Found) -> None:
    """A first reply makes sure that the request's entry is still there."""
    key = partner_key(work.packet.key, found.flow)
    if not found.flow.seen and work.flow("pending", key) is None:
        work.changes["pending", key] = partner_of(work.packet.key, found.flow)


def _confirm(work: Work, found: Found) -> bool:
    """The sender goes on after an answer that is no refusal: the flow moves, unless somebody has its keys already."""
    key, flow, seen = work.packet.key, found.flow, work.packet.seen
    if not has_partner(flow) and not flow.seen:  # it may be the packet that XDP made the flow for
        return False
    if has_partner(flow):
        other_key = partner_key(key, flow)
        other = work.flow("pending", other_key)
        if other is None or not other.seen or work.flow("flows", other_key) is not None:
            return False
        if (flow.seen | other.seen) & REFUSED:
            return False
        work.changes["flows", other_key] = replace(partner_of(key, flow), seen=other.seen)
        work.changes["pending", other_key] = replace(other, seen=other.seen | MOVED)
    work.changes["flows", key] = replace(flow, seen=flow.seen | seen)
    work.changes["pending", key] = replace(flow, seen=flow.seen | MOVED)
    work.counts.append(Counter.FLOW_CONFIRMED)
    return True


def end(work: Work, flow: Flow) -> None:
    """End a pair whose client reused its port or whose backend is gone; a partner that is not its own stays.

    A port of this node rests: its entry stays, closed, so that no other client gets it (TIME_WAIT).
    """
    key = work.packet.key
    other_key = partner_key(key, flow)
    other = find(work, other_key)
    if other is not None and other.flow.to == reverse(key[:-1]):
        if flow.flags & SNAT and key[-1] == Protocol.TCP:
            work.changes[other.table, other_key] = replace(other.flow, seen=other.flow.seen | ENDED)
        else:
            _delete(work, other_key)
    _delete(work, key)
    work.counts.append(Counter.FLOW_RESELECTED)


def _delete(work: Work, key: FlowKey) -> None:
    for table in ("flows", "pending"):
        if work.flow(table, key) is not None:
            work.changes[table, key] = None


def is_free(work: Work, key: FlowKey) -> bool:
    """Say whether a new entry may have this key."""
    if work.flow("flows", key) is not None:
        return False
    pending = work.flow("pending", key)
    return pending is None or bool(pending.seen & MOVED)
