"""Lays an explanation out: the chain of one flow as a document, and as text that reads from top to bottom.

Decides the order and what is left out when there is nothing to say. Words are ``explain_words.py``'s.

    World, Query, Decision --document--> dict     --lines--> text
"""

from collections.abc import Iterator
from typing import Any, Final

from ebpflb.cli.explain_flows import Query
from ebpflb.cli.explain_source import Traces, World, index_for
from ebpflb.cli.explain_words import (
    answer,
    backend_texts,
    client_text,
    frontend_text,
    masquerade_text,
    notes,
    policy_text,
    prefix_text,
    reason_text,
)
from ebpflb.cli.show import table_lines
from ebpflb.cli.words import transport, word
from ebpflb.core.abi import FrontendFlag, FrontendKind
from ebpflb.core.explain import Decision, Hook, Reason, Verdict
from ebpflb.core.explain_index import Index
from ebpflb.core.explain_why import Weighing
from ebpflb.core.model import format_address

_WIDTH: Final = 13
_FEW: Final = 5
"""Flows and sockets that text shows before it counts the rest; documents have all."""


def document(world: World, query: Query, decision: Decision, asked: Hook) -> dict[str, Any]:
    """Return the whole chain."""
    index = index_for(world, query)
    weighing, traces = world.weigh(decision, query), world.traces(decision, query)
    frontend = decision.frontend
    return {
        "from": format_address(query.source),
        "to": transport(query.destination, query.port, query.protocol),
        "source": world.origin,
        "hook": decision.hook.value,
        **answer(index, query, decision),
        "client": decision.client.value,
        "client_reason": client_text(index, query, decision),
        "ports": ports_at(index, query) if decision.reason is Reason.WRONG_PORT else [],
        "policy": policy_text(decision),
        "set": _set(decision),
        "prefix": prefix_text(decision.prefix) if decision.prefix else None,
        "algorithm": word(frontend.algorithm) if frontend else None,
        "affinity_timeout_s": frontend.affinity_timeout_s if frontend else 0,
        "topology": weighing.topology,
        "endpoints": [
            {"endpoint": each.who, "node": each.node_name, "chosen": each.is_chosen, "reason": each.reason}
            for each in weighing.endpoints
        ],
        "masquerade_reason": masquerade_text(index, decision) if decision.backends else "",
        "notes": _notes(world, query, decision, asked),
        "counters": traces.counters,
        "flows": traces.flows,
        "affinity": traces.affinity,
        "sockets": traces.sockets,
    }


def lines(world: World, query: Query, decision: Decision, asked: Hook) -> Iterator[str]:
    """Yield the chain as text, the verdict first."""
    index = index_for(world, query)
    weighing, traces = world.weigh(decision, query), world.traces(decision, query)
    yield f"{format_address(query.source)} -> {_headline(query, decision)}"
    yield _line("according to", world.origin)
    yield _line("from", client_text(index, query, decision))
    yield _line("frontend", frontend_text(query, decision) or "none")
    if decision.service:
        yield _line("service", decision.service + (f", port {decision.port_name}" if decision.port_name else ""))
    if decision.reason is Reason.WRONG_PORT:
        yield _line("ports", ", ".join(ports_at(index, query)))
    if decision.prefix and decision.frontend:
        yield _line("source range", prefix_text(decision.prefix))
    if decision.frontend and not decision.reason.is_before_endpoints:
        yield _line("policy", policy_text(decision))
    if weighing.topology:
        yield _line("topology", weighing.topology)
    if decision.frontend and decision.backends:
        yield _line("chosen by", _chosen_by(decision))
    yield from _endpoint_lines(decision, weighing)
    if decision.backends:
        yield _line("masquerade", masquerade_text(index, decision))
    yield _line("verdict", f"{decision.verdict.value}: {reason_text(decision)}")
    yield from (_line("note", each) for each in _notes(world, query, decision, asked))
    yield from _trace_lines(traces)


def _notes(world: World, query: Query, decision: Decision, asked: Hook) -> list[str]:
    found = notes(index_for(world, query), query, decision, asked)
    return [*found, world.caveat] if world.caveat and decision.frontend else found


def ports_at(index: Index, query: Query) -> list[str]:
    """Return what can be dialled at a ClusterIP instead."""
    return sorted(
        f"{key.port}/{key.protocol.name}" + (f" ({name})" if name else "")
        for key, row in index.tables.frontends.items()
        if key.address == query.destination and row.kind is FrontendKind.CLUSTER_IP
        for name in (index.name_of(row.service_id).port_name,)
    )


def _headline(query: Query, decision: Decision) -> str:
    where = transport(query.destination, query.port, query.protocol)
    count = len(decision.backends)
    if decision.verdict is not Verdict.FORWARD:
        return f"{where}: {decision.verdict.value.upper()}"
    how = ", masqueraded" if decision.masquerade else ""
    return f"{where}: FORWARD to {count} backend{'' if count == 1 else 's'}{how}"


def _line(label: str, text: str) -> str:
    return f"{label:<{_WIDTH}} {text}"


def _set(decision: Decision) -> str | None:
    if decision.frontend is None or decision.reason.is_before_endpoints:
        return None
    return "local" if decision.is_local_set else "cluster"


def _chosen_by(decision: Decision) -> str:
    frontend = decision.frontend
    assert frontend is not None, "only a frontend has backends"
    by = "random" if decision.hook is Hook.SOCKET else word(frontend.algorithm)
    timeout_s = frontend.affinity_timeout_s
    affinity = f", and a client stays with its own for {timeout_s} s (sessionAffinity)" if timeout_s else ""
    direct = ", answering clients directly (DSR)" if FrontendFlag.DSR in frontend.flags else ""
    return by + affinity + direct


def _endpoint_lines(decision: Decision, weighing: Weighing) -> Iterator[str]:
    if decision.frontend is None:
        return
    rows = [
        ["  yes" if each.is_chosen else "  no", each.who, each.node_name and f"on {each.node_name}", each.reason]
        for each in weighing.endpoints
    ]
    yield _line("backends", _counted(decision, weighing))
    if rows:
        yield from table_lines(rows[0], rows[1:])


def _counted(decision: Decision, weighing: Weighing) -> str:
    total = sum(1 for each in weighing.endpoints if not each.who.startswith("EndpointSlice"))
    if not total:
        return "none" if not decision.backends else ", ".join(backend_texts(decision))
    return f"{len(decision.backends)} of {total}"


def _trace_lines(traces: Traces) -> Iterator[str]:
    for name, total in traces.counters.items():
        yield _line("counter", f"{name} {total}, over all Services")
    if traces.flows:
        yield _line("flows", f"{len(traces.flows)} of this source")
    for row in traces.flows[:_FEW]:
        yield f"  {row['source']} -> {row['to_destination']}, {row['state']}, {row['age_s']} s ago"
    for row in traces.affinity:
        yield _line("affinity", f"{row['backend'] or 'a backend that is gone'} for {row['seconds_left']} s more")
    if traces.sockets:
        yield _line("sockets", f"{len(traces.sockets)} dialled this, of whatever source")
    for row in traces.sockets[:_FEW]:
        yield f"  socket {row['socket_cookie']} -> {row['backend']}"
