"""Who asks for a health check, and what is found on this node: semantics §1.12 and §1.13, rule by rule."""

from typing import Any

import pytest

from ebpflb.core.manifest import convert_node, convert_service, convert_slice
from ebpflb.core.model import EndpointSlice, Node, Service
from ebpflb.errors import ObjectError


def load_balancer(**spec: Any) -> Any:
    spec = {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": 32000, **spec}
    spec = {"clusterIP": "10.96.0.10", "ports": [{"port": 80}], **spec}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "shop"}, "spec": spec}


def a_node(metadata: dict[str, Any] | None = None, taints: list[Any] | None = None) -> Node:
    document = {"metadata": {"name": "n1", **(metadata or {})}, "spec": {"taints": taints}}
    return convert_node({"apiVersion": "v1", "kind": "Node", **document})


class TestReading:
    @pytest.mark.parametrize(
        ("spec", "port"),
        [
            ({}, 32000),
            ({"healthCheckNodePort": 0}, 0),
            ({"healthCheckNodePort": None}, 0),
            ({"externalTrafficPolicy": "Cluster"}, 0),
            ({"externalTrafficPolicy": None}, 0),
            ({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]}, 0),
            ({"type": "ClusterIP", "externalIPs": ["192.0.2.1"]}, 0),
        ],
    )
    def test_only_load_balancers_with_local_policy_have_a_port(self, spec: dict[str, Any], port: int) -> None:
        found = convert_service(load_balancer(**spec))
        assert isinstance(found, Service)
        assert found.health_check_node_port == port

    def test_a_port_that_is_none_is_refused(self) -> None:
        with pytest.raises(ObjectError, match=r"spec\.healthCheckNodePort: 70000 is not a port"):
            convert_service(load_balancer(healthCheckNodePort=70000))

    @pytest.mark.parametrize(
        ("metadata", "taints", "eligible"),
        [
            ({}, None, True),
            ({}, [], True),
            ({}, [{"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"}], True),
            ({}, [{"key": "x"}, {"key": "ToBeDeletedByClusterAutoscaler"}], False),
            ({}, [{"key": "ToBeDeletedByClusterAutoscaler", "value": "1", "effect": "NoSchedule"}], False),
            ({"deletionTimestamp": "2026-01-02T03:04:05Z"}, None, False),
            ({"deletionTimestamp": None}, [{}], True),
        ],
    )
    def test_a_node_about_to_go_is_not_eligible(
        self, metadata: dict[str, Any], taints: list[Any] | None, eligible: bool
    ) -> None:
        assert a_node(metadata, taints).is_eligible is eligible

    @pytest.mark.parametrize("text", ["2026-01-02T03:04:05.123456Z", "yesterday", ""])
    def test_the_trigger_time_is_kept_as_written(self, text: str) -> None:
        metadata = {
            "name": "web-1",
            "namespace": "shop",
            "labels": {"kubernetes.io/service-name": "web"},
            "annotations": {"endpoints.kubernetes.io/last-change-trigger-time": text},
        }
        found = convert_slice(
            {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": metadata, "addressType": "IPv4"}
        )
        assert isinstance(found, EndpointSlice)
        assert found.triggered_at == text
