"""Decides what becomes of the first packet of a flow, from the rows that are in the maps or would be written there.

Knows rows and the decision table of packets; knows no Service object, no endpoint that was left out, no live flow and
no map. What the programs decide by these rows this function must decide as well: a test sends the same flows to both.

    Index (compiled or pinned rows), Flow, Hook --decide--> Decision
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from ebpflb.core.abi import ConfigFlag, FrontendFlag, FrontendKind, Protocol
from ebpflb.core.explain_index import Index, ServicePortName
from ebpflb.core.tables import Backend, Frontend, FrontendKey, Prefix


class Hook(StrEnum):
    """Whose answer is wanted."""

    PACKET = "packet"
    """tc and XDP, where packets pass."""
    SOCKET = "socket"
    """connect() and sendmsg() of a process or pod on this node."""


class Verdict(StrEnum):
    """What becomes of the flow."""

    FORWARD = "forward"
    REJECT = "reject"
    DROP = "drop"
    PASS = "pass"  # noqa: S105 - no password
    """No Service claims it: it is routed, or delivered, as if there were no proxy."""
    ACCEPT = "accept"
    """A health-check server of this node's proxy takes it."""


class Client(StrEnum):
    """Who sends, as far as the table asks."""

    POD = "pod"
    NODE = "node"
    OTHER = "other"


class Reason(StrEnum):
    """Why it is so, in a sentence."""

    CLUSTER_SET = "every endpoint may serve"
    LOCAL_SET = "the policy Local lets endpoints of this node serve"
    SHORT_CUT_POD = "every endpoint may serve: externalTrafficPolicy Local does not bind pods"
    SHORT_CUT_NODE = "every endpoint may serve: externalTrafficPolicy Local does not bind the node itself"
    SHORT_CUT_SOCKET = "every endpoint may serve: externalTrafficPolicy Local does not bind sockets of this node"
    SOURCE_RANGE = "the source is in none of the Service's loadBalancerSourceRanges"
    OWN_SOURCE_RANGE = "dialled by the node that has it, the address is its own source, and no source range has it"
    NO_ENDPOINTS = "the Service has no usable endpoint"
    NO_LOCAL_ENDPOINTS = "the policy Local lets endpoints of this node serve, and there is none that could"
    WRONG_PORT = "the Service of this ClusterIP has no such port"
    UNUSED_ADDRESS = "the address is in a ServiceCIDR, and no Service has it"
    HEALTH_CHECK = "the health-check server of the Service listens here"
    NOT_CLAIMED = "no Service claims this destination"

    @property
    def is_before_endpoints(self) -> bool:
        """Whether it is so before any endpoint is asked for."""
        return self in {Reason.SOURCE_RANGE, Reason.OWN_SOURCE_RANGE}


class Flow(NamedTuple):
    """A connection, or a conversation over UDP, that begins."""

    source: bytes
    destination: bytes
    port: int
    protocol: Protocol
    by_pod_device: bool | None = None
    """Whether it comes in by a device of pods; ``None``: not known."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The verdict, and the rows that it follows from."""

    verdict: Verdict
    reason: Reason
    client: Client
    hook: Hook = Hook.PACKET
    """Where it is decided: the socket hooks leave some flows to the packet hooks."""
    key: FrontendKey | None = None
    frontend: Frontend | None = None
    service: str = ""
    """``namespace/name``."""
    port_name: str = ""
    backends: tuple[Backend, ...] = ()
    is_local_set: bool = False
    masquerade: bool = False
    is_hairpin: bool = False
    """The source is the only backend."""
    is_direct: bool = False
    """Backends answer the client themselves (DSR): they have to see its address."""
    prefix: Prefix | None = None
    """The source range that let the client in, or the ServiceCIDR that has the address."""


def decide(index: Index, flow: Flow, hook: Hook = Hook.PACKET) -> Decision:
    """Return what becomes of a flow. ``Hook.SOCKET``: its source is a socket of this node."""
    client = client_of(index, flow)
    claim = _claim(index, flow)
    if flow.protocol not in {Protocol.TCP, Protocol.UDP}:
        hook = Hook.PACKET
    if claim is None:
        return _unclaimed(index, flow, client, hook)
    key, frontend = claim
    claimed = _Claimed(client, hook, key, frontend, index.name_of(frontend.service_id))
    return (_restricted if FrontendFlag.SOURCE_RANGES in frontend.flags else _forwarded)(index, flow, claimed)


class _Claimed(NamedTuple):
    """A flow that some frontend claims."""

    client: Client
    hook: Hook
    key: FrontendKey
    frontend: Frontend
    name: ServicePortName
    prefix: Prefix | None = None

    def decided(self, verdict: Verdict, reason: Reason, **rest: Any) -> Decision:
        """Return the decision on it."""
        client, hook, key, frontend, (service, port_name), prefix = self
        return Decision(verdict, reason, client, hook, key, frontend, service, port_name, prefix=prefix, **rest)


def client_of(index: Index, flow: Flow) -> Client:
    """Return who sends. A source that the detector takes for a pod is one, even if it is an address of the node."""
    flags, is_pod = index.config.flags, False
    if ConfigFlag.DETECT_BY_NETWORK in flags:
        is_pod = index.config.pods.contains(flow.source)
    elif ConfigFlag.DETECT_BY_DEVICE in flags:
        is_pod = _is_from_pod_here(index, flow)
    if is_pod:
        return Client.POD
    return Client.NODE if index.is_of_node(flow.source) else Client.OTHER


