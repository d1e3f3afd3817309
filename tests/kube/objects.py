"""Small valid objects for the tests of both sources."""

from typing import Any

from tests.kube.store import Object


def make_service(
    name: str, namespace: str = "demo", *, labels: Any = None, annotations: Any = None, **spec: Any
) -> Object:
    """Return a Service without a cluster IP, which an API server allocates; pass ``clusterIP`` where none does."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace, "labels": labels or {}, "annotations": annotations or {}},
        "spec": {"ports": [{"name": "http", "port": 80, "protocol": "TCP"}], **spec},
    }


def make_slice(
    name: str, namespace: str = "demo", *, service: str = "web", labels: Any = None, **fields: Any
) -> Object:
    """Return an EndpointSlice with one endpoint."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {"kubernetes.io/service-name": service, **(labels or {})},
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": [{"addresses": ["10.244.1.11"]}],
        **fields,
    }


def make_node(name: str) -> Object:
    """Return a Node with one address."""
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name},
        "spec": {"podCIDRs": ["10.244.1.0/24"]},
        "status": {"addresses": [{"type": "InternalIP", "address": "192.168.100.1"}]},
    }


def make_service_cidr(name: str, *cidrs: str) -> Object:
    """Return a ServiceCIDR."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "ServiceCIDR",
        "metadata": {"name": name},
        "spec": {"cidrs": list(cidrs)},
    }


def make_pod(
    name: str, namespace: str = "demo", *, node: str = "node-1", uid: str = "", annotations: Any = None, **spec: Any
) -> Object:
    """Return a Pod of one container, bound to a node; without a UID, which an API server makes."""
    containers = [{"name": "main", "image": "registry.k8s.io/pause:3.9"}]
    given = {"uid": uid} if uid else {}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "annotations": annotations or {}, **given},
        "spec": {"nodeName": node, "containers": containers, **spec},
    }
