"""Decides what a Service asks of this proxy, as kube-proxy reads it.

Knows no slice, and not which frontends follow (``expand.py``).

RawService --> Service | Invisible, or FieldError
"""

from functools import lru_cache

from ebpflb.core import fields
from ebpflb.core.abi import Algorithm
from ebpflb.core.decode import FieldError
from ebpflb.core.metadata import (
    ALGORITHM_ANNOTATION,
    FORWARDING_ANNOTATION,
    HEADLESS_LABEL,
    NO_METADATA,
    PROXY_NAME_LABEL,
    Invisible,
    object_key,
)
from ebpflb.core.model import Service, ServicePort, ServiceType, family_of
from ebpflb.core.schema import Metadata, RawService, RawServicePort, RawServiceSpec

DEFAULT_AFFINITY_TIMEOUT_S = 10800
MAX_AFFINITY_TIMEOUT_S = 86400

_TYPES = {"": ServiceType.CLUSTER_IP, **{kind.value: kind for kind in ServiceType}}
_IS_LOCAL = {"": False, "Cluster": False, "Local": True}
_HAS_AFFINITY = {"": False, "None": False, "ClientIP": True}
_IS_VIP = {"": True, "VIP": True, "Proxy": False}
_ALGORITHMS = {"random": Algorithm.RANDOM, "maglev": Algorithm.MAGLEV}


def read_service(raw: RawService) -> Service | Invisible:
    """Return the Service, or why this proxy has nothing to do with it."""
    metadata, spec = raw.metadata or NO_METADATA, raw.spec or RawServiceSpec()
    namespace, name = object_key(metadata)
    fields.label("metadata.name", name)
    service_type = fields.word("spec.type", spec.type, _TYPES)
    reason = _why_unserved(metadata, service_type, spec)
    if reason:
        return Invisible("Service", namespace, name, reason)
    external_ips = fields.routable_addresses("spec.externalIPs", spec.external_ips)
    external_local = fields.word("spec.externalTrafficPolicy", spec.external_traffic_policy, _IS_LOCAL)
    takes_external = service_type is not ServiceType.CLUSTER_IP or bool(external_ips)
    return Service(
        namespace,
        name,
        service_type,
        ports=_service_ports(spec.ports or []),
        cluster_ips=_cluster_ips(spec),
        external_ips=external_ips,
        load_balancer_ips=_load_balancer_ips(raw),
        source_ranges=tuple(filter(None, (text.strip() for text in spec.load_balancer_source_ranges or ()))),
        internal_local=fields.word("spec.internalTrafficPolicy", spec.internal_traffic_policy, _IS_LOCAL),
        external_local=external_local and takes_external,
        affinity_timeout_s=_affinity_timeout_s(spec),
        algorithm=_algorithm(metadata),
        forwarding=(metadata.annotations or {}).get(FORWARDING_ANNOTATION, "").strip(),
        health_check_node_port=_health_check_node_port(spec, service_type, external_local=external_local),
    )


def _why_unserved(metadata: Metadata, service_type: ServiceType, spec: RawServiceSpec) -> str:
    """Say why no frontend follows from a Service; "" if some may. kube-proxy skips the same ones as a whole."""
    for label in (PROXY_NAME_LABEL, HEADLESS_LABEL):
        if label in (metadata.labels or {}):
            return f"it carries the label {label}"
    if service_type is ServiceType.EXTERNAL_NAME:
        return "its type is ExternalName"
    first = (spec.cluster_ips or [spec.cluster_ip or ""])[0]
    if first == "None":
        return "it is headless (spec.clusterIP: None)"
    return "" if first else "it has no spec.clusterIP"


def _cluster_ips(spec: RawServiceSpec) -> tuple[bytes, ...]:
    """Return the cluster IPs; with ``ipFamilies``, those that have an entry there, which they must agree with."""
    if not spec.cluster_ips:
        return (fields.routable_address("spec.clusterIP", spec.cluster_ip),)
    addresses = fields.routable_addresses("spec.clusterIPs", spec.cluster_ips)
    if len({family_of(address) for address in addresses}) < len(spec.cluster_ips):
        raise FieldError("spec.clusterIPs", "has two addresses of one family", "keep one per family")
    for at, (address, text) in enumerate(zip(addresses, spec.ip_families or (), strict=False)):
        if fields.word(f"spec.ipFamilies[{at}]", text, fields.FAMILIES) is not family_of(address):
            remedy = "put both lists into the same order"
            raise FieldError(f"spec.clusterIPs[{at}]", f"is not {text}, as spec.ipFamilies[{at}] says", remedy)
    return addresses[: len(spec.ip_families or addresses)]


