"""Decides which sets, flags and algorithm a frontend has, and what its ranges contain then.

Knows policies, selections, backend ids and Maglev; knows nothing of positions in ``slots`` or of limits.

    Exposure --needs_of, flags_of, algorithm_of--> Needs, FrontendFlag, Algorithm
    Selection, backend ids --contents_for--> Contents --> Arena.place
    Exposures, Selections --prepare_tables--> Maglev tables, computed together, for contents_for
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ebpflb.core.abi import Algorithm, FrontendFlag, FrontendKind
from ebpflb.core.expand import Exposure
from ebpflb.core.maglev_cache import Identities, TableCache
from ebpflb.core.tables import BackendKey, Slots
from ebpflb.core.topology import Candidate, Selection


class Needs(NamedTuple):
    """Which sets the frontends of a service port read."""

    cluster: bool
    local: bool


class Contents(NamedTuple):
    """Backend ids of both sets; an empty array where a set is empty or not needed."""

    cluster: Slots
    local: Slots
    local_prefix: int
    """Local is the first so many of cluster, and needs no range of its own; then ``local`` is empty."""


def needs_of(exposure: Exposure, kind: FrontendKind) -> Needs:
    """Return the sets that a frontend reads. With policy Local an external one still sends pods to the cluster set."""
    local = exposure.is_local_policy(kind)
    return Needs(cluster=not local or kind is not FrontendKind.CLUSTER_IP, local=local)


def union_of(needs: Iterable[Needs]) -> Needs:
    """Return the sets that at least one of several frontends reads."""
    cluster = local = False
    for need in needs:
        cluster, local = cluster or need.cluster, local or need.local
    return Needs(cluster, local)


def flags_of(exposure: Exposure, kind: FrontendKind, *, has_any: bool) -> FrontendFlag:
    """Return the flags of a frontend; ``has_any``: its service port has backends somewhere."""
    flags = FrontendFlag.HAS_BACKENDS if has_any else FrontendFlag(0)
    if exposure.is_local_policy(kind):
        flags |= FrontendFlag.LOCAL_POLICY
    if exposure.is_direct and kind is not FrontendKind.CLUSTER_IP:
        flags |= FrontendFlag.DSR
    if exposure.sources.is_restricted and kind is FrontendKind.LOAD_BALANCER:
        flags |= FrontendFlag.SOURCE_RANGES
    return flags


def algorithm_of(exposure: Exposure, kind: FrontendKind) -> Algorithm:
    """Return the Service's algorithm; by default clients from outside keep their backend on whichever node."""
    default = Algorithm.RANDOM if kind is FrontendKind.CLUSTER_IP else Algorithm.MAGLEV
    return exposure.service.algorithm or default


NOTHING: Slots = np.empty(0, dtype=np.uint32)

Ids = Mapping[BackendKey, int]

TABLES = TableCache(1024)
"""What Maglev frontends are filled from."""


def contents_for(algorithm: Algorithm, selection: Selection, needs: Needs, ids: Ids) -> Contents:
    """Return the contents of the ranges that frontends with this algorithm need."""
    local_first = algorithm is Algorithm.RANDOM
    fill: Callable[[Sequence[Candidate], Ids], Slots] = _list if local_first else _maglev
    cluster = fill(selection.cluster, ids) if needs.cluster else NOTHING
    if not needs.local or not selection.local:
        return Contents(cluster, NOTHING, 0)
    count = len(selection.local)
    if local_first and needs.cluster and selection.cluster[:count] == selection.local:
        return Contents(cluster, NOTHING, count)
    return Contents(cluster, fill(selection.local, ids), 0)


def _list(candidates: Sequence[Candidate], ids: Ids) -> Slots:
    return np.array([ids[candidate.key] for candidate in candidates], dtype=np.uint32)


def _maglev(candidates: Sequence[Candidate], ids: Ids) -> Slots:
    """Return the Maglev table of backend ids.

    A backend is hashed by its address and by its rank among the ports that share the address, not by the port:
    the many ports of a Service whose pods are the same then share one computation, and send a client to one pod.
    """
    keys = sorted(candidate.key for candidate in candidates)
    numbers = np.array([ids[key] for key in keys], dtype=np.uint32)
    return numbers[TABLES.of(_identities(keys))] if keys else NOTHING


def _identities(keys: Iterable[BackendKey]) -> Identities:
    """Return what backends, in their order, are hashed by."""
    rank: dict[bytes, int] = {}
    identities = []
    for address, _, _ in keys:
        rank[address] = rank.get(address, -1) + 1
        identities.append(address + rank[address].to_bytes(2, "big"))
    return tuple(identities)


def prepare_tables(ports: Iterable[tuple[Exposure, Selection]]) -> None:
    """Hear which service ports ``contents_for`` will be asked of: at most as many as tables are kept, at best."""
    TABLES.prepare(
        _identities(sorted(candidate.key for candidate in candidates))
        for exposure, selection in ports
        for candidates in _chosen_by_maglev(exposure, selection)
    )


def _chosen_by_maglev(exposure: Exposure, selection: Selection) -> Iterator[Sequence[Candidate]]:
    kinds = [kind for _, kind in exposure.claims if algorithm_of(exposure, kind) is Algorithm.MAGLEV]
    if kinds:
        needs = union_of(needs_of(exposure, kind) for kind in kinds)
        if needs.cluster:
            yield selection.cluster
        if needs.local:
            yield selection.local
