"""What a run makes in a cluster of the user's: a namespace with Services that select nothing, and their slices. Pure.

Decides names, labels and addresses. An API server gives each Service its ClusterIP; the endpoints' addresses are those
of ``apiserver_objects.py``, where nobody listens.

    number of a Service --> JSON of its Service, its EndpointSlice, a change of that one
"""

import json
from typing import Any, Final

from ebpflb.bench.apiserver_objects import SERVICE_PORT, TARGET_PORT, endpoint_addresses, service_name

NAMESPACES: Final = "/api/v1/namespaces"
EVENTS: Final = "/apis/events.k8s.io/v1/namespaces/default/events"
"""Of what is in no namespace, such as Nodes."""
_MANAGER: Final = "ebpflb-bench"
_LABELS: Final = {"app.kubernetes.io/managed-by": _MANAGER}


def services_path(namespace: str) -> str:
    """Return the collection of Services."""
    return f"{NAMESPACES}/{namespace}/services"


def slices_path(namespace: str) -> str:
    """Return the collection of EndpointSlices."""
    return f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"


def namespace_json(name: str) -> bytes:
    """Return a v1 Namespace."""
    return _encoded({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": _LABELS}})


def cluster_service_json(number: int, namespace: str) -> bytes:
    """Return a v1 Service, IPv4, without selector: nobody but the run writes its endpoints."""
    metadata = {"name": service_name(number), "namespace": namespace, "labels": _LABELS}
    ports = [{"name": "http", "protocol": "TCP", "port": SERVICE_PORT, "targetPort": TARGET_PORT}]
    spec = {"type": "ClusterIP", "ipFamilyPolicy": "SingleStack", "ipFamilies": ["IPv4"], "ports": ports}
    return _encoded({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})


def cluster_slice_json(number: int, endpoints: int, namespace: str) -> bytes:
    """Return a discovery.k8s.io/v1 EndpointSlice."""
    name = service_name(number)
    labels = {
        "kubernetes.io/service-name": name,
        "endpointslice.kubernetes.io/managed-by": _MANAGER,
        **_LABELS,
    }
    return _encoded(
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": name, "namespace": namespace, "labels": labels},
            "addressType": "IPv4",
            "ports": [{"name": "http", "protocol": "TCP", "port": TARGET_PORT}],
            "endpoints": _endpoints(number, endpoints, is_changed=False),
        }
    )


def slice_change_json(number: int, endpoints: int, *, is_changed: bool) -> bytes:
    """Return the merge patch that exchanges the first endpoint, or brings it back."""
    return _encoded({"endpoints": _endpoints(number, endpoints, is_changed=is_changed)})


def _endpoints(number: int, endpoints: int, *, is_changed: bool) -> list[dict[str, Any]]:
    addresses = endpoint_addresses(number, endpoints, is_changed=is_changed)
    return [{"addresses": [address], "conditions": {"ready": True}} for address in addresses]


def _encoded(document: dict[str, Any]) -> bytes:
    return json.dumps(document).encode()
