"""The parts of the Kubernetes API schema that this proxy reads. Unknown fields are ignored, every field may be absent.

Decides the type of each field, nothing more: rules stand in ``rules_*.py``. Knows no file and no connection.

    document --decode.py--> these structs --rules_*.py--> model
"""

from msgspec import Struct, field


class Metadata(Struct):
    """``metadata``."""

    name: str | None = None
    namespace: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None


class RawServicePort(Struct, rename="camel"):
    """``Service.spec.ports[]``."""

    name: str | None = None
    protocol: str | None = None
    port: int | None = None
    node_port: int | None = None


class RawClientIP(Struct, rename="camel"):
    """``Service.spec.sessionAffinityConfig.clientIP``."""

    timeout_seconds: int | None = None


class RawAffinityConfig(Struct):
    """``Service.spec.sessionAffinityConfig``."""

    client_ip: RawClientIP | None = field(default=None, name="clientIP")


class RawServiceSpec(Struct, rename="camel"):
    """``Service.spec``."""

    type: str | None = None
    ports: list[RawServicePort] | None = None
    cluster_ip: str | None = field(default=None, name="clusterIP")
    cluster_ips: list[str] | None = field(default=None, name="clusterIPs")
    ip_families: list[str] | None = None
    external_ips: list[str] | None = field(default=None, name="externalIPs")
    load_balancer_source_ranges: list[str] | None = None
    session_affinity: str | None = None
    session_affinity_config: RawAffinityConfig | None = None
    internal_traffic_policy: str | None = None
    external_traffic_policy: str | None = None
    health_check_node_port: int | None = None


class RawIngress(Struct, rename="camel"):
    """``Service.status.loadBalancer.ingress[]``."""

    ip: str | None = None
    ip_mode: str | None = None


class RawLoadBalancer(Struct):
    """``Service.status.loadBalancer``."""

    ingress: list[RawIngress] | None = None


class RawServiceStatus(Struct, rename="camel"):
    """``Service.status``."""

    load_balancer: RawLoadBalancer | None = None


class RawService(Struct):
    """A v1 Service."""

    metadata: Metadata | None = None
    spec: RawServiceSpec | None = None
    status: RawServiceStatus | None = None


class RawEndpointPort(Struct):
    """``EndpointSlice.ports[]``."""

    name: str | None = None
    protocol: str | None = None
    port: int | None = None


class RawConditions(Struct):
    """``EndpointSlice.endpoints[].conditions``."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class RawHint(Struct):
    """An element of ``hints.forZones`` or ``hints.forNodes``."""

    name: str | None = None


class RawHints(Struct, rename="camel"):
    """``EndpointSlice.endpoints[].hints``."""

    for_zones: list[RawHint] | None = None
    for_nodes: list[RawHint] | None = None


class RawEndpoint(Struct, rename="camel"):
    """``EndpointSlice.endpoints[]``."""

    addresses: list[str] | None = None
    conditions: RawConditions | None = None
    node_name: str | None = None
    hints: RawHints | None = None


class RawSlice(Struct, rename="camel"):
    """A discovery.k8s.io/v1 EndpointSlice."""

    metadata: Metadata | None = None
    address_type: str | None = None
    endpoints: list[RawEndpoint] | None = None
    ports: list[RawEndpointPort] | None = None


class RawNodeAddress(Struct):
    """``Node.status.addresses[]``."""

    type: str | None = None
    address: str | None = None


class RawTaint(Struct):
    """``Node.spec.taints[]``."""

    key: str | None = None


class RawNodeSpec(Struct):
    """``Node.spec``."""

    pod_cidr: str | None = field(default=None, name="podCIDR")
    pod_cidrs: list[str] | None = field(default=None, name="podCIDRs")
    taints: list[RawTaint] | None = None


class RawNodeStatus(Struct):
    """``Node.status``."""

    addresses: list[RawNodeAddress] | None = None


class RawNodeMetadata(Metadata):
    """``Node.metadata``."""

    deletion_timestamp: str | None = field(default=None, name="deletionTimestamp")


class RawNode(Struct):
    """A v1 Node."""

    metadata: RawNodeMetadata | None = None
    spec: RawNodeSpec | None = None
    status: RawNodeStatus | None = None


class RawServiceCIDRSpec(Struct):
    """``ServiceCIDR.spec``."""

    cidrs: list[str] | None = None


class RawServiceCIDR(Struct):
    """A networking.k8s.io/v1 ServiceCIDR."""

    metadata: Metadata | None = None
    spec: RawServiceCIDRSpec | None = None


class RawPodMetadata(Metadata):
    """``Pod.metadata``."""

    uid: str | None = None


class RawPodSpec(Struct, rename="camel"):
    """``Pod.spec``."""

    node_name: str | None = None
    host_network: bool | None = None
    runtime_class_name: str | None = None


class RawPodStatus(Struct):
    """``Pod.status``."""

    phase: str | None = None


class RawPod(Struct):
    """A v1 Pod."""

    metadata: RawPodMetadata | None = None
    spec: RawPodSpec | None = None
    status: RawPodStatus | None = None
