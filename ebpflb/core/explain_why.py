"""Says of every endpoint of a Service why a flow may go to it, or why not.

Knows the objects; decides nothing: which endpoints are chosen is the decision's, and what is said here of the others
follows the same rules in words.

    Snapshot, Decision --weigh--> Weighing(topology, endpoints)
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ebpflb.core.abi import Family
from ebpflb.core.expand import merge_candidates, slices_by_service
from ebpflb.core.explain import Decision
from ebpflb.core.model import EndpointSlice, Node, ServicePort, Snapshot, format_endpoint
from ebpflb.core.tables import BackendKey
from ebpflb.core.topology import Candidate


class Weighed(NamedTuple):
    """One endpoint, or a whole slice that is out of the question."""

    who: str
    node_name: str
    is_chosen: bool
    reason: str
    """Why not; why although, for one that stands in; empty: an ordinary one."""


@dataclass(frozen=True, slots=True)
class Weighing:
    """What became of each endpoint of the Service that a flow belongs to."""

    topology: str = ""
    """Which hints were followed, or why none; empty: it did not come to that."""
    endpoints: tuple[Weighed, ...] = ()


NOT_ASKED = "not asked for: the packet does not get that far"


def weigh(snapshot: Snapshot, decision: Decision, family: Family) -> Weighing:
    """Return why the chosen backends and no others."""
    port = _port_of(snapshot, decision)
    if port is None:
        return Weighing()
    namespace, _, name = decision.service.partition("/")
    node = snapshot.node
    key = (namespace, name)
    slices = slices_by_service(snapshot.slices.values(), family).get(key, [])
    candidates = merge_candidates(port, slices, family, node.name)
    ready = [candidate for candidate in candidates if candidate.endpoint.ready]
    chosen = frozenset(backend.key for backend in decision.backends)
    topology = "" if decision.is_local_set or not chosen else _topology(ready, node)
    endpoints = [_weighed(candidate, decision, chosen, _hints_apply(ready, node)) for candidate in candidates]
    others = slices_by_service(snapshot.slices.values(), _other(family)).get(key, [])
    endpoints += _without_port(slices, port)
    endpoints += _of_other_family(others, family)
    return Weighing(topology, tuple(endpoints))


def _port_of(snapshot: Snapshot, decision: Decision) -> ServicePort | None:
    """Return the service port that a decision names, if there is one."""
    namespace, _, name = decision.service.partition("/")
    service = snapshot.services.get((namespace, name))
    if service is None or decision.key is None:
        return None
    wanted = (decision.port_name, decision.key.protocol)
    return next((port for port in service.ports if (port.name, port.protocol) == wanted), None)


def _weighed(candidate: Candidate, decision: Decision, chosen: frozenset[BackendKey], level: str) -> Weighed:
    key, _, endpoint = candidate
    is_chosen = key in chosen
    reason = _stand_in(candidate) if is_chosen else _why_not(candidate, decision, level)
    return Weighed(format_endpoint(key.address, key.port), endpoint.node_name, is_chosen, reason)


def _stand_in(candidate: Candidate) -> str:
    return "" if candidate.endpoint.ready else "terminating: it stands in, as none is ready"


def _why_not(candidate: Candidate, decision: Decision, level: str) -> str:
    endpoint = candidate.endpoint
    if decision.reason.is_before_endpoints:
        return NOT_ASKED
    if not endpoint.ready and not endpoint.terminating:
        return "not ready"
    if not endpoint.ready and not endpoint.serving:
        return "terminating, and it serves no more"
    if decision.is_local_set and not candidate.is_local:
        where = f"it is on {endpoint.node_name}" if endpoint.node_name else "it names no node"
        return f"not on this node: {where}"
    if not endpoint.ready:
        return "terminating: it would stand in if none was ready"
    hints = endpoint.for_nodes if level == _NODES else endpoint.for_zones
    return f"hinted for {level[:-1]} {', '.join(hints)}"


_NODES, _ZONES = "nodes", "zones"


def _hints_apply(ready: Sequence[Candidate], node: Node) -> str:
    """Return which hints narrow the cluster set: those for nodes, else those for zones, else none."""
    endpoints = [candidate.endpoint for candidate in ready]
    if all(each.for_nodes for each in endpoints) and any(node.name in each.for_nodes for each in endpoints):
        return _NODES
    if all(each.for_zones for each in endpoints) and any(node.zone in each.for_zones for each in endpoints):
        return _ZONES
    return ""


def _topology(ready: Sequence[Candidate], node: Node) -> str:
    """Return which hints were followed, or why they were not."""
    if not ready:
        return "no endpoint is ready, so those that terminate and still serve stand in"
    level = _hints_apply(ready, node)
    if level:
        return f"hints for node {node.name}" if level == _NODES else f"hints for zone {node.zone}"
    bare = [each for each in ready if not each.endpoint.for_nodes and not each.endpoint.for_zones]
    if len(bare) == len(ready):
        return "no hints"
    if bare:
        return f"hints do not count: {format_endpoint(bare[0].key.address, bare[0].key.port)} has none"
    if not node.zone:
        return "hints do not count: the Node has no label topology.kubernetes.io/zone"
    return f"hints do not count: not all name zones, or none names {node.zone}"


def _without_port(slices: Sequence[EndpointSlice], port: ServicePort) -> Iterator[Weighed]:
    """Yield the slices that do not offer the service port."""
    for each in slices:
        if not any((offered.name, offered.protocol) == (port.name, port.protocol) for offered in each.ports):
            wanted = f"port named {port.name!r}" if port.name else "unnamed port"
            yield Weighed(_slice(each), "", is_chosen=False, reason=f"no {port.protocol.name} {wanted}")


def _of_other_family(slices: Sequence[EndpointSlice], family: Family) -> Iterator[Weighed]:
    for each in slices:
        reason = f"IPv{each.family.value}, and the packet is IPv{family.value}"
        yield Weighed(_slice(each), "", is_chosen=False, reason=reason)


def _slice(each: EndpointSlice) -> str:
    plural = "" if len(each.endpoints) == 1 else "s"
    return f"EndpointSlice {each.name} ({len(each.endpoints)} endpoint{plural})"


def _other(family: Family) -> Family:
    return Family.IPV6 if family is Family.IPV4 else Family.IPV4
