"""Which objects of the API server are watched, with which selectors, and how each kind is read.

The label selector of Services is kube-proxy's newer one; a Service that gets the label looks deleted, one that loses it
looks added. kube-proxy's field selector spec.clusterIP!=None is left out: old API servers answer it with an error,
and reading the object decides the same (headless, ExternalName: ``Invisible``, delivered as a deletion). The
headless label hides a Service here as it did in kube-proxy up to 1.33; later ones know it, without endpoints: refused
or dropped, nobody gets an answer there. Pods are asked for as kubelet does, by the node's name.

    node name --> Resource(kind, path, selectors, convert) --> reflector.py
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ebpflb.core.manifest import (
    Document,
    Invisible,
    convert_node,
    convert_pod,
    convert_service,
    convert_service_cidr,
    convert_slice,
)
from ebpflb.core.metadata import HEADLESS_LABEL, PROXY_NAME_LABEL
from ebpflb.reconcile.ports import Kind, ModelObject


@dataclass(frozen=True, slots=True)
class Resource:
    """One collection to list and watch."""

    kind: Kind
    path: str
    selectors: Mapping[str, str]
    convert: Callable[[Document], ModelObject | Invisible]
    complaint_when_empty: str = ""
    """What is wrong when the collection has no object; "": nothing."""
    is_optional: bool = False
    """An API server that does not serve the collection, or has never let us see it, has no object of it."""


def watched_resources(node_name: str) -> tuple[Resource, ...]:
    """Return the collections of this node's agent."""
    return (
        Resource(Kind.SERVICE, "/api/v1/services", {"labelSelector": f"!{PROXY_NAME_LABEL}"}, convert_service),
        Resource(
            Kind.ENDPOINT_SLICE,
            "/apis/discovery.k8s.io/v1/endpointslices",
            {"labelSelector": f"!{HEADLESS_LABEL}"},
            convert_slice,
        ),
        Resource(
            Kind.NODE,
            "/api/v1/nodes",
            {"fieldSelector": f"metadata.name={node_name}"},
            convert_node,
            f"the cluster has no Node {node_name}; give this machine's Node name with --node-name",
        ),
        Resource(
            Kind.SERVICE_CIDR,
            "/apis/networking.k8s.io/v1/servicecidrs",
            {},
            convert_service_cidr,
            is_optional=True,
        ),
        Resource(Kind.POD, "/api/v1/pods", {"fieldSelector": f"spec.nodeName={node_name}"}, convert_pod),
    )
