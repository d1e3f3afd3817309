"""Decides which backends belong to a service port: where affinity may lead, and where UDP may stay.

Knows endpoints, sets and ids; knows nothing of ranges, limits or of how ids were found.

    Exposure, candidates, Selection, backend ids --member_rows--> rows of ``members``
"""

from collections.abc import Mapping, Sequence

from ebpflb.core.abi import MemberSet, Protocol
from ebpflb.core.choice import needs_of, union_of
from ebpflb.core.expand import Exposure
from ebpflb.core.places import BackendId
from ebpflb.core.tables import ELSEWHERE, BackendKey, MemberKey
from ebpflb.core.topology import Candidate, Selection


def has_members(exposure: Exposure) -> bool:
    """Return whether anything asks for the members of a service port.

    Affinity does before it is honoured; UDP does, since its flows and sockets leave with their backend. What TCP
    has begun drains wherever it is.
    """
    return exposure.service.affinity_timeout_s > 0 or exposure.port.protocol is Protocol.UDP


def most_members(exposure: Exposure, candidates: Sequence[Candidate]) -> int:
    """Return how many rows ``member_rows`` returns at most, before it is known which backends have rows."""
    if not has_members(exposure):
        return 0
    return sum(1 for _, _, endpoint in candidates if endpoint.ready or endpoint.serving)


def member_rows(
    service_id: int,
    exposure: Exposure,
    candidates: Sequence[Candidate],
    selection: Selection,
    backends: Mapping[BackendKey, BackendId],
) -> dict[MemberKey, MemberSet]:
    """Return a row for each backend that takes new flows of the service port or may finish those it has.

    A backend without a row of its own has no flows on this node, whatever its endpoint's conditions. If only such
    ones serve, one row stands for all: flows leave who serves no more, though there is nowhere for them to go.
    """
    rows = {
        MemberKey(service_id, backends[key].backend_id): MemberSet.SERVING
        for key, _is_local, endpoint in candidates
        if (endpoint.ready or endpoint.serving) and key in backends
    }
    if not rows and most_members(exposure, candidates):
        return {MemberKey(service_id, ELSEWHERE): MemberSet.SERVING}
    needs = union_of(needs_of(exposure, kind) for _, kind in exposure.claims)
    for named, needed, bit in (
        (selection.cluster, needs.cluster, MemberSet.CLUSTER),
        (selection.local, needs.local, MemberSet.LOCAL),
    ):
        for candidate in named if needed else ():
            rows[MemberKey(service_id, backends[candidate.key].backend_id)] |= bit
    return rows
