"""The worlds that packets are sent through: frontends of every kind, backends in every state, flows in every stage.

    family --world_of--> World

Names and routes are those of ``tests.prog.world``. Conversations say who talks to whom, for the seeds.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from ebpflb.core.abi import BackendState, Family, FlowFlag, FlowSeen, FrontendFlag, FrontendKind, MemberSet, Protocol
from tests.fuzz.rows import Backend, Device, Ends, Flow, FlowKey, Frontend, Hook, Route, World, join, reverse
from tests.prog.world import NARROW_MTU, packed
from tests.prog.world import Device as Interface

PROTOCOLS = (Protocol.TCP, Protocol.UDP)
GENERATION = 7
BACKEND_PORT = 8080
MTU = 1500
LOCAL = ("pod", "pod2")
BACKENDS = ("pod", "pod2", "remote", "remote2", "bare", "narrow", "lost", "stranger")
DRAINING, DELETED = "remote2", "stranger"
"""Backends that take no new flows: one finishes those it has, one is gone."""
NEVER = 63
"""A backend id that nobody ever had."""
_PENDING_SEEN = FlowSeen.SYN
_ALIVE = FlowSeen.SYN | FlowSeen.DATA


@dataclass(frozen=True, slots=True)
class Conversation:
    """Who a client dials, and what the flow table knows of it: the source of seeds."""

    hook: Hook
    device: Interface
    is_own: bool
    protocol: Protocol
    ends: Ends


@dataclass(slots=True)
class Builder:
    """Collects rows by name."""

    family: Family
    frontends: dict[tuple[bytes, int, int], Frontend] = field(default_factory=dict)
    backends: dict[int, Backend] = field(default_factory=dict)
    flows: dict[FlowKey, Flow] = field(default_factory=dict)
    conversations: list[Conversation] = field(default_factory=list)
    service_ids: int = 0

    def address(self, name: str) -> bytes:
        return packed(name, self.family)

    def ends(self, source: str, destination: str) -> Ends:
        (saddr, sport), (daddr, dport) = (end.rsplit(":", 1) for end in (source, destination))
        return join(self.address(saddr), int(sport), self.address(daddr), int(dport))

    def backend_id(self, name: str, protocol: Protocol) -> int:
        return 1 + BACKENDS.index(name) + len(BACKENDS) * PROTOCOLS.index(protocol)

    def add_backends(self) -> None:
        states = {DRAINING: BackendState.DRAINING, DELETED: BackendState.NONE}
        for protocol in PROTOCOLS:
            for name in BACKENDS:
                state = states.get(name, BackendState.ACTIVE)
                self.backends[self.backend_id(name, protocol)] = Backend(
                    self.address(name), BACKEND_PORT, protocol, state, GENERATION, name in LOCAL
                )

    def frontend(
        self,
        where: str,
        kind: FrontendKind,
        cluster: Iterable[str] = (),
        *,
        local: Iterable[str] = (),
        flags: FrontendFlag = FrontendFlag.HAS_BACKENDS,
    ) -> None:
        """Add a frontend for every protocol; any client may dial it."""
        name, port = where.split(":")
        for protocol in PROTOCOLS:
            self.service_ids += 1
            every, own = (tuple(self.backend_id(name, protocol) for name in names) for names in (cluster, local))
            key = self.address(name), int(port), protocol
            self.frontends[key] = Frontend(self.service_ids, kind, flags, every, own)
            dialled = "node" if name == "any" else name
            for number, client in enumerate(("client", "client2", "stranger")):
                self.say(Hook.UPLINK_IN, protocol, f"{client}:{6000 + number}", f"{dialled}:{port}")
            for number, client in enumerate(LOCAL):
                self.say(Hook.POD_IN, protocol, f"{client}:{7000 + number}", f"{dialled}:{port}")

    def say(self, hook: Hook, protocol: Protocol, source: str, destination: str, *, is_own: bool = False) -> None:
        device = Interface.POD if hook is Hook.POD_IN else Interface.UPLINK
        self.conversations.append(Conversation(hook, device, is_own, protocol, self.ends(source, destination)))

    def flow(
        self,
        protocol: Protocol,
        request: tuple[str, str],
        to: tuple[str, str],
        flags: FlowFlag,
        *,
        seen: tuple[int, int] = (_ALIVE, FlowSeen.DATA),
        generation: int = GENERATION,
        service: str = "",
        halves: str = "both",
    ) -> None:
        """Add a pair of rows, and the packets of both directions at the hooks where they act."""
        name, port = (service or request[1].replace("node:", "any:")).rsplit(":", 1)
        frontend = self.frontends[self.address(name), int(port), protocol]
        backend = self.backend_id(to[1].split(":")[0], protocol)
        ends, translated = self.ends(*request), self.ends(*to)
        reply_flags = _reply_flags(flags)
        rows = (backend, generation, frontend.service_id)
        tail = bytes((protocol,))
        if halves != "reply":
            self.flows[ends + tail] = Flow(translated, *rows, int(flags), int(seen[0]))
        if halves != "request":
            self.flows[reverse(translated) + tail] = Flow(reverse(ends), *rows, int(reply_flags), int(seen[1]))
        from_pod = request[0].startswith("pod")
        is_own = bool(flags & FlowFlag.AT_EGRESS)
        hook = Hook.OUT if is_own else Hook.POD_IN if from_pod else Hook.UPLINK_IN
        self.say(hook, protocol, *request, is_own=is_own)
        back = Hook.POD_IN if from_pod and flags & FlowFlag.HAIRPIN else Hook.UPLINK_IN
        if reply_flags & FlowFlag.AT_EGRESS:
            back = Hook.OUT
        self.say(back, protocol, to[1], to[0])
        self.say(Hook.OUT, protocol, *request, is_own=True)

    def add_frontends(self) -> None:
        both = FrontendFlag.HAS_BACKENDS | FrontendFlag.LOCAL_POLICY
        none = FrontendFlag(0)
        self.frontend("cluster:80", FrontendKind.CLUSTER_IP, ["pod", "remote"], local=["pod"])
        self.frontend("cluster:81", FrontendKind.CLUSTER_IP, flags=none)
        self.frontend("cluster:82", FrontendKind.CLUSTER_IP, ["bare", "narrow", "lost", "pod2"])
        self.frontend("cluster:83", FrontendKind.CLUSTER_IP, ["remote"], flags=both)
        self.frontend("any:30080", FrontendKind.NODE_PORT, ["pod", "remote", "narrow"], local=["pod"])
        self.frontend("any:30081", FrontendKind.NODE_PORT, ["remote", "pod", "pod2"], local=["pod", "pod2"], flags=both)
        self.frontend("any:30082", FrontendKind.NODE_PORT, ["remote"], flags=both)
        self.frontend("any:30083", FrontendKind.NODE_PORT, flags=none)
        self.frontend("external:80", FrontendKind.EXTERNAL_IP, ["remote", "narrow", "pod"])
        self.frontend("balancer:443", FrontendKind.LOAD_BALANCER, ["bare", "lost", DELETED])
        self.frontend("balancer:444", FrontendKind.LOAD_BALANCER, flags=none)
        for protocol in PROTOCOLS:  # a table that contradicts itself
            key = self.address("any"), 30081, protocol
            broken = replace(self.frontends[key], cluster=(NEVER,), local=(NEVER,), flags=FrontendFlag.HAS_BACKENDS)
            self.frontends[self.address("any"), 30084, protocol] = broken
            self.say(Hook.UPLINK_IN, protocol, "client:6000", "node:30084")

    def add_flows(self, protocol: Protocol) -> None:
        forward, ended = FlowFlag.FORWARD | FlowFlag.SNAT, FlowSeen.FIN | FlowSeen.RST | _ALIVE
        hairpin, own = FlowFlag.HAIRPIN | FlowFlag.SNAT, FlowFlag.AT_EGRESS | FlowFlag.SNAT
        local = FlowFlag(0)
        pair = self.flow
        pair(protocol, ("client:4000", "node:30080"), ("node:4000", "remote:8080"), forward)
        pair(protocol, ("client:4001", "node:30080"), ("client:4001", "pod:8080"), local)
        pair(protocol, ("client2:4000", "node:30080"), ("node:40001", "remote:8080"), forward, seen=(1, 0))
        pair(protocol, ("client2:4002", "node:30081"), ("client2:4002", "pod2:8080"), local, seen=(1, 0))
        pair(protocol, ("client:4003", "external:80"), ("node:4003", "narrow:8080"), forward)
        pair(protocol, ("client:4004", "balancer:443"), ("node:4004", "lost:8080"), forward)
        pair(protocol, ("stranger:4005", "node:30080"), ("node:4005", "remote:8080"), forward)
        pair(protocol, ("client:4006", "node:30080"), ("node:4006", "remote:8080"), forward, seen=(ended, ended))
        pair(protocol, ("client:4007", "node:30080"), ("node:4007", "remote2:8080"), forward)
        pair(protocol, ("client:4008", "balancer:443"), ("node:4008", "stranger:8080"), forward)
        pair(protocol, ("client:4009", "node:30080"), ("node:4009", "remote:8080"), forward, generation=3)
        pair(protocol, ("client:4010", "node:30080"), ("node:4010", "remote:8080"), forward, halves="request")
        pair(protocol, ("client:4011", "node:30080"), ("node:4011", "remote:8080"), forward, halves="reply")
        pair(protocol, ("client:4012", "node:30082"), ("node:4012", "remote:8080"), forward, service="any:30080")
        pair(protocol, ("pod:5000", "cluster:80"), ("pod:5000", "remote:8080"), local)
        pair(protocol, ("pod:5001", "cluster:80"), ("hairpin:5001", "pod:8080"), hairpin)
        pair(protocol, ("pod2:5002", "node:30081"), ("pod2:5002", "pod:8080"), local, seen=(ended, _ALIVE))
        pair(protocol, ("pod:5003", "external:80"), ("hairpin:41000", "pod:8080"), hairpin, seen=(1, 0))
        pair(
            protocol, ("node:4000", "remote:8080"), ("node:42000", "remote:8080"), own, service="any:30080", seen=(1, 0)
        )

    def add_strangers(self) -> None:
        """Packets that no Service claims, and the node's own."""
        for protocol in PROTOCOLS:
            for hook in Hook:
                self.say(hook, protocol, "client:9999", "pod:80")
                self.say(hook, protocol, "pod:9999", "client:80")
                self.say(hook, protocol, "node:9999", "remote:8080", is_own=hook is Hook.OUT)
                self.say(hook, protocol, "any:9999", "any:30080")
            self.say(Hook.OUT, protocol, "node:40001", "remote:8080", is_own=True)