def _load_balancer_ips(raw: RawService) -> tuple[bytes, ...]:
    """Return the addresses that a load balancer delivers unchanged (``ipMode`` VIP or unset)."""
    balancer = raw.status.load_balancer if raw.status else None
    path = "status.loadBalancer.ingress"
    return tuple(
        dict.fromkeys(
            fields.routable_address(f"{path}[{at}].ip", ingress.ip)
            for at, ingress in enumerate((balancer.ingress if balancer else None) or ())
            if ingress.ip and fields.word(f"{path}[{at}].ipMode", ingress.ip_mode, _IS_VIP)
        )
    )


def _affinity_timeout_s(spec: RawServiceSpec) -> int:
    if not fields.word("spec.sessionAffinity", spec.session_affinity, _HAS_AFFINITY):
        return 0
    config = spec.session_affinity_config
    timeout_s = config.client_ip.timeout_seconds if config and config.client_ip else None
    if timeout_s is None:
        return DEFAULT_AFFINITY_TIMEOUT_S
    if not 1 <= timeout_s <= MAX_AFFINITY_TIMEOUT_S:
        path = "spec.sessionAffinityConfig.clientIP.timeoutSeconds"
        raise FieldError(path, "is out of range", f"give 1 to {MAX_AFFINITY_TIMEOUT_S} seconds")
    return timeout_s


def _health_check_node_port(spec: RawServiceSpec, service_type: ServiceType, *, external_local: bool) -> int:
    """Return the port at which load balancers ask for local backends; elsewhere the API server leaves it unset."""
    port = spec.health_check_node_port
    if not port or service_type is not ServiceType.LOAD_BALANCER or not external_local:
        return 0
    return fields.port_number("spec.healthCheckNodePort", port)


def _algorithm(metadata: Metadata) -> Algorithm | None:
    text = (metadata.annotations or {}).get(ALGORITHM_ANNOTATION)
    return None if text is None else fields.word(f"metadata.annotations[{ALGORITHM_ANNOTATION}]", text, _ALGORITHMS)


def _service_ports(raw_ports: list[RawServicePort]) -> tuple[ServicePort, ...]:
    if not raw_ports:
        raise FieldError("spec.ports", "is missing or empty", "name at least one port")
    ports = tuple(_service_port(f"spec.ports[{at}]", raw) for at, raw in enumerate(raw_ports))
    names, numbers = set[str](), set[tuple[int, int]]()
    for at, port in enumerate(ports):
        if port.name in names or (not port.name and len(ports) > 1):
            raise FieldError(f"spec.ports[{at}].name", "is missing or used twice", "give every port a name of its own")
        if (port.port, port.protocol) in numbers:
            problem = f"{port.port}/{port.protocol.name} is there twice"
            raise FieldError(f"spec.ports[{at}].port", problem, "remove one of the two")
        names.add(port.name)
        numbers.add((port.port, port.protocol))
    return _shared(ports)


@lru_cache(maxsize=4096)
def _shared(ports: tuple[ServicePort, ...]) -> tuple[ServicePort, ...]:
    """Return one and the same tuple for all that are equal: very many Services have the same ports."""
    return ports


def _service_port(path: str, raw: RawServicePort) -> ServicePort:
    """Return one port. Its NodePort counts whatever the type says, and 0 is none: kube-proxy asks no more of either."""
    return ServicePort(
        name=fields.port_name(f"{path}.name", raw.name),
        protocol=fields.protocol(f"{path}.protocol", raw.protocol),
        port=fields.port_number(f"{path}.port", raw.port),
        node_port=fields.port_number(f"{path}.nodePort", raw.node_port) if raw.node_port else 0,
    )
