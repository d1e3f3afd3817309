"""Decides every row of the maps of one family, from everything that is known.

Knows the whole snapshot, the limits and what was allocated before; knows nothing of what the maps hold now, of
syscalls or of time. Never raises for what a snapshot contains: what does not fit is refused, Service by Service.

    Snapshot, Allocation, Options --compile_tables--> Tables, Allocation', Refusals --> diff, reconcile loop
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby

from ebpflb.core.abi import Family
from ebpflb.core.draft import Draft
from ebpflb.core.expand import (
    Exposure,
    expand_service,
    settle_claims,
    slices_by_service,
)
from ebpflb.core.forwarding import unknown_forwarding
from ebpflb.core.holdings import Limits
from ebpflb.core.ids import Allocation
from ebpflb.core.kept import services_of
from ebpflb.core.model import Service, Snapshot
from ebpflb.core.node_rows import node_rows
from ebpflb.core.options import DEFAULTS, Options
from ebpflb.core.placement import Placement
from ebpflb.core.refusal import Refusal
from ebpflb.core.service_rows import member_of
from ebpflb.core.source_ranges import SourceRanges
from ebpflb.core.tables import Tables

__all__ = ["Allocation", "Compiled", "Limits", "Refusal", "compile_tables"]


@dataclass(frozen=True, slots=True)
class Compiled:
    """The result of one compilation."""

    tables: Tables
    allocation: Allocation
    """Goes into the next compilation, whether or not the plan could be applied in full."""
    refused: tuple[Refusal, ...]


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
    expanded = (exposure for service in services for exposure in expand_service(service, family, node, options))
    exposures, refused = settle_claims(expanded, previous.owners, taken)
    misread = (refusal for service in services for refusal in _misread(service, family, options))
    refused += sorted(misread, key=lambda refusal: (refusal.service, refusal.field))
    for group in _by_service(exposures, previous):
        listed = slices.get(group[0].service.key, ())
        refusal = draft.add_service([member_of(exposure, listed, family, node) for exposure in group])
        if refusal is not None:
            refused.append(refusal)
    tables, allocation = draft.finish()
    own = node_rows(snapshot, family, tables.frontends, options)
    tables = replace(
        tables,
        node_addrs=own.node_addrs,
        devices=own.devices,
        opt_outs=own.opt_outs,
        service_cidrs=own.service_cidrs,
        config=own.config,
    )
    return Compiled(tables, allocation, tuple(refused))


def _misread(service: Service, family: Family, options: Options) -> Iterator[Refusal]:
    """Yield what a Service says and nobody understands; the rest of it is served all the same."""
    if not _has_address(service.cluster_ips, family):
        return
    yield from unknown_forwarding(service, options)
    if _has_address(service.load_balancer_ips, family):
        yield from SourceRanges.of(service, family, ()).refusals(service)


def _has_address(addresses: Iterable[bytes], family: Family) -> bool:
    return any(len(address) == family.address_bytes for address in addresses)


def _by_service(exposures: Iterable[Exposure], previous: Allocation) -> list[list[Exposure]]:
    """Group the exposures by Service; Services already programmed come first, so that they fit first."""
    in_order = sorted(exposures, key=lambda exposure: exposure.service.key)
    groups = [list(group) for _, group in groupby(in_order, key=lambda exposure: exposure.service.key)]
    groups.sort(key=lambda group: not any(exposure.name in previous.services for exposure in group))
    return groups
