"""Says in words what a decision is made of: the frontend, who sends, why the source address is kept or not.

Pure. Knows decisions and rows; not where they came from, nor how text is laid out.

    Decision, Index --> sentences; the seven fields of an answer
"""

from functools import lru_cache
from typing import Any

from ebpflb.cli.explain_flows import Query
from ebpflb.cli.words import KINDS, transport
from ebpflb.core.abi import ConfigFlag, FrontendFlag, FrontendKind, Protocol
from ebpflb.core.explain import Client, Decision, Hook, Reason, Verdict
from ebpflb.core.explain_index import Index
from ebpflb.core.model import format_address, format_endpoint
from ebpflb.core.tables import Prefix


def answer(index: Index, query: Query, decision: Decision) -> dict[str, Any]:
    """Return the fields that every answer has, in their order."""
    own = _first_on_node(index, decision)
    return {
        "verdict": decision.verdict.value,
        "backends": backend_texts(decision),
        "masquerade": decision.masquerade,
        "frontend": frontend_text(query, decision),
        "service": decision.service,
        "port_name": decision.port_name,
        "reason": reason_text(decision) + (f"; {own} is this node itself, and sees the source address" if own else ""),
    }


def backend_texts(decision: Decision) -> list[str]:
    """Return the backends that new flows are spread over, sorted as text."""
    return sorted(_endpoint_text(backend.key.address, backend.key.port) for backend in decision.backends)


@lru_cache(maxsize=1 << 16)
def _endpoint_text(address: bytes, port: int) -> str:
    return format_endpoint(address, port)


def frontend_text(query: Query, decision: Decision) -> str:
    """Return what claims the destination; empty when nothing does."""
    here = transport(query.destination, query.port, query.protocol)
    if decision.frontend is not None:
        return f"{KINDS[decision.frontend.kind]} {here}"
    match decision.reason:
        case Reason.HEALTH_CHECK:
            return f"health check {here}"
        case Reason.WRONG_PORT:
            return f"ClusterIP {format_address(query.destination)}"
        case Reason.UNUSED_ADDRESS if decision.prefix is not None:
            return f"ServiceCIDR {prefix_text(decision.prefix)}"
    return ""


def reason_text(decision: Decision) -> str:
    """Return why, in a sentence."""
    if decision.is_hairpin:
        return f"{decision.reason.value}; the only backend is the source itself"
    return decision.reason.value


def _first_on_node(index: Index, decision: Decision) -> str:
    """Return a backend that is a process of this node, where the table masquerades: there the kernel would not have
    it. Empty: there is none.
    """
    if not decision.masquerade:
        return ""
    own = (each.key for each in decision.backends if index.node_has(each.key.address))
    return next((_endpoint_text(each.address, each.port) for each in own), "")


def prefix_text(prefix: Prefix) -> str:
    """Return ``10.96.0.0/12``."""
    return f"{format_address(prefix.address)}/{prefix.length}"


def client_text(index: Index, query: Query, decision: Decision) -> str:
    """Return who sends, and how that is known."""
    flags = index.config.flags
    by_network = ConfigFlag.DETECT_BY_NETWORK in flags
    if decision.client is Client.POD:
        if by_network:
            return f"a pod: in {prefix_text(index.config.pods)}"
        return f"a pod: it comes in by {query.device}" if query.device else "a pod: it is known to be on this node"
    if decision.client is Client.NODE:
        return "this node itself"
    if by_network:
        return f"neither a pod (not in {prefix_text(index.config.pods)}) nor this node"
    if ConfigFlag.DETECT_BY_DEVICE in flags:
        how = f"{query.device} is no device of pods" if query.device else "no pod of this node is known to have it"
        return f"neither a pod ({how}) nor this node"
    return "not this node; pods are not told from others, since no network of theirs is configured"


_UNBOUND = {
    Reason.SHORT_CUT_POD: ", which does not bind pods",
    Reason.SHORT_CUT_NODE: ", which does not bind the node itself",
    Reason.SHORT_CUT_SOCKET: ", which does not bind sockets of this node",
}


def policy_text(decision: Decision) -> str:
    """Return the traffic policy that governs the frontend; empty without a frontend."""
    if decision.frontend is None:
        return ""
    scope = "internal" if decision.frontend.kind is FrontendKind.CLUSTER_IP else "external"
    policy = "Local" if FrontendFlag.LOCAL_POLICY in decision.frontend.flags else "Cluster"
    return f"{scope}TrafficPolicy {policy}{_UNBOUND.get(decision.reason, '')}"


def masquerade_text(index: Index, decision: Decision) -> str:
    """Return whether the source address is replaced, and why."""
    return f"{'yes' if decision.masquerade else 'no'}: {_why_masqueraded(index, decision)}"


def _why_masqueraded(index: Index, decision: Decision) -> str:
    frontend = decision.frontend
    assert frontend is not None, "only what has a frontend has backends"
    if decision.hook is Hook.SOCKET:
        return "the socket hooks keep the client's address"
    if decision.is_direct:
        return "backends on other nodes answer the client directly (DSR)"
    if decision.is_hairpin:
        return "the only backend is the source itself"
    if frontend.kind is FrontendKind.CLUSTER_IP:
        return _why_internally(index, decision)
    if FrontendFlag.LOCAL_POLICY in frontend.flags:
        return _BY_LOCAL_POLICY[decision.client]
    return "externalTrafficPolicy Cluster"


def _why_internally(index: Index, decision: Decision) -> str:
    if ConfigFlag.MASQUERADE_ALL in index.config.flags:
        return "masqueradeAll"
    if decision.client is Client.POD:
        return "the source is a pod"
    return "the source is no pod" if decision.masquerade else "no network tells pods from others"


_BY_LOCAL_POLICY = {
    Client.POD: "a pod keeps its address",
    Client.NODE: "the node itself reaches every endpoint",
    Client.OTHER: "the policy Local keeps the client's address",
}


def notes(index: Index, query: Query, decision: Decision, asked: Hook) -> list[str]:
    """Return what a reader may stumble over."""
    found = []
    if asked is Hook.SOCKET and decision.hook is Hook.PACKET and decision.frontend is not None:
        why = "SCTP" if query.protocol is Protocol.SCTP else "loadBalancerSourceRanges"
        found.append(f"the packet hooks answer this: the socket hooks leave {why} to them")
    forwards = decision.verdict is Verdict.FORWARD
    if forwards and decision.hook is Hook.PACKET and index.is_loopback(query.destination):
        found.append("packets to loopback meet no packet hook: the socket hooks do it, and keep the source")
    dials_itself = decision.frontend is not None and FrontendFlag.SOURCE_RANGES in decision.frontend.flags
    if decision.hook is Hook.SOCKET and dials_itself and forwards:
        found.append("the node dials an address of its own, so the source that the ranges are asked for is that one")
    own = _first_on_node(index, decision)
    if own:
        found.append(f"{own} is this node itself: what is delivered there keeps its source address all the same")
    among = [each.key for each in decision.backends if each.key.address == query.source]
    is_kept = decision.hook is Hook.PACKET and not decision.masquerade and not decision.is_direct
    if among and not decision.is_hairpin and is_kept:
        first = format_endpoint(among[0].address, among[0].port)
        found.append(f"{first} is the source itself: towards it the source address is replaced")
    return found
