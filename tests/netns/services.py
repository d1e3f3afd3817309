"""Services of the traffic tests as values, and the folder of manifests that the agents watch.

Spec -> documents -> one YAML file a Service, replaced in one step -> the agents' watch

Every backend is a pod of the lab. A Service offers TCP 80 and UDP 53, in every family of the lab at once.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import yaml

from ebpflb.bench.addresses import pod_network
from ebpflb.bench.topology import Lab, Pod
from ebpflb.core.abi import Family
from tests.netns.lab_agents import TCP_PORT, UDP_PORT

NAMESPACE = "traffic"
FRONT_TCP_PORT = 80
FRONT_UDP_PORT = 53
NAMES = {Family.IPV4: "IPv4", Family.IPV6: "IPv6"}
CLUSTER_NETWORKS = {Family.IPV4: "10.96.5.0/24", Family.IPV6: "fd00:10:96::500/120"}
EXTERNAL_NETWORKS = {Family.IPV4: "203.0.113.0/24", Family.IPV6: "2001:db8:113::/64"}
BALANCER_NETWORKS = {Family.IPV4: "198.51.100.0/24", Family.IPV6: "2001:db8:100::/64"}
"""For documentation (RFC 5737, RFC 3849)."""


_EXTERNAL_NAME = {"type": "ExternalName", "externalName": "elsewhere.example"}


def host_in(network: str, number: int) -> str:
    """Return a host's address in a network."""
    return str(ip_network(network)[number])


@dataclass(frozen=True, slots=True)
class Spec:
    """One Service with its backends."""

    name: str
    number: int
    """Its addresses and NodePorts follow from it: 10.96.5.N, 203.0.113.N, 198.51.100.N, 30000 + N, 31000 + N; of
    IPv6 they are host number N in networks that mirror these."""
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
    families: tuple[Family, ...] = ()
    """Empty: those of the lab."""
    slices_of: tuple[Family, ...] = ()
    """In which families there are backends; empty: in all of the Service's."""
    kind: str = "LoadBalancer"
    """The Service's type."""
    source_ranges: tuple[str, ...] = ()
    """Who may use the load-balancer IPs."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Of the Service, and of its slices, as the slice controller copies them."""

    def cluster_ip(self, family: Family) -> str:
        """Return the ClusterIP."""
        return host_in(CLUSTER_NETWORKS[family], self.number)

    def external_ip(self, family: Family) -> str:
        """Return the externalIP."""
        return host_in(EXTERNAL_NETWORKS[family], self.number)

    def balancer_ip(self, family: Family) -> str:
        """Return the load-balancer IP."""
        return host_in(BALANCER_NETWORKS[family], self.number)

    def node_port(self, kind: str) -> int:
        """Return the NodePort for a kind of call: ``tcp`` or one of the ``udp`` kinds."""
        return (30000 if kind == "tcp" else 31000) + self.number

    def documents(self, families: Sequence[Family]) -> Iterator[dict[str, Any]]:
        """Return the Service and its EndpointSlices, one a family; the lab's families are given."""
        families = self.families or families
        yield {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"namespace": NAMESPACE, "name": self.name, "labels": dict(self.labels)},
            "spec": _EXTERNAL_NAME if self.kind == "ExternalName" else self._spec(families),
            "status": {"loadBalancer": {"ingress": self._ingress(families)}},
        }
        yield from (self._slice(family) for family in self.slices_of or families)

    def _ingress(self, families: Sequence[Family]) -> list[dict[str, str]]:
        return [{"ip": self.balancer_ip(family)} for family in families] if self.kind == "LoadBalancer" else []

    def _slice(self, family: Family) -> dict[str, Any]:
        return {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "namespace": NAMESPACE,
                "name": f"{self.name}-{family.value}",
                "labels": {"kubernetes.io/service-name": self.name, **self.labels},
            },
            "addressType": NAMES[family],
            "ports": [
                {"name": "tcp", "protocol": "TCP", "port": self.tcp_port},
                {"name": "udp", "protocol": "UDP", "port": self.udp_port},
            ],
            "endpoints": [
                *(_endpoint(pod, family, ready=True) for pod in self.backends),
                *(_endpoint(pod, family, ready=False) for pod in self.draining),
            ],
        }

    def _spec(self, families: Sequence[Family]) -> dict[str, Any]:
        cluster_ips = [self.cluster_ip(family) for family in families]
        spec: dict[str, Any] = {
            "type": self.kind,
            "clusterIP": cluster_ips[0],
            "clusterIPs": cluster_ips,
            "ipFamilies": [NAMES[family] for family in families],
            "ipFamilyPolicy": "SingleStack" if len(families) == 1 else "RequireDualStack",
            "externalIPs": [self.external_ip(family) for family in families],
            "externalTrafficPolicy": "Local" if self.external_local else "Cluster",
            "internalTrafficPolicy": "Local" if self.internal_local else "Cluster",
            "loadBalancerSourceRanges": list(self.source_ranges),
            "ports": [
                {"name": name, "protocol": name.upper(), "port": port, **self._node_port(name)}
                for name, port in (("tcp", FRONT_TCP_PORT), ("udp", FRONT_UDP_PORT))
            ],
        }
        if self.affinity_seconds:
            spec["sessionAffinity"] = "ClientIP"
            spec["sessionAffinityConfig"] = {"clientIP": {"timeoutSeconds": self.affinity_seconds}}
        return spec

    def _node_port(self, name: str) -> dict[str, int]:
        return {} if self.kind == "ClusterIP" else {"nodePort": self.node_port(name)}


