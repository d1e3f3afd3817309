"""What is asked of the API server, and by which selectors (semantics §1.1)."""

from typing import Any

import pytest

from ebpflb.core.manifest import Invisible
from ebpflb.core.model import Service
from ebpflb.kube.resources import watched_resources
from ebpflb.reconcile.ports import Kind
from tests.kube.objects import make_service

RESOURCES = {resource.kind: resource for resource in watched_resources("node-1")}


@pytest.mark.parametrize(
    ("kind", "path", "selectors"),
    [
        (Kind.SERVICE, "/api/v1/services", {"labelSelector": "!service.kubernetes.io/service-proxy-name"}),
        (
            Kind.ENDPOINT_SLICE,
            "/apis/discovery.k8s.io/v1/endpointslices",
            {"labelSelector": "!service.kubernetes.io/headless"},
        ),
        (Kind.NODE, "/api/v1/nodes", {"fieldSelector": "metadata.name=node-1"}),
        (Kind.POD, "/api/v1/pods", {"fieldSelector": "spec.nodeName=node-1"}),
        (Kind.SERVICE_CIDR, "/apis/networking.k8s.io/v1/servicecidrs", {}),
    ],
)
def test_every_kind_is_asked_for_with_its_selectors(kind: Kind, path: str, selectors: dict[str, str]) -> None:
    assert (RESOURCES[kind].path, RESOURCES[kind].selectors) == (path, selectors)
    assert RESOURCES[kind].is_optional is (kind is Kind.SERVICE_CIDR)


def test_every_kind_is_watched() -> None:
    assert set(RESOURCES) == set(Kind)


@pytest.mark.parametrize("spec", [{"clusterIP": "None"}, {"clusterIP": ""}, {"type": "ExternalName"}])
def test_what_no_selector_leaves_out_is_left_out_here(spec: dict[str, Any]) -> None:
    convert = RESOURCES[Kind.SERVICE].convert
    assert isinstance(convert(make_service("web", **{"clusterIP": "10.96.0.10", **spec})), Invisible)
    assert isinstance(convert(make_service("web", clusterIP="10.96.0.10")), Service)
