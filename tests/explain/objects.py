"""Raw manifests and what is read out of them field by field, by the rules' text alone.

Imports nothing of ebpflb: generator and reference share it, what is tested does not.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

Manifest = dict[str, Any]
Address = IPv4Address | IPv6Address

PROXY_NAME = "service.kubernetes.io/service-proxy-name"
HEADLESS = "service.kubernetes.io/headless"
SERVICE_NAME = "kubernetes.io/service-name"
ZONE = "topology.kubernetes.io/zone"


@dataclass(frozen=True)
class Cluster:
    """What ``ebpflb explain`` is given."""

    manifests: list[Manifest]
    config: Manifest
    """A KubeProxyConfiguration."""
    node: str
    node_addresses: list[str] = field(default_factory=list)
    flows: list[Manifest] = field(default_factory=list)

    def of_kind(self, kind: str) -> list[Manifest]:
        return [each for each in self.manifests if each["kind"] == kind]

    def own_node(self) -> Manifest:
        return next(each for each in self.of_kind("Node") if each["metadata"]["name"] == self.node)


def visible_services(cluster: Cluster) -> Iterator[Manifest]:
    """1.1: those that are this proxy's."""
    for service in cluster.of_kind("Service"):
        labels = service["metadata"].get("labels", {})
        first = (cluster_ips(service) or [""])[0]
        if PROXY_NAME in labels or HEADLESS in labels or service["spec"].get("type") == "ExternalName":
            continue
        if first not in ("", "None"):
            yield service


def cluster_ips(service: Manifest) -> list[str]:
    spec = service["spec"]
    return [text for text in spec.get("clusterIPs") or [spec.get("clusterIP", "")] if text]


def vips(service: Manifest) -> list[str]:
    ingress = service.get("status", {}).get("loadBalancer", {}).get("ingress", [])
    return [each["ip"] for each in ingress if each.get("ip") and each.get("ipMode", "VIP") == "VIP"]


def object_addresses(cluster: Cluster) -> list[str]:
    listed = cluster.own_node()["status"]["addresses"]
    return [each["address"] for kind in ("InternalIP", "ExternalIP") for each in listed if each["type"] == kind]


@cache
def sloppy(text: str) -> Address:
    """1.2: leading zeros are decimal."""
    text = text.strip()
    return ip_address(text if ":" in text else ".".join(str(int(part)) for part in text.split(".")))
