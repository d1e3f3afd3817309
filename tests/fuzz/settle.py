"""The last step of a decision: what can't be changed or answered is dropped; and everything is counted.

Decision --settle--> Decision, counts
"""

from ebpflb.core.abi import Counter, Family
from tests.fuzz.answers import FAILURES, is_answered
from tests.fuzz.decision import ANSWERS, Act, Decision, Work
from tests.fuzz.flowtable import AT_EGRESS, DSR, REPLY
from tests.fuzz.headers import Kind
from tests.fuzz.render import can_rewrite
from tests.fuzz.rows import Flow, Hook

_COUNTERS = {
    Act.FORWARD: Counter.FORWARDED,
    Act.HAIRPIN: Counter.HAIRPINNED,
    Act.REJECT: Counter.REJECTED,
    Act.TOO_BIG: Counter.TOO_BIG_ANSWERED,
    Act.EXPIRED: Counter.TTL_ANSWERED,
    Act.ECHO_ANSWER: Counter.ECHO_ANSWERED,
}
_RESTORED = REPLY | AT_EGRESS


def settle(decision: Decision, hook: Hook, family: Family) -> list[Counter]:
    """Turn a decision that cannot be carried out into a drop, or leave it to tc; return all that is counted."""
    if hook is Hook.XDP_IN:
        return _settle_xdp(decision)
    work = decision.work
    if work is None:
        return [Counter.PASSED]
    counts, act, flow = work.counts, decision.act, decision.flow
    if act is Act.PASS:
        return [*counts, Counter.PASSED]
    if act is not Act.DROP:
        _carry_out(decision, work, family)
    if decision.act is Act.DROP:
        assert decision.reason is not None
        return [*counts, decision.reason]
    if work.packet.kind is Kind.ICMP_ERROR:
        counts.append(Counter.ICMP_TRANSLATED)
    if flow is not None and act is Act.DELIVER:
        is_restored = flow.flags & _RESTORED == _RESTORED
        return [*counts, Counter.REPLY_RESTORED if is_restored else Counter.DELIVERED]
    return [*counts, _COUNTERS[act]]


def _carry_out(decision: Decision, work: Work, family: Family) -> None:
    act, flow = decision.act, decision.flow
    if work.packet.outer_daddr:
        work.counts.append(Counter.DECAPSULATED)
    if act in ANSWERS and not is_answered(work.packet, act, family):
        decision.act, decision.reason = Act.DROP, FAILURES[act]
    elif flow is not None and act is Act.FORWARD and _is_wrapped(flow):
        work.counts.append(Counter.ENCAPSULATED)
    elif flow is not None and not can_rewrite(work, flow):
        decision.act, decision.reason = Act.DROP, Counter.DROP_REWRITE


def _is_wrapped(flow: Flow) -> bool:
    return bool(flow.flags & DSR and not flow.flags & REPLY)


def _settle_xdp(decision: Decision) -> list[Counter]:
    """XDP gives no answers and turns nothing back: tc does. It does not count what is nobody's."""
    counts, act = decision.work.counts if decision.work else [], decision.act
    if act in {Act.PASS, Act.DROP}:
        return counts if decision.reason is None else [*counts, decision.reason]
    if act is Act.DELIVER:
        return [*counts, Counter.DELIVERED]
    if act is not Act.FORWARD:
        decision.act = Act.PASS
        return [*counts, Counter.XDP_TO_TC]
    assert decision.flow is not None
    return [*counts, Counter.FORWARDED, *([Counter.ENCAPSULATED] if _is_wrapped(decision.flow) else [])]
