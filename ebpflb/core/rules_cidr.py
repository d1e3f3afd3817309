"""Decides what a ServiceCIDR says: the ranges that ClusterIPs are taken from.

Knows no Service; what becomes of an address that no Service has is decided where tables are compiled.

RawServiceCIDR --> ServiceCIDR, or FieldError
"""

from ebpflb.core import fields
from ebpflb.core.decode import FieldError
from ebpflb.core.metadata import NO_METADATA
from ebpflb.core.model import ServiceCIDR
from ebpflb.core.schema import RawServiceCIDR


def read_service_cidr(raw: RawServiceCIDR) -> ServiceCIDR:
    """Return the ServiceCIDR. Its conditions do not matter: one that is being deleted still has Services."""
    metadata = raw.metadata or NO_METADATA
    name = fields.object_name("metadata.name", metadata.name)
    listed = enumerate((raw.spec.cidrs if raw.spec else None) or ())
    return ServiceCIDR(name, tuple(dict.fromkeys(_range(f"spec.cidrs[{at}]", text) for at, text in listed)))


def _range(path: str, text: str) -> str:
    """Return a prefix in its canonical text. One that covers every address would have every packet dropped."""
    prefix = fields.prefix(path, text)
    if prefix.endswith("/0"):
        raise FieldError(path, f"{prefix} is every address there is", "give the range of the cluster's ClusterIPs")
    return prefix
