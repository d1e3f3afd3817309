"""The translation once more, slow and obvious: what a packet hook must do with a frame, given the rows of a world.

    (world, hook, frame) --decide--> Decision: act, flow, changes of rows, counts

Written from the design documents and the ADRs, apart from the programs. Knows no map and no kernel.
"""

from ebpflb.core.abi import BackendState, Counter, FrontendFlag, Protocol
from tests.fuzz import fragments
from tests.fuzz.decision import Act, Decision, Work
from tests.fuzz.flowtable import (
    AT_EGRESS,
    DSR,
    ENDED,
    FORWARD,
    HAIRPIN,
    REPLY,
    SNAT,
    Found,
    end,
    find,
    has_partner,
    note,
    partner_key,
)
from tests.fuzz.headers import Kind
from tests.fuzz.opening import create, open_flow, route_to
from tests.fuzz.outer import HEADER_BYTES
from tests.fuzz.packet import Packet, destination, is_of_others, is_tcs, parse, parse_plain
from tests.fuzz.policy import unclaimed
from tests.fuzz.rows import Backend, Flow, Frontend, Hook, World, lies_in, reverse

_TCP, _UDP = int(Protocol.TCP), int(Protocol.UDP)


def _is_in_the_way(other: Flow, hook: Hook) -> bool:
    """Say whether replies of what passes `hook` would be taken for those of `other`."""
    if not other.flags & REPLY or bool(other.flags & AT_EGRESS) == (hook is Hook.OUT):
        return False
    return hook in {Hook.POD_IN, Hook.OUT} or bool(other.seen & ENDED)


