"""Decides which service ports answer clients outside directly, and on which node's backends that relies.

Knows annotations, protocols and endpoints; knows nothing of how a packet is sent.

    Service, protocol, Options --is_direct--> whether frontends for clients outside carry FrontendFlag.DSR
    candidates of such a service port --local_backend_rows--> rows of ``local_backends``
"""

from collections.abc import Callable, Iterable, Iterator, Mapping

from ebpflb.core import fields
from ebpflb.core.abi import Protocol
from ebpflb.core.metadata import FORWARDING_ANNOTATION
from ebpflb.core.model import Service
from ebpflb.core.options import Forwarding, Options
from ebpflb.core.places import BackendId
from ebpflb.core.refusal import Refusal, service_text
from ebpflb.core.tables import BackendKey, LocalBackendKey
from ebpflb.core.topology import Candidate

_OF_A_SERVICE = {mode.value: mode for mode in (Forwarding.SNAT, Forwarding.DSR)}


def is_direct(service: Service, protocol: Protocol, options: Options) -> bool:
    """Return whether a backend's node answers clients of this service port itself."""
    mode = _OF_A_SERVICE.get(service.forwarding, options.forwarding)
    return mode is Forwarding.DSR or (mode is Forwarding.HYBRID and protocol is Protocol.TCP)


def unknown_forwarding(service: Service, options: Options) -> Iterator[Refusal]:
    """Yield a word about an annotation that says nothing. The Service is served as the node is configured."""
    if service.forwarding and service.forwarding not in _OF_A_SERVICE:
        yield Refusal(
            service_text(service),
            f"metadata.annotations[{FORWARDING_ANNOTATION}]",
            f"{fields.shown(service.forwarding)} is not known; {options.forwarding.value} is used, as configured",
            f"use one of {', '.join(_OF_A_SERVICE)}, or remove the annotation",
        )


def here(candidates: Iterable[Candidate], is_here: Callable[[bytes], bool]) -> list[Candidate]:
    """Return the endpoints on this node that other nodes may send to: new flows, or those that they have."""
    return [
        candidate
        for candidate in candidates
        if (candidate.endpoint.ready or candidate.endpoint.serving)
        and (candidate.is_local or is_here(candidate.key.address))
    ]


def local_backend_rows(
    service_id: int, candidates: Iterable[Candidate], backends: Mapping[BackendKey, BackendId]
) -> dict[LocalBackendKey, int]:
    """Return the rows of a service port. A packet that was sent whole names the pod, not which port of it was chosen.

    Where slices give one pod several ports, one must do for all: of those that are ready the lowest, else the lowest.
    """
    rows: dict[LocalBackendKey, int] = {}
    for candidate in sorted(candidates, key=lambda each: (not each.endpoint.ready, each.key.port)):
        place = backends.get(candidate.key)
        if place is not None:
            rows.setdefault(LocalBackendKey(service_id, candidate.key.address), place.backend_id)
    return rows
