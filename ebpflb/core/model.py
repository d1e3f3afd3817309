"""The frozen model: what a source delivers and what ``compile_tables`` reads. Knows no wire format and no map.

    manifest bytes -> (manifest.py) -> Service, EndpointSlice, Node --+
    netlink facts  -> (host/)       -> Host --------------------------+--> Snapshot --> compile_tables

Addresses are ``bytes`` in network byte order, 4 (IPv4) or 16 (IPv6) of them: hashable, compact, and what maps hold.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_address

from ebpflb.core.abi import Algorithm, Family, Protocol

ObjectKey = tuple[str, str]
"""(namespace, name)."""

_OCTETS = {str(number): number for number in range(256)}


def format_address(address: bytes) -> str:
    """Return the usual text of a 4- or 16-byte address (RFC 5952 for IPv6)."""
    return str(ip_address(address))


def format_endpoint(address: bytes, port: int) -> str:
    """Return ``10.0.0.1:80`` or ``[fd00::1]:80``."""
    text = format_address(address)
    return f"[{text}]:{port}" if len(address) == Family.IPV6.address_bytes else f"{text}:{port}"


def parse_address(text: str) -> bytes:
    """Return the address of ``text`` as 4 or 16 bytes.

    IPv4 leading zeros are read as decimal, as Kubernetes' "sloppy" parser does (``010.0.0.1`` is ``10.0.0.1``).
    Raises ``ValueError`` for anything else.
    """
    try:  # of a cluster's 100,000 nearly all: four numbers, written as usual
        first, second, third, fourth = text.split(".")
        return bytes((_OCTETS[first], _OCTETS[second], _OCTETS[third], _OCTETS[fourth]))
    except (KeyError, ValueError):
        return _parse_unusual(text.strip())


def _parse_unusual(text: str) -> bytes:
    if ":" not in text:
        text = ".".join(str(int(part)) if part.isascii() and part.isdigit() else part for part in text.split("."))
        return IPv4Address(text).packed
    return IPv6Address(text).packed


def family_of(address: bytes) -> Family:
    """Return the family of a packed address."""
    return Family.IPV4 if len(address) == Family.IPV4.address_bytes else Family.IPV6


class ServiceType(StrEnum):
    """``spec.type``."""

    CLUSTER_IP = "ClusterIP"
    NODE_PORT = "NodePort"
    LOAD_BALANCER = "LoadBalancer"
    EXTERNAL_NAME = "ExternalName"


@dataclass(frozen=True, slots=True)
class ServicePort:
    """One element of ``spec.ports``."""

    name: str
    protocol: Protocol
    port: int
    node_port: int = 0
    """0: none."""


@dataclass(frozen=True, slots=True)
class Service:
    """A Service that this proxy must serve: filtered by its labels, canonical addresses, defaults filled in."""

    namespace: str
    name: str
    type: ServiceType
    ports: tuple[ServicePort, ...]
    cluster_ips: tuple[bytes, ...] = ()
    """At most one per family; empty for ExternalName and headless."""
    external_ips: tuple[bytes, ...] = ()
    load_balancer_ips: tuple[bytes, ...] = ()
    """``status.loadBalancer.ingress`` with ``ipMode`` VIP or unset."""
    source_ranges: tuple[str, ...] = ()
    """``spec.loadBalancerSourceRanges`` as written, without blanks around."""
    internal_local: bool = False
    external_local: bool = False
    affinity_timeout_s: int = 0
    """0: ``sessionAffinity: None``."""
    algorithm: Algorithm | None = None
    """From the annotation ``ebpflb.io/algorithm``; ``None``: random for ClusterIP, Maglev for external frontends."""
    forwarding: str = ""
    """The annotation ``ebpflb.io/forwarding`` as written, without blanks around; empty: as the node is configured."""
    health_check_node_port: int = 0
    """``spec.healthCheckNodePort`` where it means something (LoadBalancer, eTP Local); 0: none."""

    @property
    def key(self) -> ObjectKey:
        """(namespace, name)."""
        return (self.namespace, self.name)


@dataclass(frozen=True, slots=True)
class EndpointPort:
    """One element of a slice's ``ports``, with name and number present."""

    name: str
    protocol: Protocol
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What a slice says of an endpoint beside its address: the conditions, with defaults filled in, node and hints."""

    ready: bool = True
    serving: bool = True
    terminating: bool = False
    node_name: str = ""
    for_nodes: tuple[str, ...] = ()
    for_zones: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Endpoint(Standing):
    """One element of a slice's ``endpoints``, of the addresses ``addresses[0]``."""

    address: bytes


