"""Decides every row of the maps of one family, from everything that is known.

Knows the whole snapshot, the limits and what was allocated before; knows nothing of what the maps hold now, of
syscalls or of time. Never raises for what a snapshot contains: what does not fit is refused, Service by Service.

    Snapshot, Allocation, Options --compile_tables--> Tables, Allocation', Refusals --> diff, reconcile loop
"""

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

from ebpflb.core.abi import Family
from ebpflb.core.choice import prepare_tables
from ebpflb.core.draft import Draft
from ebpflb.core.expand import (
    Exposure,
    expand_service,
    settle_claims,
    slices_by_service,
)
from ebpflb.core.holdings import Limits
from ebpflb.core.ids import Allocation
from ebpflb.core.kept import services_of
from ebpflb.core.misread import in_order, misread
from ebpflb.core.model import ObjectKey, Snapshot
from ebpflb.core.node_rows import bounds_of, node_rows
from ebpflb.core.options import DEFAULTS, Options
from ebpflb.core.placement import Placement
from ebpflb.core.refusal import Refusal
from ebpflb.core.service_rows import Member, member_of
from ebpflb.core.tables import BackendKey, FrontendKey, TableName, Tables
from ebpflb.core.uses import Uses

__all__ = ["Allocation", "Basis", "Compiled", "Limits", "Refusal", "compile_tables"]


_TOGETHER = 256
"""So many Services are looked at together, and then let go of."""


@dataclass(frozen=True, slots=True)
class Basis:
    """What a ``Ledger`` counts from: all Services are in the tables, but for claims that others have."""

    named: Sequence[Member]
    """The service ports of all Services that have rows beside their frontends."""
    uses: Mapping[BackendKey, Uses]
    """Of the backends that are not used as usual."""
    used: Mapping[TableName, int]
    """How many rows of the maps without ids are taken, those of addresses left out."""
    misread: Mapping[ObjectKey, tuple[Refusal, ...]]
    """By Service."""
    claimed_twice: tuple[Refusal, ...]
    contested: frozenset[FrontendKey]
    """The frontends that more than one service port asks for."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """The result of one compilation."""

    tables: Tables
    allocation: Allocation
    """Goes into the next compilation, whether or not the plan could be applied in full."""
    refused: tuple[Refusal, ...]
    basis: Basis | None = field(default=None, compare=False)
    """What later changes can be compiled from, one by one; ``None``: not from this."""


def compile_tables(
    snapshot: Snapshot,
    family: Family,
    previous: Allocation,
    limits: Limits,
    kept: Tables | None = None,
    *,
    options: Options = DEFAULTS,
) -> Compiled:
    """Compile the snapshot. Pure: equal arguments, equal results; no argument is changed.

    The Services in ``kept`` are not compiled: their rows, known to ``previous``, stay (``kept.py``).
    """
    kept = kept or Tables(family)
    aside = services_of(kept)
    services = [service for key, service in snapshot.services.items() if key not in aside]
    slices = slices_by_service(snapshot.slices.values(), family)
    node = snapshot.node
    draft = Draft(family, previous, limits, Placement.of(node, snapshot.host, family))
    taken = draft.keep(kept)
    exposures = [exposure for service in services for exposure in expand_service(service, family, node, options)]
    settled, claimed_twice = settle_claims(exposures, previous.owners, taken)
    contested = _contested(exposures) if claimed_twice else frozenset[FrontendKey]()
    groups = _by_service(settled, previous)
    del exposures, settled  # each goes when its Service has its rows, and so does the list of its slices
    odd = {each.key: found for each in services if (found := tuple(misread(each, family, options)))}
    full = []
    while groups:
        some = [groups.popleft() for _ in range(min(len(groups), _TOGETHER))]
        members = [
            [member_of(exposure, own, family, node) for exposure in group]
            for group, own in ((group, slices.pop(group[0].service.key, ())) for group in some)
        ]
        prepare_tables((member.exposure, member.selection) for group in members for member in group)
        full += [refusal for group in members if (refusal := draft.add_service(group)) is not None]
    tables, allocation = draft.finish()
    own = node_rows(snapshot, family, bounds_of(tables.frontends), options)
    tables = replace(
        tables,
        node_addrs=own.node_addrs,
        devices=own.devices,
        opt_outs=own.opt_outs,
        service_cidrs=own.service_cidrs,
        config=own.config,
    )
    is_whole = not aside and not kept.backends and not full
    basis = Basis(draft.named, draft.uses, draft.used, odd, tuple(claimed_twice), contested)
    return Compiled(tables, allocation, (*claimed_twice, *in_order(odd.values()), *full), basis if is_whole else None)


def _contested(exposures: Iterable[Exposure]) -> frozenset[FrontendKey]:
    counts = Counter(claim.key for exposure in exposures for claim in exposure.claims)
    return frozenset(key for key, count in counts.items() if count > 1)


def _by_service(exposures: Iterable[Exposure], previous: Allocation) -> deque[list[Exposure]]:
    """Group the exposures by Service; Services already programmed come first, so that they fit first."""
    ordered = sorted(exposures, key=lambda exposure: exposure.service.key)
    groups = [list(group) for _, group in groupby(ordered, key=lambda exposure: exposure.service.key)]
    groups.sort(key=lambda group: not any(exposure.name in previous.services for exposure in group))
    return deque(groups)
