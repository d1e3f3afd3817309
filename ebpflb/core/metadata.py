"""What all kinds share: names, the labels and annotations that mean something to a proxy, and "not for this proxy".

Knows no kind of object.

    metadata --> key | Invisible
"""

from dataclasses import dataclass
from sys import intern

from ebpflb.core import fields
from ebpflb.core.model import ObjectKey
from ebpflb.core.schema import Metadata

PROXY_NAME_LABEL = "service.kubernetes.io/service-proxy-name"
HEADLESS_LABEL = "service.kubernetes.io/headless"
SERVICE_NAME_LABEL = "kubernetes.io/service-name"
ZONE_LABEL = "topology.kubernetes.io/zone"
ALGORITHM_ANNOTATION = "ebpflb.io/algorithm"
FORWARDING_ANNOTATION = "ebpflb.io/forwarding"
TRIGGER_ANNOTATION = "endpoints.kubernetes.io/last-change-trigger-time"
DEFAULT_NAMESPACE = "default"

NO_METADATA = Metadata()


@dataclass(frozen=True, slots=True)
class Invisible:
    """An object that is in order, but not for this proxy. If it was served before, it is gone now."""

    kind: str
    namespace: str
    name: str
    reason: str

    @property
    def key(self) -> ObjectKey:
        """(namespace, name)."""
        return (self.namespace, self.name)


def object_key(metadata: Metadata) -> ObjectKey:
    """Return (namespace, name), with the namespace that ``kubectl apply`` would take. Each is kept once for all."""
    namespace = fields.label("metadata.namespace", metadata.namespace or DEFAULT_NAMESPACE)
    return intern(namespace), intern(fields.object_name("metadata.name", metadata.name))
