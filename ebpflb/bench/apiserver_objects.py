"""The cluster that the bench's API server shows, as JSON that is ready to be sent. Pure.

Decides what a Service of the bench is called, which addresses it and its endpoints have, and what its objects look like
on the wire: with labels, references and managedFields, as an API server sends them. Knows no connection.

    Scale, number of a Service --> JSON of its Service and EndpointSlice; the same as a PeerService
"""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address

from ebpflb.bench.rulesets import PeerService

NAMESPACE = "ebpflb-bench"
SERVICE_PORT = 80
TARGET_PORT = 8080
MAX_ENDPOINTS = 15
"""Of a Service: each has sixteen addresses, the last of which is the one that changes bring in."""

_FIRST_SERVICE = int(IPv4Address("10.96.1.0"))
_FIRST_ENDPOINT = int(IPv4Address("10.128.0.0"))
_ADDRESSES = MAX_ENDPOINTS + 1
_NODES = 100
"""Over which the endpoints are spread."""
_FIRST_VERSION = 1000

_SERVICE = (
    '{"metadata":{"name":"%(name)s","namespace":"%(namespace)s","uid":"%(uid)s","resourceVersion":"%(version)d",'
    '"creationTimestamp":"2025-01-01T00:00:00Z","labels":{"app.kubernetes.io/name":"%(name)s",'
    '"app.kubernetes.io/managed-by":"Helm"},"managedFields":[{"manager":"helm","operation":"Update","apiVersion":"v1",'
    '"time":"2025-01-01T00:00:00Z","fieldsType":"FieldsV1","fieldsV1":{"f:metadata":{"f:labels":{".":{},'
    '"f:app.kubernetes.io/managed-by":{},"f:app.kubernetes.io/name":{}}},"f:spec":{"f:internalTrafficPolicy":{},'
    '"f:ports":{".":{},"k:{\\"port\\":80,\\"protocol\\":\\"TCP\\"}":{".":{},"f:name":{},"f:port":{},"f:protocol":{},'
    '"f:targetPort":{}}},"f:selector":{},"f:sessionAffinity":{},"f:type":{}}}}]},"spec":{"ports":[{"name":"http",'
    '"protocol":"TCP","port":80,"targetPort":8080}],"selector":{"app.kubernetes.io/name":"%(name)s"},'
    '"clusterIP":"%(address)s","clusterIPs":["%(address)s"],"type":"ClusterIP","sessionAffinity":"None",'
    '"ipFamilies":["IPv4"],"ipFamilyPolicy":"SingleStack","internalTrafficPolicy":"Cluster"},'
    '"status":{"loadBalancer":{}}}'
)
_SLICE = (
    '{"metadata":{"name":"%(name)s-x7k2p","generateName":"%(name)s-","namespace":"%(namespace)s","uid":"%(uid)s",'
    '"resourceVersion":"%(version)d","generation":3,"creationTimestamp":"2025-01-01T00:00:00Z","labels":{'
    '"app.kubernetes.io/name":"%(name)s","endpointslice.kubernetes.io/managed-by":"endpointslice-controller.k8s.io",'
    '"kubernetes.io/service-name":"%(name)s"},"annotations":{"endpoints.kubernetes.io/last-change-trigger-time":'
    '"2025-01-01T00:00:00Z"},"ownerReferences":[{"apiVersion":"v1","kind":"Service","name":"%(name)s",'
    '"uid":"%(uid)s","controller":true,"blockOwnerDeletion":true}],"managedFields":[{"manager":'
    '"kube-controller-manager","operation":"Update","apiVersion":"discovery.k8s.io/v1","time":"2025-01-01T00:00:00Z",'
    '"fieldsType":"FieldsV1","fieldsV1":{"f:addressType":{},"f:endpoints":{},"f:metadata":{"f:annotations":{".":{},'
    '"f:endpoints.kubernetes.io/last-change-trigger-time":{}},"f:generateName":{},"f:labels":{".":{},'
    '"f:app.kubernetes.io/name":{},"f:endpointslice.kubernetes.io/managed-by":{},"f:kubernetes.io/service-name":{}},'
    '"f:ownerReferences":{".":{},"k:{\\"uid\\":\\"%(uid)s\\"}":{}}},"f:ports":{}}}]},"addressType":"IPv4",'
    '"endpoints":[%(endpoints)s],"ports":[{"name":"http","protocol":"TCP","port":8080}]}'
)
_ENDPOINT = (
    '{"addresses":["%s"],"conditions":{"ready":true,"serving":true,"terminating":false},"targetRef":{"kind":"Pod",'
    '"namespace":"%s","name":"%s-6d4cf56db6-%05x","uid":"%s"},"nodeName":"worker-%d","zone":"zone-%d"}'
)
_NODE = (
    '{"metadata":{"name":"%(name)s","resourceVersion":"%(version)d","labels":{"kubernetes.io/hostname":"%(name)s",'
    '"topology.kubernetes.io/zone":"zone-0"}},"spec":{"podCIDR":"10.244.1.0/24","podCIDRs":["10.244.1.0/24"]},'
    '"status":{"addresses":[{"type":"InternalIP","address":"%(address)s"}]}}'
)


