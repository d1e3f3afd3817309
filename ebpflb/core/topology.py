"""Decides which endpoints of one service port take new connections, as kube-proxy's categories and hints do.

Knows conditions, hints and where this node is; knows nothing of Services, policies, ids or maps.

    candidates of one service port, node name, zone --select--> Selection --> compile
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ebpflb.core.model import Standing
from ebpflb.core.tables import BackendKey


class Candidate(NamedTuple):
    """One endpoint of one service port, merged over the slices that list it."""

    key: BackendKey
    is_local: bool
    """It runs on this node."""
    endpoint: Standing


@dataclass(frozen=True, slots=True)
class Selection:
    """The sets of one service port. Every tuple keeps the order of the candidates."""

    cluster: tuple[Candidate, ...] = ()
    """For the policy Cluster."""
    local: tuple[Candidate, ...] = ()
    """For the policy Local: on this node."""
    draining: tuple[Candidate, ...] = ()
    """Serving and terminating, in neither set: keep the flows they have."""
    has_any: bool = False
    """Something usable exists somewhere: an empty set then means DROP, otherwise REJECT."""


def select(candidates: Sequence[Candidate], node_name: str, zone: str) -> Selection:
    """Sort the candidates of one service port into its sets.

    Terminating endpoints that still serve stand in only where no endpoint is ready: for the cluster set nowhere,
    for the local set nowhere on this node. Hints narrow the cluster set of ready endpoints and nothing else.
    """
    ready = [candidate for candidate in candidates if candidate.endpoint.ready]
    leaving = [candidate for candidate in candidates if candidate.endpoint.serving and candidate.endpoint.terminating]
    fallback = [candidate for candidate in leaving if not candidate.endpoint.ready]
    cluster = _near(ready, node_name, zone) if ready else fallback
    local = _on_this_node(ready) or _on_this_node(fallback)
    draining: Collection[Candidate] = ()
    if leaving:
        taken = {candidate.key for candidate in (*cluster, *local)}
        draining = [candidate for candidate in leaving if candidate.key not in taken]
    return Selection(tuple(cluster), tuple(local), tuple(draining), has_any=bool(ready or fallback))


def _on_this_node(candidates: Sequence[Candidate]) -> list[Candidate]:
    return [candidate for candidate in candidates if candidate.is_local]


def _near(ready: Sequence[Candidate], node_name: str, zone: str) -> Sequence[Candidate]:
    """Return those hinted for this node, else for this zone, else all.

    A level of hints counts only where every ready endpoint carries it: one endpoint without a hint means that the
    controller has not finished, and keeping to the hinted ones could overload them.
    """
    if all(candidate.endpoint.for_nodes for candidate in ready):
        kept = [candidate for candidate in ready if node_name in candidate.endpoint.for_nodes]
        if node_name and kept:
            return kept
    if zone and all(candidate.endpoint.for_zones for candidate in ready):
        kept = [candidate for candidate in ready if zone in candidate.endpoint.for_zones]
        if kept:
            return kept
    return ready