@dataclass(frozen=True, slots=True)
class EndpointSlice:
    """A slice of addressType IPv4 or IPv6 that names a Service."""

    namespace: str
    name: str
    service_name: str
    family: Family
    ports: tuple[EndpointPort, ...]
    endpoints: Sequence[Endpoint]
    """A source's are ``Endpoints``: without an object for each."""
    triggered_at: str = ""
    """The annotation ``endpoints.kubernetes.io/last-change-trigger-time`` as written (RFC 3339); empty: none."""

    @property
    def key(self) -> ObjectKey:
        """(namespace, name)."""
        return (self.namespace, self.name)


@dataclass(frozen=True, slots=True)
class Node:
    """The own Node object."""

    name: str
    zone: str = ""
    addresses: tuple[bytes, ...] = ()
    """InternalIP first, then ExternalIP."""
    pod_cidrs: tuple[str, ...] = ()
    is_eligible: bool = True
    """Load balancers may send here: it is not being deleted, nor about to be by the cluster autoscaler."""

    @property
    def key(self) -> ObjectKey:
        """Nodes have no namespace."""
        return ("", self.name)


@dataclass(frozen=True, slots=True)
class ServiceCIDR:
    """A range that ClusterIPs are taken from. An address of it that no Service has leads nowhere."""

    name: str
    cidrs: tuple[str, ...]

    @property
    def key(self) -> ObjectKey:
        """ServiceCIDRs have no namespace."""
        return ("", self.name)


@dataclass(frozen=True, slots=True)
class Pod:
    """A Pod that runs, or is about to run, on some node: what decides whether the socket hooks leave it alone."""

    namespace: str
    name: str
    uid: str
    """As kubelet writes it into the name of the pod's cgroup."""
    node_name: str
    host_network: bool = False
    socket_lb: bool | None = None
    """From the annotation ``ebpflb.io/socket-lb``; ``None``: it has none."""
    interceptor: str = ""
    """The annotation by which a mesh says that it intercepts the pod's connections; empty: none."""
    runtime_class: str = ""

    @property
    def key(self) -> ObjectKey:
        """(namespace, name)."""
        return (self.namespace, self.name)


@dataclass(frozen=True, slots=True)
class Device:
    """A network device that masqueraded packets may leave by: an uplink, a pod's, or a bridge of pods."""

    ifindex: int
    name: str
    addresses: tuple[bytes, ...]
    """Global-scope addresses, primary first; the first of a family is the SNAT source. Pods' devices need none."""
    mtu: int = 1500
    """In bytes, network header included."""
    supports_xdp: bool = False
    """XDP programs here may redirect frames to it, and transmit them from it."""
    serves_pods: bool = False
    """Pods are behind it, and what they send meets our programs: a pod device, or a bridge whose ports are such."""
    master: str = ""
    """The name of the bridge that has taken it in; empty: none has."""
    is_direct: bool = False
    """A pod is at its other end, and what is handed to it there passes nobody by."""


@dataclass(frozen=True, slots=True)
class Host:
    """What netlink says of this machine."""

    addresses: frozenset[bytes] = frozenset()
    """Every local address but loopback ones."""
    devices: tuple[Device, ...] = ()
    opt_outs: frozenset[int] = frozenset()
    """Cookies of the network namespaces whose sockets are left to the packet hooks."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything a compilation sees."""

    node: Node
    services: Mapping[ObjectKey, Service] = field(default_factory=dict)
    slices: Mapping[ObjectKey, EndpointSlice] = field(default_factory=dict)
    host: Host = Host()
    service_cidrs: Mapping[ObjectKey, ServiceCIDR] = field(default_factory=dict)