def _claim(index: Index, flow: Flow) -> tuple[FrontendKey, Frontend] | None:
    """Return the frontend that claims a destination: first those with an address, then NodePorts."""
    dialled = index.dialled(flow.destination, flow.port, flow.protocol)
    if dialled is not None:
        return dialled
    if index.is_loopback(flow.destination):
        holds = ConfigFlag.LOOPBACK_NODE_PORTS in index.config.flags and index.is_of_node(flow.source)
    else:
        holds = index.holds_node_ports(flow.destination)
    return index.node_port(flow.port, flow.protocol) if holds else None


def _unclaimed(index: Index, flow: Flow, client: Client, hook: Hook) -> Decision:
    address = flow.destination
    service = index.health_check(address, flow.port, flow.source) if flow.protocol is Protocol.TCP else ""
    if service:
        return Decision(Verdict.ACCEPT, Reason.HEALTH_CHECK, client, hook, service=service)
    if not index.config.guard.contains(address):
        return Decision(Verdict.PASS, Reason.NOT_CLAIMED, client, hook)
    row = index.address_row(address)
    if row is not None and FrontendFlag.CLUSTER_ADDRESS in row.flags:
        return Decision(Verdict.REJECT, Reason.WRONG_PORT, client, hook, service=index.owner_of(address))
    cidr = index.service_cidrs.find(address)
    if row is None and cidr is not None and not index.node_has(address):
        return Decision(Verdict.DROP, Reason.UNUSED_ADDRESS, client, Hook.PACKET, prefix=cidr)
    return Decision(Verdict.PASS, Reason.NOT_CLAIMED, client, hook)


def _restricted(index: Index, flow: Flow, claimed: _Claimed) -> Decision:
    """Return the decision of a frontend with source ranges. Sockets leave it to packets, which show who comes, but for
    the node's that dial an address of its own: the packet would come from that very address.
    """
    is_own = claimed.hook is Hook.SOCKET and index.is_of_node(flow.source) and index.node_has(flow.destination)
    prefix = index.source_range(claimed.frontend.service_id, flow.destination if is_own else flow.source)
    claimed = claimed._replace(hook=Hook.SOCKET if is_own else Hook.PACKET, prefix=prefix)
    if prefix is not None:
        return _forwarded(index, flow, claimed)
    if is_own:
        return claimed.decided(Verdict.REJECT, Reason.OWN_SOURCE_RANGE)
    return claimed.decided(Verdict.DROP, Reason.SOURCE_RANGE)


def _forwarded(index: Index, flow: Flow, claimed: _Claimed) -> Decision:
    """Return the decision on what a frontend claims and lets in."""
    frontend, client = claimed.frontend, claimed.client
    is_local_set, reason = _policy(claimed.hook, client, frontend)
    where = frontend.local if is_local_set else frontend.cluster
    if not where.length:
        return _without_backends(claimed, is_local_set=is_local_set)
    backends = index.backends_in(where)
    is_hairpin = bool(backends) and all(backend.key.address == flow.source for backend in backends)
    is_packet = claimed.hook is Hook.PACKET
    is_direct = is_packet and FrontendFlag.DSR in frontend.flags and not _is_from_here(index, flow)
    masquerade = is_packet and not is_direct and (is_hairpin or _is_masqueraded(index, client, frontend))
    return claimed.decided(
        Verdict.FORWARD,
        reason,
        backends=backends,
        is_local_set=is_local_set,
        masquerade=masquerade,
        is_hairpin=is_hairpin,
        is_direct=is_direct,
    )


def _policy(hook: Hook, client: Client, frontend: Frontend) -> tuple[bool, Reason]:
    """Return whether only the local set is allowed: the external policy binds only who comes from elsewhere."""
    if FrontendFlag.LOCAL_POLICY not in frontend.flags:
        return False, Reason.CLUSTER_SET
    if frontend.kind is FrontendKind.CLUSTER_IP:
        return True, Reason.LOCAL_SET
    if hook is Hook.SOCKET:
        return False, Reason.SHORT_CUT_SOCKET
    if client is Client.OTHER:
        return True, Reason.LOCAL_SET
    return False, Reason.SHORT_CUT_POD if client is Client.POD else Reason.SHORT_CUT_NODE


def _without_backends(claimed: _Claimed, *, is_local_set: bool) -> Decision:
    """Return DROP where others have endpoints, so that a load balancer tries another node. A socket has no other."""
    has_any = FrontendFlag.HAS_BACKENDS in claimed.frontend.flags
    reason = Reason.NO_LOCAL_ENDPOINTS if has_any else Reason.NO_ENDPOINTS
    is_dropped = has_any and claimed.hook is Hook.PACKET
    return claimed.decided(Verdict.DROP if is_dropped else Verdict.REJECT, reason, is_local_set=is_local_set)


def _is_masqueraded(index: Index, client: Client, frontend: Frontend) -> bool:
    """Return what the decision table says of the source address."""
    flags = index.config.flags
    if frontend.kind is FrontendKind.CLUSTER_IP:
        has_detector = bool(flags & (ConfigFlag.DETECT_BY_NETWORK | ConfigFlag.DETECT_BY_DEVICE))
        return ConfigFlag.MASQUERADE_ALL in flags or (has_detector and client is not Client.POD)
    return FrontendFlag.LOCAL_POLICY not in frontend.flags or client is Client.NODE


def _is_from_here(index: Index, flow: Flow) -> bool:
    """Return whether this node or a pod of it sends; backends answer only clients outside directly."""
    return index.is_of_node(flow.source) or index.is_local_pod(flow.source) or bool(flow.by_pod_device)


def _is_from_pod_here(index: Index, flow: Flow) -> bool:
    return index.is_local_pod(flow.source) if flow.by_pod_device is None else flow.by_pod_device
