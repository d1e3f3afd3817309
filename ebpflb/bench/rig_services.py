"""Which Services the rig has: as kube-proxy's rules want them, and as manifests. Pure.

how many, backends --make_services--> PeerService... --manifests--> the text of a JSON file
                                                     --addresses--> whom a client dials
"""

import json
import random
from collections.abc import Iterable, Sequence
from ipaddress import ip_address
from typing import Any, Final

from ebpflb.bench.rulesets import PeerService

PORT: Final = 80
_FIRST_ADDRESS: Final = ip_address("10.97.0.0")
_NAMESPACE: Final = "bench"


def make_services(count: int, endpoints: Sequence[tuple[str, int]], protocol: str = "tcp") -> list[PeerService]:
    """Return so many Services, all with these endpoints (address, port)."""
    return [
        PeerService(f"{_NAMESPACE}/s{number}:main", service_address(number), PORT, tuple(endpoints), protocol)
        for number in range(count)
    ]


def service_address(number: int) -> str:
    """Return the ClusterIP of a Service by its number, from 0."""
    return str(_FIRST_ADDRESS + number)


def addresses(services: Sequence[PeerService], most: int) -> list[str]:
    """Return whom to dial, as ``ADDRESS:PORT``: so many Services from all over, in an order without rule.

    The first would be kind to iptables, the last unkind: kube-proxy's rules are as long as the way to a Service.
    """
    order = random.Random(len(services))  # noqa: S311 - the same in every run and mode, and no secret
    middles = [len(services) * (2 * place + 1) // (2 * most) for place in range(most)]
    some = [services[place] for place in sorted(set(middles))]
    return [f"{each.address}:{each.port}" for each in order.sample(some, len(some))]


def manifests(services: Iterable[PeerService], node_of: dict[str, str]) -> str:
    """Return Services and EndpointSlices for the agent; ``node_of``: on which node each endpoint's address is."""
    items = [item for service in services for item in (_service(service), _endpoint_slice(service, node_of))]
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items})


def node_manifest(name: str, address: str, pod_network: str) -> str:
    """Return a Node."""
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name},
            "spec": {"podCIDR": pod_network},
            "status": {"addresses": [{"type": "InternalIP", "address": address}]},
        }
    )


def _names(service: PeerService) -> tuple[str, str]:
    """Return a Service's name and its port's."""
    name, _, port = service.name.removeprefix(f"{_NAMESPACE}/").partition(":")
    return name, port


def _service(service: PeerService) -> dict[str, Any]:
    name, port = _names(service)
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"namespace": _NAMESPACE, "name": name},
        "spec": {
            "type": "ClusterIP",
            "clusterIP": service.address,
            "clusterIPs": [service.address],
            "ipFamilies": ["IPv4"],
            "ports": [{"name": port, "port": service.port, "protocol": service.protocol.upper()}],
        },
    }


def _endpoint_slice(service: PeerService, node_of: dict[str, str]) -> dict[str, Any]:
    name, port = _names(service)
    number = service.endpoints[0][1]
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "namespace": _NAMESPACE,
            "name": name,
            "labels": {"kubernetes.io/service-name": name},
        },
        "addressType": "IPv4",
        "ports": [{"name": port, "port": number, "protocol": service.protocol.upper()}],
        "endpoints": [
            {"addresses": [address], "conditions": {"ready": True}, "nodeName": node_of[address]}
            for address, _port in service.endpoints
        ],
    }
