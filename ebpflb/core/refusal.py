"""Decides what of a Service is not served yet, whatever else is in the cluster; it is refused in words, never ignored.

Knows one Service; knows nothing of who else claims its frontends, nor of what fits into the maps.

    Service --is_served, is_open--> expand.py          Service --unserved--> Refusals --> status
"""

from collections.abc import Iterator
from dataclasses import dataclass

from ebpflb.core.abi import Family, Protocol
from ebpflb.core.model import Service, ServicePort


@dataclass(frozen=True, slots=True)
class Refusal:
    """What of a Service is not programmed, why, and what would help. The rest of the cluster is unaffected."""

    service: str
    """``namespace/name``."""
    field: str
    reason: str
    remedy: str


def service_text(service: Service) -> str:
    """Return ``namespace/name``."""
    return f"{service.namespace}/{service.name}"


def is_served(port: ServicePort) -> bool:
    """Return whether some program answers this protocol."""
    return port.protocol is not Protocol.SCTP


def is_open(service: Service, family: Family) -> bool:
    """Return whether every client may use the load-balancer IPs of a family. Prefixes of the other one say nothing."""
    return not any((":" in text) is (family is Family.IPV6) for text in service.source_ranges)


def unserved(service: Service, family: Family) -> Iterator[Refusal]:
    """Yield what ``expand_service`` leaves out of a Service that has a ClusterIP of the family."""
    if not any(len(address) == family.address_bytes for address in service.cluster_ips):
        return
    who = service_text(service)
    for at, port in enumerate(service.ports):
        if not is_served(port):
            remedy = "remove the port, or keep such Services with kube-proxy"
            yield Refusal(who, f"spec.ports[{at}].protocol", f"{port.protocol.name} is not served yet", remedy)
    has_addresses = any(len(address) == family.address_bytes for address in service.load_balancer_ips)
    if has_addresses and not is_open(service, family):
        yield Refusal(
            who,
            "spec.loadBalancerSourceRanges",
            "not enforced yet, so its load-balancer IPs are not served",
            "remove the ranges, or keep such Services with kube-proxy",
        )
