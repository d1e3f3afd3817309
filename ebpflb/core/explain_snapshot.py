"""Decides what a node would have in its maps that knows this snapshot: the rows that ``explain`` reads offline.

Knows objects and options; knows no file, and no map's size: what does not fit a map is the running node's trouble.

    Snapshot, Options --index_of--> Index, Refusals --> explain.decide
"""

from collections.abc import Iterator
from dataclasses import dataclass

from ebpflb.core.abi import Family
from ebpflb.core.compile import Allocation, Limits, Refusal, compile_tables
from ebpflb.core.explain_index import HealthServer, Index
from ebpflb.core.health import health_addresses
from ebpflb.core.model import Snapshot, family_of
from ebpflb.core.options import Options
from ebpflb.core.refusal import service_text
from ebpflb.core.source_ranges import parse_prefix
from ebpflb.core.tables import Prefix

_MANY = 1 << 30
_BOUNDLESS = Limits(
    frontends=_MANY,
    backends=_MANY,
    services=_MANY,
    slots=_MANY,
    members=_MANY,
    local_backends=_MANY,
    source_ranges=_MANY,
)


@dataclass(frozen=True, slots=True)
class Indexed:
    """One family of a snapshot."""

    index: Index
    refused: tuple[Refusal, ...]


def index_of(snapshot: Snapshot, family: Family, options: Options) -> Indexed:
    """Compile a snapshot as the agent would, and arrange it for look-ups."""
    compiled = compile_tables(snapshot, family, Allocation(), _BOUNDLESS, options=options)
    index = Index(compiled.tables, _health_servers(snapshot, family, options), _pods_here(snapshot, family))
    return Indexed(index, compiled.refused)


def _health_servers(snapshot: Snapshot, family: Family, options: Options) -> dict[int, HealthServer]:
    """Return the health-check servers by their ports. A family that a Service lacks is answered where the server
    listens everywhere.
    """
    addresses = frozenset(health_addresses(snapshot, family, options))
    is_everywhere = bytes(family.address_bytes) in addresses
    return {
        service.health_check_node_port: HealthServer(service_text(service), addresses)
        for service in snapshot.services.values()
        if service.health_check_node_port
        and (is_everywhere or any(family_of(each) is family for each in service.cluster_ips))
    }


def _pods_here(snapshot: Snapshot, family: Family) -> Iterator[Prefix]:
    """Yield where pods of this node are: its networks for pods, and the endpoints that name it."""
    node = snapshot.node
    prefixes = (parse_prefix(cidr) for cidr in node.pod_cidrs)
    yield from (prefix for prefix in prefixes if prefix is not None and family_of(prefix.address) is family)
    for each in snapshot.slices.values():
        if each.family is family:
            here = (endpoint.address for endpoint in each.endpoints if node.name and endpoint.node_name == node.name)
            yield from (Prefix(address, 8 * len(address)) for address in here)