@dataclass(frozen=True, slots=True)
class Scale:
    """How large the cluster is."""

    services: int
    endpoints: int
    """Of each Service, at most ``MAX_ENDPOINTS``."""

    def __post_init__(self) -> None:
        """Refuse what there are no addresses for."""
        if not (0 < self.endpoints <= MAX_ENDPOINTS and self.services > 0):
            raise ValueError(f"a cluster of {self.services} x {self.endpoints} has no addresses here")


def service_name(number: int) -> str:
    """Return the name of a Service."""
    return f"bench-service-{number:06d}"


def service_address(number: int) -> str:
    """Return the ClusterIP of a Service."""
    return str(IPv4Address(_FIRST_SERVICE + number))


def endpoint_addresses(number: int, endpoints: int, *, is_changed: bool = False) -> tuple[str, ...]:
    """Return the addresses of a Service's endpoints; of the changed ones, the first is another one."""
    first = _FIRST_ENDPOINT + number * _ADDRESSES
    places = [MAX_ENDPOINTS if is_changed else 0, *range(1, endpoints)]
    return tuple(str(IPv4Address(first + place)) for place in places)


def service_json(number: int) -> bytes:
    """Return a v1 Service."""
    name, address = service_name(number), service_address(number)
    text = _SERVICE % {
        "name": name,
        "namespace": NAMESPACE,
        "uid": _uid(number, 0),
        "version": _FIRST_VERSION,
        "address": address,
    }
    return text.encode()


def slice_json(number: int, endpoints: int, *, version: int = _FIRST_VERSION, is_changed: bool = False) -> bytes:
    """Return a discovery.k8s.io/v1 EndpointSlice."""
    name = service_name(number)
    each = (
        _ENDPOINT % (address, NAMESPACE, name, place, _uid(number, 2 + place), (number + place) % _NODES, place % 3)
        for place, address in enumerate(endpoint_addresses(number, endpoints, is_changed=is_changed))
    )
    names = {"name": name, "namespace": NAMESPACE, "uid": _uid(number, 1), "version": version}
    return (_SLICE % {**names, "endpoints": ",".join(each)}).encode()


def node_json(name: str, address: str) -> bytes:
    """Return a v1 Node."""
    return (_NODE % {"name": name, "version": _FIRST_VERSION, "address": address}).encode()


def peer_service(number: int, endpoints: int, *, is_changed: bool = False) -> PeerService:
    """Return what kube-proxy would make rules of."""
    addresses = endpoint_addresses(number, endpoints, is_changed=is_changed)
    name = f"{NAMESPACE}/{service_name(number)}:http"
    return PeerService(name, service_address(number), SERVICE_PORT, tuple((each, TARGET_PORT) for each in addresses))


def peer_services(scale: Scale) -> Iterator[PeerService]:
    """Yield the whole cluster for a peer."""
    return (peer_service(number, scale.endpoints) for number in range(scale.services))


def _uid(number: int, part: int) -> str:
    return f"{number:08x}-{part:04x}-4000-8000-{number * 31 + part:012x}"
