"""Decides what of a Node matters: its zone, its addresses, its pods' prefixes, whether it is about to go.

Knows no other node, and no interface of this machine.

RawNode --> Node, or FieldError
"""

from ebpflb.core import fields
from ebpflb.core.metadata import ZONE_LABEL
from ebpflb.core.model import Node
from ebpflb.core.schema import RawNode, RawNodeMetadata

LEAVING_TAINT = "ToBeDeletedByClusterAutoscaler"
"""Whatever its value and effect (KEP-3836)."""


def read_node(raw: RawNode) -> Node:
    """Return the Node; InternalIPs come before ExternalIPs."""
    metadata = raw.metadata or RawNodeMetadata()
    listed = list(enumerate((raw.status.addresses if raw.status else None) or ()))
    addresses = [
        fields.address(f"status.addresses[{at}].address", entry.address)
        for wanted in ("InternalIP", "ExternalIP")
        for at, entry in listed
        if entry.type == wanted
    ]
    cidrs: list[str] = []
    taints: set[str | None] = set()
    if raw.spec:
        taints = {taint.key for taint in raw.spec.taints or ()}
        cidrs = raw.spec.pod_cidrs or [raw.spec.pod_cidr or ""]
    return Node(
        name=fields.object_name("metadata.name", metadata.name),
        zone=(metadata.labels or {}).get(ZONE_LABEL, ""),
        addresses=tuple(dict.fromkeys(addresses)),
        is_eligible=not metadata.deletion_timestamp and LEAVING_TAINT not in taints,
        pod_cidrs=tuple(fields.prefix(f"spec.podCIDRs[{at}]", cidr) for at, cidr in enumerate(cidrs) if cidr),
    )