def _reply_flags(flags: int) -> FlowFlag:
    """Where each kind of request has its reply restored: the table of ADR 0004."""
    if flags & FlowFlag.AT_EGRESS:
        return FlowFlag.REPLY
    if flags & (FlowFlag.HAIRPIN | FlowFlag.FORWARD):
        return FlowFlag.REPLY | FlowFlag(flags & (FlowFlag.HAIRPIN | FlowFlag.FORWARD))
    return FlowFlag.REPLY | FlowFlag.AT_EGRESS


def world_of(family: Family) -> tuple[World, list[Conversation]]:
    """Return a family's world and who talks in it."""
    builder = Builder(family)
    builder.add_backends()
    builder.add_frontends()
    for protocol in PROTOCOLS:
        builder.add_flows(protocol)
    builder.add_strangers()
    routes = {"uplink": ("client", "client2", "remote", "remote2"), "bare": ("bare",), "narrow": ("narrow",)}
    routes |= {"pod": ("pod",), "pod2": ("pod2",)}
    narrow = {"narrow": NARROW_MTU}
    node = builder.address("node")
    world = World(
        family=family,
        hairpin_address=builder.address("hairpin"),
        frontends=builder.frontends,
        backends=builder.backends,
        node_addrs=frozenset({node}),
        devices={
            Interface.UPLINK: Device(node, MTU),
            Interface.NARROW: Device(node, NARROW_MTU),
        },
        routes={
            builder.address(name): Route(Interface[device.upper()], narrow.get(device, MTU))
            for device, names in routes.items()
            for name in names
        },
        flows=builder.flows,
        members={
            (frontend.service_id, number): MemberSet.CLUSTER | MemberSet.LOCAL
            for frontend in builder.frontends.values()
            for number in frontend.cluster + frontend.local
        },
    )
    return world, builder.conversations
