"""Decides every row of the maps of one family, from everything that is known.

Knows the whole snapshot, the limits and what was allocated before; knows nothing of what the maps hold now, of
syscalls or of time. Never raises for what a snapshot contains: what does not fit is refused, Service by Service.

    Snapshot, Allocation --compile_tables--> Tables, Allocation', Refusals --> diff, reconcile loop
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from ebpflb.core.abi import DeviceFlag, Family
from ebpflb.core.draft import Draft, Member
from ebpflb.core.expand import (
    Exposure,
    expand_service,
    merge_candidates,
    settle_claims,
    slices_by_service,
)
from ebpflb.core.holdings import Limits
from ebpflb.core.ids import Allocation
from ebpflb.core.kept import services_of
from ebpflb.core.model import EndpointSlice, Host, Node, Snapshot
from ebpflb.core.placement import Placement
from ebpflb.core.refusal import Refusal, unserved
from ebpflb.core.tables import DeviceRow, Tables
from ebpflb.core.topology import select

__all__ = ["Allocation", "Compiled", "Limits", "Refusal", "compile_tables"]


@dataclass(frozen=True, slots=True)
class Compiled:
    """The result of one compilation."""

    tables: Tables
    allocation: Allocation
    """Goes into the next compilation, whether or not the plan could be applied in full."""
    refused: tuple[Refusal, ...]


def compile_tables(
    snapshot: Snapshot, family: Family, previous: Allocation, limits: Limits, kept: Tables | None = None
) -> Compiled:
    """Compile the snapshot. Pure: equal arguments, equal results; no argument is changed.

    The Services in ``kept`` are not compiled: their rows, known to ``previous``, stay (``kept.py``).
    """
    kept = kept or Tables(family)
    aside = services_of(kept)
    services = [service for key, service in snapshot.services.items() if key not in aside]
    slices = slices_by_service(snapshot.slices.values(), family)
    draft = Draft(family, previous, limits, Placement.of(snapshot.node, snapshot.host, family))
    taken = draft.keep(kept)
    exposures, refused = settle_claims(
        (exposure for service in services for exposure in expand_service(service, family)), previous.owners, taken
    )
    left_out = (refusal for service in services for refusal in unserved(service, family))
    refused += sorted(left_out, key=lambda refusal: (refusal.service, refusal.field))
    for group in _by_service(exposures, previous):
        listed = slices.get(group[0].service.key, ())
        refusal = draft.add_service([_member(exposure, listed, family, snapshot.node) for exposure in group])
        if refusal is not None:
            refused.append(refusal)
    draft.add_draining()
    tables, allocation = draft.finish(_node_addrs(snapshot.host, family), _devices(snapshot.host, family))
    return Compiled(tables, allocation, tuple(refused))


def _by_service(exposures: Iterable[Exposure], previous: Allocation) -> list[list[Exposure]]:
    """Group the exposures by Service; Services already programmed come first, so that they fit first."""
    in_order = sorted(exposures, key=lambda exposure: exposure.service.key)
    groups = [list(group) for _, group in groupby(in_order, key=lambda exposure: exposure.service.key)]
    groups.sort(key=lambda group: not any(exposure.name in previous.services for exposure in group))
    return groups


def _member(exposure: Exposure, slices: Sequence[EndpointSlice], family: Family, node: Node) -> Member:
    candidates = merge_candidates(exposure.port, slices, family, node.name)
    return Member(exposure, candidates, select(candidates, node.name, node.zone))


def _node_addrs(host: Host, family: Family) -> dict[bytes, int]:
    return {address: 0 for address in sorted(host.addresses) if len(address) == family.address_bytes}


def _devices(host: Host, family: Family) -> dict[int, DeviceRow]:
    none = bytes(family.address_bytes)
    return {
        device.ifindex: DeviceRow(
            next((address for address in device.addresses if len(address) == family.address_bytes), none),
            device.mtu,
            DeviceFlag.XDP if device.supports_xdp else DeviceFlag(0),
        )
        for device in host.devices
    }
