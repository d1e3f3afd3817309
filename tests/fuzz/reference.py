"""The translation once more, slow and obvious: what a packet hook must do with a frame, given the rows of a world.

    (world, hook, frame) --decide--> Decision: verdict, reason, flow, changes of the flow table

Written from the design documents and ADRs 0003 to 0008, apart from the programs. Knows no map and no kernel.
"""

from dataclasses import dataclass
from enum import IntEnum

from ebpflb.core.abi import BackendState, Counter, FlowFlag, FlowSeen, FrontendFlag, FrontendKind, Protocol
from tests.fuzz.answers import has_options
from tests.fuzz.packet import Fragment, Packet, parse
from tests.fuzz.rows import Backend, Flow, FlowKey, Frontend, Hook, Route, World, reverse

SNAT_PORTS = range(32768, 65536)
_ENDED = int(FlowSeen.FIN | FlowSeen.RST)
_REPLY, _AT_EGRESS, _FORWARD = int(FlowFlag.REPLY), int(FlowFlag.AT_EGRESS), int(FlowFlag.FORWARD)
_HAIRPIN, _SNAT = int(FlowFlag.HAIRPIN), int(FlowFlag.SNAT)
"""Plain numbers: this runs a million times, and arithmetic on enums is slow."""


class Act(IntEnum):
    """What becomes of a packet."""

    PASS = 0
    DELIVER = 1
    FORWARD = 2
    HAIRPIN = 3
    REJECT = 4
    DROP = 5


@dataclass(frozen=True, slots=True)
class Opened:
    """A pair of rows that the packet creates."""

    request_key: FlowKey
    request: Flow
    reply: Flow
    port_is_taken: bool
    """The client's own source port has a reply entry already: the request gets another one."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What a hook must do with a packet."""

    act: Act
    counter: Counter
    packet: Packet | None = None
    flow: Flow | None = None
    """What the packet is rewritten to."""
    touched: FlowKey | None = None
    """The row of ``flows`` that remembers the packet."""
    opened: Opened | None = None
    removed: tuple[FlowKey, ...] = ()
    also: Counter | None = None
    """Is counted besides."""


_PASSED = Decision(Act.PASS, Counter.PASSED)
_PASSED_FRAGMENT = Decision(Act.PASS, Counter.PASSED, also=Counter.PASSED_FRAGMENT)


def client_hash(frontend: Frontend, packet: Packet, address_bytes: int) -> int:
    """Return Jenkins' one-at-a-time hash of the client, word by word as a little-endian machine reads the wire."""
    ends = packet.ends
    words = [int.from_bytes(ends[-2:], "little")]
    words += [int.from_bytes(ends[at : at + 4], "little") for at in range(0, address_bytes, 4)]
    if not frontend.affinity_s:
        words.append(int.from_bytes(ends[-4:-2], "little"))
    value = packet.protocol
    for word in words:
        value = (value + word) & 0xFFFFFFFF
        value = (value + (value << 10)) & 0xFFFFFFFF
        value ^= value >> 6
    value = (value + (value << 3)) & 0xFFFFFFFF
    value ^= value >> 11
    return (value + (value << 15)) & 0xFFFFFFFF


