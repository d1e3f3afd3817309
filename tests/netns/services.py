"""Services of the traffic tests as values, and the folder of manifests that the agents watch.

Spec -> documents -> one YAML file a Service, replaced in one step -> the agents' watch

Every backend is a pod of the lab. A Service offers TCP 80 and UDP 53.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ebpflb.bench.topology import Lab, Pod
from tests.netns.lab_agents import TCP_PORT, UDP_PORT

NAMESPACE = "traffic"
FRONT_TCP_PORT = 80
FRONT_UDP_PORT = 53


@dataclass(frozen=True, slots=True)
class Spec:
    """One Service with its backends."""

    name: str
    number: int
    """Its addresses and NodePorts follow from it: 10.96.5.N, 203.0.113.N, 198.51.100.N, 30000 + N, 31000 + N."""
    backends: tuple[Pod, ...] = ()
    draining: tuple[Pod, ...] = ()
    """Terminating, and still serving."""
    affinity_seconds: int = 0
    """0: no affinity."""
    external_local: bool = False
    internal_local: bool = False
    tcp_port: int = TCP_PORT
    """Of the backends: two Services with the same pods and ports share their backends."""
    udp_port: int = UDP_PORT

    @property
    def cluster_ip(self) -> str:
        """The ClusterIP."""
        return f"10.96.5.{self.number}"

    @property
    def external_ip(self) -> str:
        """The externalIP (of TEST-NET-3)."""
        return f"203.0.113.{self.number}"

    @property
    def balancer_ip(self) -> str:
        """The load-balancer IP (of TEST-NET-2)."""
        return f"198.51.100.{self.number}"

    def node_port(self, kind: str) -> int:
        """Return the NodePort for a kind of call: ``tcp`` or one of the ``udp`` kinds."""
        return (30000 if kind == "tcp" else 31000) + self.number

    def documents(self) -> Iterator[dict[str, Any]]:
        """Return the Service and its EndpointSlice."""
        yield {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"namespace": NAMESPACE, "name": self.name},
            "spec": self._spec(),
            "status": {"loadBalancer": {"ingress": [{"ip": self.balancer_ip}]}},
        }
        yield {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "namespace": NAMESPACE,
                "name": f"{self.name}-1",
                "labels": {"kubernetes.io/service-name": self.name},
            },
            "addressType": "IPv4",
            "ports": [
                {"name": "tcp", "protocol": "TCP", "port": self.tcp_port},
                {"name": "udp", "protocol": "UDP", "port": self.udp_port},
            ],
            "endpoints": [
                *(_endpoint(pod, ready=True) for pod in self.backends),
                *(_endpoint(pod, ready=False) for pod in self.draining),
            ],
        }

    def _spec(self) -> dict[str, Any]:
        spec: dict[str, Any] = {
            "type": "LoadBalancer",
            "clusterIP": self.cluster_ip,
            "clusterIPs": [self.cluster_ip],
            "ipFamilies": ["IPv4"],
            "externalIPs": [self.external_ip],
            "externalTrafficPolicy": "Local" if self.external_local else "Cluster",
            "internalTrafficPolicy": "Local" if self.internal_local else "Cluster",
            "ports": [
                {"name": name, "protocol": name.upper(), "port": port, "nodePort": self.node_port(name)}
                for name, port in (("tcp", FRONT_TCP_PORT), ("udp", FRONT_UDP_PORT))
            ],
        }
        if self.affinity_seconds:
            spec["sessionAffinity"] = "ClientIP"
            spec["sessionAffinityConfig"] = {"clientIP": {"timeoutSeconds": self.affinity_seconds}}
        return spec


def _endpoint(pod: Pod, *, ready: bool) -> dict[str, Any]:
    return {
        "addresses": [pod.address],
        "nodeName": f"node-{pod.node}",
        "conditions": {"ready": ready, "serving": True, "terminating": not ready},
    }


class Manifests:
    """The folder that the agents of a lab watch."""

    def __init__(self, folder: Path, lab: Lab) -> None:
        """Write the Nodes."""
        self.folder = folder
        self._write(
            "nodes",
            [
                {
                    "apiVersion": "v1",
                    "kind": "Node",
                    "metadata": {"name": node.name},
                    "status": {"addresses": [{"type": "InternalIP", "address": node.address}]},
                }
                for node in lab.nodes
            ],
        )

    def put(self, spec: Spec) -> None:
        """Write a Service and its backends, in one step."""
        self._write(spec.name, list(spec.documents()))

    def remove(self, spec: Spec) -> None:
        """Remove a Service."""
        (self.folder / f"{spec.name}.yaml").unlink()

    def _write(self, name: str, documents: Sequence[dict[str, Any]]) -> None:
        # Beside the folder, not in it: agents must never read half a file.
        aside = self.folder.with_name(f"{self.folder.name}.{name}.new")
        aside.write_text(yaml.safe_dump_all(documents, sort_keys=False), encoding="utf-8")
        aside.replace(self.folder / f"{name}.yaml")
