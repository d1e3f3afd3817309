"""Decides what an operator is told when the cluster changes: which service ports came and went, and where they lead.

Knows two states of what changed and kube-proxy's words for their difference; knows no log, no map and no policy of this
node.

    Changes: touched, excerpts --service_lines--> lines of the log
    Changes: slices --misplaced_addresses--> what is of the other family than its slice

The endpoints of a line are those that take new connections somewhere in the cluster: the ready ones, else those that
terminate and still serve. Hints and traffic policies, which make nodes differ, are left to ``ebpflb explain``.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ebpflb.core.abi import Family, Protocol
from ebpflb.core.changes import Difference, service_key
from ebpflb.core.endpoints import misfits
from ebpflb.core.expand import merge_candidates
from ebpflb.core.model import (
    EndpointSlice,
    ObjectKey,
    Service,
    ServicePort,
    ServiceType,
    Snapshot,
    family_of,
    format_address,
    format_endpoint,
)
from ebpflb.core.tables import BackendKey
from ebpflb.core.topology import select

MAX_SHOWN = 100
"""Endpoints in one line: a Service of thousands shall not have a line of 100 kB with each of its pods."""


@dataclass(frozen=True, slots=True)
class Misplaced:
    """An address that its slice's ``addressType`` excludes; kube-proxy tells about it on the Service, as we do."""

    service: ObjectKey
    slice_name: str
    address: str


class _PortKey(NamedTuple):
    name: str
    """``namespace/name:port``; without ``:port`` if it has no name."""
    protocol: Protocol


class _PortView(NamedTuple):
    frontend: str
    endpoints: tuple[BackendKey, ...]


def service_lines(
    keys: Collection[ObjectKey], before: Snapshot, after: Snapshot, families: Sequence[Family], most: int = MAX_SHOWN
) -> Iterator[str]:
    """Yield what happened to the ports of these Services, in kube-proxy's words, Service by Service."""
    old_slices, new_slices = _slices_of(keys, before), _slices_of(keys, after)
    for key in sorted(keys):
        was, is_ = before.services.get(key), after.services.get(key)
        for family in families:
            old = _ports(was, old_slices.get(key, ()), family)
            new = _ports(is_, new_slices.get(key, ()), family)
            yield from _port_lines(old, new, most, is_updated=was is not is_)


def misplaced_addresses(slices: Difference[EndpointSlice]) -> Iterator[Misplaced]:
    """Yield the addresses of the wrong family that were not in the same slice before; one of each slice is enough."""
    for key, each in slices.after.items():
        known = slices.before.get(key)
        news = _of_other_family(each) - (_of_other_family(known) if known else set())
        if news:
            yield Misplaced(service_key(each), each.name, format_address(min(news)))


def _of_other_family(endpoint_slice: EndpointSlice) -> set[bytes]:
    return {*misfits(endpoint_slice.endpoints, endpoint_slice.family.address_bytes)}


def _slices_of(keys: Collection[ObjectKey], snapshot: Snapshot) -> dict[ObjectKey, list[EndpointSlice]]:
    index: dict[ObjectKey, list[EndpointSlice]] = {}
    for obj in [each for each in snapshot.slices.values() if (each.namespace, each.service_name) in keys]:
        index.setdefault((obj.namespace, obj.service_name), []).append(obj)
    return index


def _ports(service: Service | None, slices: Sequence[EndpointSlice], family: Family) -> dict[_PortKey, _PortView]:
    """Return the ports of a Service that has a ClusterIP of the family, and where they lead."""
    if service is None or service.type is ServiceType.EXTERNAL_NAME:
        return {}
    address = next((each for each in service.cluster_ips if family_of(each) is family), None)
    if address is None:
        return {}
    own = sorted((each for each in slices if each.family is family), key=lambda each: each.name)
    return {_port_key(service, port): _port_view(address, port, own, family) for port in service.ports}


def _port_key(service: Service, port: ServicePort) -> _PortKey:
    label = f":{port.name}" if port.name else ""
    return _PortKey(f"{service.namespace}/{service.name}{label}", port.protocol)


def _port_view(address: bytes, port: ServicePort, slices: Sequence[EndpointSlice], family: Family) -> _PortView:
    usable = select(merge_candidates(port, slices, family, ""), "", "").cluster
    frontend = f"{format_endpoint(address, port.port)}/{port.protocol.name}"
    return _PortView(frontend, tuple(candidate.key for candidate in usable))


def _port_lines(
    old: Mapping[_PortKey, _PortView], new: Mapping[_PortKey, _PortView], most: int, *, is_updated: bool
) -> Iterator[str]:
    for key in old:
        if key not in new:
            yield f'Removing service port "{key.name}"'
    for key, view in new.items():
        if key not in old:
            yield f'Adding new service port "{key.name}" at {view.frontend}'
        elif is_updated:
            yield f'Updating existing service port "{key.name}" at {view.frontend}'
        if view.endpoints != (old[key].endpoints if key in old else ()):
            yield f"Setting endpoints for {key.name} to [{_listed(view.endpoints, most)}]"


def _listed(endpoints: Sequence[BackendKey], most: int) -> str:
    shown = " ".join(format_endpoint(key.address, key.port) for key in endpoints[:most])
    return f"{shown} and {len(endpoints) - most} more" if len(endpoints) > most else shown
