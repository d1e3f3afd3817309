"""Collects a world's rows by the names of ``tests.prog.world``, and the conversations that its seeds are made of."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from ebpflb.core.abi import BackendState, Family, FlowFlag, FrontendFlag, FrontendKind, MemberSet, Protocol
from tests.fuzz.rows import Backend, Datagram, Ends, Flow, FlowKey, Frontend, Hook, join, reverse
from tests.prog.world import Device, packed

PROTOCOLS = (Protocol.TCP, Protocol.UDP, Protocol.SCTP)
GENERATION = 7
BACKEND_PORT = 8080
MTU = 1500
LOCAL = ("pod", "pod2", "node")
BACKENDS = ("pod", "pod2", "remote", "remote2", "bare", "narrow", "lost", "stranger", "node")
DRAINING, DELETED = "remote2", "stranger"
"""Backends that take no new flows: one finishes those it has, one is gone."""
NEVER = 63
"""A backend id that nobody ever had."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """Packets of one direction at one hook."""

    hook: Hook
    device: Device
    is_own: bool
    protocol: Protocol
    ends: Ends
    outer: Ends = b""
    """Ends of the outer header that the packets come in."""


@dataclass(slots=True)
class Builder:
    """Rows so far."""

    family: Family
    frontends: dict[tuple[bytes, int, int], Frontend] = field(default_factory=dict)
    backends: dict[int, Backend] = field(default_factory=dict)
    tables: dict[str, dict[FlowKey, Flow]] = field(default_factory=lambda: {"flows": {}, "pending": {}})
    datagrams: dict[bytes, Datagram] = field(default_factory=dict)
    held: dict[bytes, bytes] = field(default_factory=dict)
    local_backends: dict[tuple[int, bytes], int] = field(default_factory=dict)
    conversations: list[Conversation] = field(default_factory=list)
    service_ids: int = 0

    def address(self, name: str) -> bytes:
        """Return the address of a name."""
        return packed(name, self.family)

    def ends(self, source: str, destination: str) -> Ends:
        """Return the ends of a packet from ``name:port`` to ``name:port``."""
        (saddr, sport), (daddr, dport) = (end.rsplit(":", 1) for end in (source, destination))
        return join(self.address(saddr), int(sport), self.address(daddr), int(dport))

    def backend_id(self, name: str, protocol: Protocol) -> int:
        """Return the id of a backend."""
        return 1 + BACKENDS.index(name) + len(BACKENDS) * PROTOCOLS.index(protocol)

    def add_backends(self) -> None:
        """Add every backend, for every protocol."""
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
        affinity_s: int = 0,
    ) -> None:
        """Add a frontend for every protocol; clients of every kind dial it."""
        name, port = where.split(":")
        dialled = f"node:{port}" if name == "any" else where
        for protocol in PROTOCOLS:
            self.service_ids += 1
            every, own = (tuple(self.backend_id(item, protocol) for item in names) for names in (cluster, local))
            key = self.address(name), int(port), protocol
            self.frontends[key] = Frontend(self.service_ids, kind, flags, every, own, affinity_s)
            for number, client in enumerate(("client", "client2", "stranger")):
                self.say(Hook.UPLINK_IN, protocol, f"{client}:{6000 + number}", dialled)
            for number, client in enumerate(("pod", "pod2")):
                self.say(Hook.POD_IN, protocol, f"{client}:{7000 + number}", dialled)
            self.say(Hook.OUT, protocol, "node:8000", dialled, is_own=True)
            if flags & FrontendFlag.DSR:
                self.local_backends[self.service_ids, self.address("pod")] = self.backend_id("pod", protocol)
                for backend in ("pod", "pod2"):
                    self.say(Hook.UPLINK_IN, protocol, "client:6009", dialled, outer=backend)

    def members(self) -> dict[tuple[int, int], int]:
        """Return in which sets of its Services each backend is."""
        sets: dict[tuple[int, int], int] = {}
        for frontend in self.frontends.values():
            for ids, member in ((frontend.cluster, MemberSet.CLUSTER), (frontend.local, MemberSet.LOCAL)):
                for number in ids:
                    key = frontend.service_id, number
                    sets[key] = sets.get(key, 0) | member | MemberSet.SERVING
        return sets

    def service_address(self, name: str, flags: FrontendFlag) -> None:
        """Add the row of a Service's address as such."""
        self.frontends[self.address(name), 0, 0] = Frontend(0, FrontendKind.ADDRESS, flags)

    def say(
        self, hook: Hook, protocol: Protocol, source: str, destination: str, *, is_own: bool = False, outer: str = ""
    ) -> None:
        """Add packets from ``name:port`` to ``name:port``; ``outer``: to whom the outer header is addressed."""
        device = Device.POD if hook is Hook.POD_IN else Device.UPLINK
        outer_ends = self.ends("remote2:0", f"{outer}:0") if outer else b""
        ends = self.ends(source, destination)
        self.conversations.append(Conversation(hook, device, is_own, protocol, ends, outer_ends))

    def flow(
        self,
        protocol: Protocol,
        request: tuple[str, str],
        to: tuple[str, str],
        flags: FlowFlag,
        *,
        seen: tuple[int, int] = (3, 2),
        generation: int = GENERATION,
        service: str = "",
        halves: str = "both",
        table: str = "flows",
        outer: str = "",
    ) -> None:
        """Add a flow's entries, and the packets of both directions at the hooks where they act."""
        name, port = (service or request[1].replace("node:", "any:")).rsplit(":", 1)
        frontend = self.frontends[self.address(name), int(port), protocol]
        backend = self.backend_id(to[1].split(":")[0], protocol)
        ends, translated, tail = self.ends(*request), self.ends(*to), bytes((protocol,))
        reply_flags = _reply_flags(flags) | (FlowFlag.DSR if outer else 0)
        is_alone = bool(flags & FlowFlag.DSR)
        if is_alone:
            reply_flags = FlowFlag(0)
        row = backend, generation, frontend.service_id
        if halves != "reply":
            value = Flow(translated, *row, int(flags), int(seen[0]), int(reply_flags))
            self.tables[table][ends + tail] = value
        if halves != "request" and not is_alone:
            value = Flow(reverse(ends), *row, int(reply_flags), int(seen[1]), int(flags))
            self.tables[table][reverse(translated) + tail] = value
        self._say_both(protocol, request, to, flags, outer)

    def _say_both(
        self, protocol: Protocol, request: tuple[str, str], to: tuple[str, str], flags: FlowFlag, outer: str
    ) -> None:
        from_pod, is_own = request[0].startswith("pod"), bool(flags & FlowFlag.AT_EGRESS)
        hook = Hook.OUT if is_own else Hook.POD_IN if from_pod else Hook.UPLINK_IN
        self.say(hook, protocol, *request, is_own=is_own, outer=outer)
        back = Hook.POD_IN if from_pod and flags & FlowFlag.HAIRPIN else Hook.UPLINK_IN
        if _reply_flags(flags) & FlowFlag.AT_EGRESS:
            back = Hook.OUT
        self.say(back, protocol, to[1], to[0], is_own=is_own and back is Hook.OUT)
        self.say(Hook.OUT, protocol, *request, is_own=True)


def _reply_flags(flags: int) -> FlowFlag:
    """Where each kind of request has its reply restored: the table of ADR 0004."""
    if flags & FlowFlag.HAIRPIN:
        return FlowFlag.REPLY | FlowFlag(flags & (FlowFlag.HAIRPIN | FlowFlag.AT_EGRESS))
    if flags & FlowFlag.AT_EGRESS:
        return FlowFlag.REPLY
    if flags & FlowFlag.FORWARD:
        return FlowFlag.REPLY | FlowFlag.FORWARD
    return FlowFlag.REPLY | FlowFlag.AT_EGRESS