def _endpoint(pod: Pod, family: Family, *, ready: bool) -> dict[str, Any]:
    return {
        "addresses": [pod.address_of(family)],
        "nodeName": f"node-{pod.node}",
        "conditions": {"ready": ready, "serving": True, "terminating": not ready},
    }


def standing_specs(lab: Lab) -> dict[str, Spec]:
    """Return the Services that most tests use."""
    local, remote = lab.pod(1, 3), (lab.pod(2, 1), lab.pod(2, 2))
    specs = [
        Spec("local", 1, (local,)),
        Spec("remote", 2, remote[:1]),
        Spec("spread", 3, (local, *remote)),
        Spec("nobody", 4),
        Spec("self-covered", 5, (lab.pod(1, 1),)),
        Spec("self-uncovered", 6, (lab.pod(1, 2),)),
        Spec("external-local", 7, (local, *remote), external_local=True),
        Spec("internal-local", 8, (local, *remote), internal_local=True),
        Spec("local-elsewhere", 9, remote, external_local=True, internal_local=True),
        Spec("remote-twin", 10, remote[:1]),
        Spec("local-twin", 11, (local,)),
        Spec("local-here", 12, (local,), external_local=True, internal_local=True),
        Spec("self-neighbour", 13, remote[1:]),
    ]
    return {spec.name: spec for spec in specs}


class Manifests:
    """The folder that the agents of a lab watch."""

    def __init__(self, folder: Path, lab: Lab) -> None:
        """Write the Nodes."""
        self.folder = folder
        self._families = lab.plan.families
        self.write(
            "nodes",
            [
                {
                    "apiVersion": "v1",
                    "kind": "Node",
                    "metadata": {"name": node.name},
                    "spec": {"podCIDRs": [pod_network(node.number, family) for family in self._families]},
                    "status": {"addresses": [{"type": "InternalIP", "address": each} for each in node.addresses]},
                }
                for node in lab.nodes
            ],
        )

    def put(self, spec: Spec) -> None:
        """Write a Service and its backends, in one step."""
        self.write(spec.name, list(spec.documents(self._families)))

    def remove(self, spec: Spec) -> None:
        """Remove a Service."""
        (self.folder / f"{spec.name}.yaml").unlink()

    def write(self, name: str, documents: Sequence[dict[str, Any]]) -> None:
        """Write objects of any kind into a file of their own, in one step."""
        # Beside the folder, not in it: agents must never read half a file.
        aside = self.folder.with_name(f"{self.folder.name}.{name}.new")
        aside.write_text(yaml.safe_dump_all(documents, sort_keys=False), encoding="utf-8")
        aside.replace(self.folder / f"{name}.yaml")