class Reference:
    """One world's answers."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._size = world.family.address_bytes
        self._any = bytes(self._size)

    def decide(self, hook: Hook, frame: bytes, device: int, *, is_own: bool = False) -> Decision:
        """Return what the hook must do at a device. ``is_own``: the packet did not come in by one."""
        read = parse_plain if hook is Hook.XDP_IN else parse
        packet = None if self._is_another_hosts(hook, frame) else read(frame, self.world.family)
        if packet is not None and packet.kind is Kind.OTHER and not self._is_guarded(packet.ends):
            packet = None
        if packet is None:
            is_left = hook is Hook.XDP_IN and self._is_left_to_tc(frame)
            return Decision(Act.PASS, None, reason=Counter.XDP_TO_TC if is_left else None)
        work = Work(self.world, hook, packet, device)
        if packet.outer_daddr and hook is not Hook.UPLINK_IN:  # nodes send them, nobody else
            return Decision(Act.PASS, work)
        if packet.kind is Kind.FIRST_FRAGMENT or packet.kind is Kind.LATER_FRAGMENT:
            decided = fragments.take(work, frame, may_wait=hook is not Hook.OUT)
            if decided is not None:
                return decided
        if hook is Hook.OUT:
            return self._egress(work, is_own=is_own)
        return self._ingress(work)

    def _is_another_hosts(self, hook: Hook, frame: bytes) -> bool:
        """Say whether a promiscuous uplink shows what is for somebody else alone; XDP does not look."""
        return hook is Hook.UPLINK_IN and frame[:6] != self.world.mac and not frame[0] & 1

    def _is_left_to_tc(self, frame: bytes) -> bool:
        """Say whether tc has to look at what XDP does not read: it may translate it, or let it go no further."""
        family = self.world.family
        if is_tcs(frame, family):
            return True
        return is_of_others(frame, family) and lies_in(destination(frame, family), self.world.config.guard)

    def _is_guarded(self, ends: bytes) -> bool:
        return lies_in(ends[self._size : 2 * self._size], self.world.config.guard)

    def _ingress(self, work: Work) -> Decision:
        packet = work.packet
        found = find(work, packet.key)
        if found and (found.flow.flags & AT_EGRESS or not self._is_sent_here(packet, found.flow)):
            return Decision(Act.PASS, work)
        if found and not packet.opens and self._stays(packet, found.flow):
            return self._follow_found(work, found)
        return self._claim(work, found)

    def _is_sent_here(self, packet: Packet, flow: Flow) -> bool:
        """An outer header must name a local backend of the flow's service port (ADR 19)."""
        return not packet.outer_daddr or (flow.service_id, packet.outer_daddr) in self.world.local_backends

    def _egress(self, work: Work, *, is_own: bool) -> Decision:
        """Replies are restored; what the node itself sends is claimed here if the socket hooks left it alone."""
        packet = work.packet
        found = find(work, packet.key)
        if found and not found.flow.flags & AT_EGRESS:
            return Decision(Act.PASS, work)
        if found and found.flow.flags & REPLY:
            return self._follow_found(work, found)
        if not is_own:
            return Decision(Act.PASS, work)
        if found and not packet.opens and self._stays(packet, found.flow):
            return self._follow_found(work, found)
        if packet.protocol == _TCP and not packet.opens:
            return Decision(Act.PASS, work)
        return self._claim(work, found)

    def _stays(self, packet: Packet, flow: Flow) -> bool:
        """UDP leaves a backend that is gone; a connection and a reply cannot."""
        if packet.protocol != _UDP or flow.flags & REPLY:
            return True
        return self._living(flow) is not None

    def _living(self, flow: Flow) -> Backend | None:
        backend = self.world.backends.get(flow.backend_id)
        if not backend or backend.state is BackendState.NONE or backend.generation != flow.generation:
            return None
        return backend

    def _repeats(self, work: Work, flow: Flow) -> bool:
        """A SYN repeats a handshake towards an active backend while neither side has closed."""
        backend, seen = self._living(flow), flow.seen
        if backend is None or backend.state is not BackendState.ACTIVE:
            return False
        if has_partner(flow):
            partner = find(work, partner_key(work.packet.key, flow))
            if partner is None:
                return False
            seen |= partner.flow.seen
        return not seen & ENDED

    def _claim(self, work: Work, found: Found | None) -> Decision:
        """A packet that follows no entry, or a SYN. Neither an error nor a later fragment opens a flow."""
        packet = work.packet
        if packet.kind in {Kind.ICMP_ERROR, Kind.LATER_FRAGMENT, Kind.OTHER}:
            refused = None if packet.kind is Kind.ICMP_ERROR else unclaimed(work)
            return refused or Decision(Act.PASS, work)
        if packet.kind is Kind.ECHO:
            return self._ping(work)
        frontend = self._frontend(packet)
        if frontend is None:
            return self._unclaimed(work, found)
        if found and packet.opens and found.flow.service_id == frontend.service_id and self._repeats(work, found.flow):
            return self._follow_found(work, found)
        if found is None and packet.resets:
            return Decision(Act.PASS, work)
        if found is not None:
            end(work, found.flow)
        opened = open_flow(work, frontend)
        return opened if isinstance(opened, Decision) else self._follow(work, opened)

    def _ping(self, work: Work) -> Decision:
        """Only packets of DSR flows are taken out of an outer header."""
        row = self.world.frontends.get((work.packet.ends[self._size : 2 * self._size], 0, 0))
        if work.packet.outer_daddr:
            return Decision(Act.PASS, work)
        if row is not None and row.flags & FrontendFlag.HAS_BACKENDS:
            return Decision(Act.ECHO_ANSWER, work)
        return unclaimed(work) or Decision(Act.PASS, work)

    def _frontend(self, packet: Packet) -> Frontend | None:
        """An address of a Service first, then NodePorts, on addresses of the node that took the packet in."""
        size, ends = self._size, packet.ends
        address, port = ends[size : 2 * size], int.from_bytes(ends[-2:], "big")
        found = None if address == self._any else self.world.frontends.get((address, port, packet.protocol))
        if found is None and (packet.outer_daddr or self.world.node_addrs.get(address, False)):
            found = self.world.frontends.get((self._any, port, packet.protocol))
        return found

    def _unclaimed(self, work: Work, found: Found | None) -> Decision:
        """Nobody claims it. But where its replies would follow somebody else's flow, it takes another port."""
        packet = work.packet
        if packet.outer_daddr:
            return Decision(Act.PASS, work)
        if found and packet.opens and self._is_aside(packet, found.flow):
            if self._repeats(work, found.flow):
                return self._follow_found(work, found)
            end(work, found.flow)
            found = None
        return unclaimed(work) or self._step_aside(work, found)

    def _is_aside(self, packet: Packet, flow: Flow) -> bool:
        """Say whether the flow is one that nobody claimed: another source port is all that it got."""
        return (
            not flow.flags & REPLY and flow.to[self._size : 2 * self._size] == packet.ends[self._size : 2 * self._size]
        )

    def _step_aside(self, work: Work, found: Found | None) -> Decision:
        packet = work.packet
        is_out = work.hook is Hook.OUT
        may_open = packet.opens or (is_out and packet.protocol == _UDP)
        if not may_open or work.hook is Hook.XDP_IN:  # tc sees it after XDP
            return Decision(Act.PASS, work)
        flags = AT_EGRESS | SNAT if is_out else SNAT
        other = find(work, reverse(packet.ends) + packet.key[-1:])
        if other is None or not _is_in_the_way(other.flow, work.hook):
            return Decision(Act.PASS, work)
        if found is not None:  # it has done so before
            return Decision(Act.DELIVER, work, found.flow)
        flow = other.flow
        request = Flow(packet.ends, flow.backend_id, flow.generation, flow.service_id, flags, packet.seen)
        return Decision(Act.DELIVER, work, create(work, request))

    def _follow_found(self, work: Work, found: Found) -> Decision:
        note(work, found)
        return self._follow(work, found.flow)

    def _follow(self, work: Work, flow: Flow) -> Decision:
        if flow.flags & HAIRPIN:
            return Decision(Act.HAIRPIN, work, flow)
        if not flow.flags & FORWARD:
            return Decision(Act.DELIVER, work, flow)
        if work.packet.ttl <= 1 and not flow.flags & AT_EGRESS:
            return Decision(Act.EXPIRED, work)
        extra = HEADER_BYTES[self.world.family] if flow.flags & DSR else 0
        size = self._size
        route = route_to(work, flow.to[:size], flow.to[size : 2 * size], extra)
        return route if isinstance(route, Decision) else Decision(Act.FORWARD, work, flow, route=route)
