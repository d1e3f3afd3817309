"""Decides what is said of a Service that asks for something nobody understands; the rest of it is served all the same.

Knows one Service; knows nothing of others.

    Service --misread--> Refusals
"""

from collections.abc import Iterable, Iterator
from itertools import chain

from ebpflb.core.abi import Family
from ebpflb.core.forwarding import unknown_forwarding
from ebpflb.core.model import Service
from ebpflb.core.options import Options
from ebpflb.core.refusal import Refusal
from ebpflb.core.source_ranges import SourceRanges


def misread(service: Service, family: Family, options: Options) -> Iterator[Refusal]:
    """Yield what a Service says and nobody understands."""
    if not _has_address(service.cluster_ips, family):
        return
    yield from unknown_forwarding(service, options)
    if service.source_ranges and _has_address(service.load_balancer_ips, family):
        yield from SourceRanges.of(service, family, ()).refusals(service)


def in_order(refusals: Iterable[Iterable[Refusal]]) -> list[Refusal]:
    """Return what is said of all Services, each of which has some, in the order in which it is shown."""
    return sorted(chain.from_iterable(refusals), key=lambda refusal: (refusal.service, refusal.field))


def _has_address(addresses: Iterable[bytes], family: Family) -> bool:
    return any(len(address) == family.address_bytes for address in addresses)