class Reference:
    """One world's answers."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._size = world.family.address_bytes
        self._any = bytes(self._size)

    def decide(self, hook: Hook, frame: bytes, *, is_own: bool = False) -> Decision:
        """Return what the hook must do. ``is_own``: the packet did not come in by a device."""
        try:
            packet = parse(frame, self.world.family)
        except Fragment:
            return _PASSED_FRAGMENT
        if packet is None:
            return _PASSED
        if hook is Hook.OUT:
            return self._egress(packet, is_own=is_own)
        return self._ingress(packet, from_pod=hook is Hook.POD_IN)

    def _egress(self, packet: Packet, *, is_own: bool) -> Decision:
        """Replies are restored; what the node itself sends keeps out of the way of masqueraded flows (ADR 0004)."""
        flow = self.world.flows.get(packet.key)
        if flow and flow.flags & _AT_EGRESS and (is_own or flow.flags & _REPLY):
            return self._deliver(packet, flow, touched=packet.key)
        if not is_own or not (packet.opens or packet.protocol == Protocol.UDP):
            return _PASSED
        other = self.world.flows.get(reverse(packet.ends) + packet.key[-1:])
        if not other or not other.flags & _FORWARD:
            return _PASSED
        flags = _AT_EGRESS | _SNAT
        request = Flow(packet.ends, other.backend_id, other.generation, other.service_id, flags, packet.seen)
        return self._create(packet, request, ())

    def _ingress(self, packet: Packet, *, from_pod: bool) -> Decision:
        flow = self.world.flows.get(packet.key)
        if flow and flow.flags & _AT_EGRESS:
            return _PASSED
        if flow and not packet.opens and self._stays(packet, flow):
            return self._follow(packet, flow, touched=packet.key)
        frontend = self._frontend(packet)
        if frontend is None:
            return _PASSED
        if flow and packet.opens and flow.service_id == frontend.service_id and self._repeats(packet, flow):
            return self._follow(packet, flow, touched=packet.key)
        if not flow and packet.resets:
            return _PASSED
        return self._open(packet, frontend, self._pair_of(packet, flow), from_pod=from_pod)

    def _stays(self, packet: Packet, flow: Flow) -> bool:
        """UDP leaves a backend that is gone; a TCP connection and a reply cannot."""
        if packet.protocol != Protocol.UDP or flow.flags & _REPLY:
            return True
        return self._living(flow) is not None

    def _living(self, flow: Flow) -> Backend | None:
        backend = self.world.backends.get(flow.backend_id)
        if not backend or backend.state is BackendState.NONE or backend.generation != flow.generation:
            return None
        return backend

    def _repeats(self, packet: Packet, flow: Flow) -> bool:
        """A SYN repeats a handshake towards an active backend while neither side has closed."""
        backend = self._living(flow)
        partner = self.world.flows.get(reverse(flow.to) + packet.key[-1:])
        if not backend or backend.state is not BackendState.ACTIVE or not partner:
            return False
        return not (flow.seen | partner.seen) & _ENDED

    def _pair_of(self, packet: Packet, flow: Flow | None) -> tuple[FlowKey, ...]:
        """Return the rows that go when a flow is replaced: its own, and a partner that is really its own."""
        if flow is None:
            return ()
        partner_key = reverse(flow.to) + packet.key[-1:]
        partner = self.world.flows.get(partner_key)
        if partner and partner.to == reverse(packet.ends):
            return (packet.key, partner_key)
        return (packet.key,)

    def _frontend(self, packet: Packet) -> Frontend | None:
        """An address of a Service first, then NodePorts, on addresses of the node."""
        size, ends = self._size, packet.ends
        address, port = ends[size : 2 * size], int.from_bytes(ends[-2:], "big")
        found = None if address == self._any else self.world.frontends.get((address, port, packet.protocol))
        if found is None and address in self.world.node_addrs:
            found = self.world.frontends.get((self._any, port, packet.protocol))
        return found

    def _open(  # noqa: PLR0911 - one return for each reason
        self, packet: Packet, frontend: Frontend, removed: tuple[FlowKey, ...], *, from_pod: bool
    ) -> Decision:
        inside = frontend.kind is not FrontendKind.CLUSTER_IP and from_pod
        local_only = bool(frontend.flags & FrontendFlag.LOCAL_POLICY) and not inside
        ids = frontend.local if local_only else frontend.cluster
        if not ids:
            if frontend.flags & FrontendFlag.HAS_BACKENDS:
                return Decision(Act.DROP, Counter.DROP_NO_LOCAL_BACKEND, removed=removed)
            if has_options(packet, self.world.family):
                return Decision(Act.DROP, Counter.DROP_REWRITE, removed=removed)
            return Decision(Act.REJECT, Counter.REJECTED, packet, removed=removed)
        backend_id = ids[client_hash(frontend, packet, self._size) % len(ids)]
        backend = self.world.backends.get(backend_id)
        if backend is None or not backend.generation:
            return Decision(Act.DROP, Counter.DROP_DEAD_SLOT, removed=removed)
        saddr, flags = packet.ends[: self._size], 0
        if from_pod and backend.address == saddr:
            saddr, flags = self.world.hairpin_address, _HAIRPIN | _SNAT
        elif not from_pod and not backend.is_local:
            route = self._route(packet, backend.address)
            if isinstance(route, Decision):
                return Decision(route.act, route.counter, removed=removed)
            device = self.world.devices.get(route.device)
            if device is None or device.snat_address == self._any:
                return Decision(Act.DROP, Counter.DROP_NO_SNAT_ADDRESS, removed=removed)
            saddr, flags = device.snat_address, _FORWARD | _SNAT
        to = saddr + backend.address + packet.ends[-4:-2] + backend.port.to_bytes(2, "big")
        request = Flow(to, backend_id, backend.generation, frontend.service_id, flags, packet.seen)
        return self._create(packet, request, removed)

    def _create(self, packet: Packet, request: Flow, removed: tuple[FlowKey, ...]) -> Decision:
        reply_key = reverse(request.to) + packet.key[-1:]
        is_taken = reply_key in self.world.flows and reply_key not in removed
        reply = Flow(
            reverse(packet.ends),
            request.backend_id,
            request.generation,
            request.service_id,
            _reply_flags(request.flags),
            0,
        )
        opened = Opened(packet.key, request, reply, is_taken)
        if request.flags & _AT_EGRESS:
            return self._deliver(packet, request, opened=opened, removed=removed)
        return self._follow(packet, request, opened=opened, removed=removed)

    def _follow(
        self,
        packet: Packet,
        flow: Flow,
        *,
        touched: FlowKey | None = None,
        opened: Opened | None = None,
        removed: tuple[FlowKey, ...] = (),
    ) -> Decision:
        if flow.flags & _HAIRPIN:
            return Decision(Act.HAIRPIN, Counter.HAIRPINNED, packet, flow, touched, opened, removed)
        if not flow.flags & _FORWARD:
            return self._deliver(packet, flow, touched=touched, opened=opened, removed=removed)
        if packet.ttl <= 1:
            return Decision(Act.DROP, Counter.DROP_TTL, packet, None, touched, opened, removed)
        route = self._route(packet, flow.to[self._size : 2 * self._size])
        if isinstance(route, Decision):
            return Decision(route.act, route.counter, packet, None, touched, opened, removed)
        return Decision(Act.FORWARD, Counter.FORWARDED, packet, flow, touched, opened, removed)

    def _deliver(
        self,
        packet: Packet,
        flow: Flow,
        *,
        touched: FlowKey | None = None,
        opened: Opened | None = None,
        removed: tuple[FlowKey, ...] = (),
    ) -> Decision:
        is_restored = flow.flags & _REPLY and flow.flags & _AT_EGRESS
        counter = Counter.REPLY_RESTORED if is_restored else Counter.DELIVERED
        return Decision(Act.DELIVER, counter, packet, flow, touched, opened, removed)

    def _route(self, packet: Packet, destination: bytes) -> Route | Decision:
        route = self.world.routes.get(destination)
        if route is None:
            return Decision(Act.DROP, Counter.DROP_NO_ROUTE)
        if len(packet.frame) > route.mtu + 14 + 4:  # the kernel leaves room for a VLAN tag
            return Decision(Act.DROP, Counter.DROP_TOO_BIG)
        return route


def _reply_flags(request_flags: int) -> int:
    """Where a request's reply is restored (ADR 0004)."""
    if request_flags & _HAIRPIN:
        return _REPLY | _HAIRPIN
    if request_flags & _FORWARD:
        return _REPLY | _FORWARD
    if request_flags & _AT_EGRESS:
        return _REPLY
    return _REPLY | _AT_EGRESS
