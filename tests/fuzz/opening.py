"""The first packet of a flow: may the client come in, which backend answers, under which source address and port.

    Work, Frontend --open_flow--> Flow (the request's entry; both entries are among the changes), or a Decision

Semantics.md 1.5 and 1.6, ADR 0004, ADR 0007, architecture.md 6.
"""

from dataclasses import replace

from ebpflb.core.abi import BackendState, Counter, DeviceFlag, Family, FrontendFlag, MemberSet
from tests.fuzz.decision import Act, Decision, Work
from tests.fuzz.flowtable import (
    AT_EGRESS,
    DSR,
    FORWARD,
    HAIRPIN,
    REPLY,
    SNAT,
    has_partner,
    is_free,
    partner_key,
    partner_of,
)
from tests.fuzz.outer import HEADER_BYTES
from tests.fuzz.packet import L2
from tests.fuzz.policy import is_hidden, is_local_only, origin_of
from tests.fuzz.rows import Affinity, Backend, Flow, Frontend, Hook, Route, affinity_key, lies_in

SNAT_PORTS = range(32768, 65536)
_DSR_FRONTEND = int(FrontendFlag.DSR)


def drop(work: Work, reason: Counter) -> Decision:
    """Return the decision to drop the packet."""
    return Decision(Act.DROP, work, reason=reason)


def open_flow(work: Work, frontend: Frontend) -> Flow | Decision:
    """Return the entry of the flow that the packet opens."""
    packet, world = work.packet, work.world
    size = world.family.address_bytes
    backend_id = _named_by_outer_header(work, frontend) if packet.outer_daddr else _chosen(work, frontend)
    if isinstance(backend_id, Decision):
        return backend_id
    backend = world.backends.get(backend_id)
    if backend is None or not backend.generation:
        return drop(work, Counter.DROP_DEAD_SLOT)
    source = _source(work, frontend, backend)
    if isinstance(source, Decision):
        return source
    saddr, flags = source
    to = saddr + backend.address + packet.ends[2 * size : 2 * size + 2] + backend.port.to_bytes(2, "big")
    flow = Flow(to, backend_id, backend.generation, frontend.service_id, flags, packet.seen)
    return create(work, flow)


def create(work: Work, flow: Flow) -> Flow:
    """Add both entries of a flow to ``pending``; the request's alone under DSR."""
    packet, key = work.packet, work.packet.key
    if has_partner(flow):
        reply_flags = _reply_flags(flow.flags) | (DSR if packet.outer_daddr else 0)
        flow = Flow(flow.to, flow.backend_id, flow.generation, flow.service_id, flow.flags, flow.seen, reply_flags)
        reply_key = partner_key(key, flow)
        work.takes_any_port = not is_free(work, reply_key)
        if not work.takes_any_port:
            work.changes["pending", reply_key] = partner_of(key, flow)
    elif work.hook is Hook.XDP_IN:
        flow = replace(flow, seen=0)
    work.changes["pending", key] = flow
    work.counts.append(Counter.FLOW_CREATED)
    return flow


def _reply_flags(flags: int) -> int:
    """Where a request's reply is restored: where it comes back to."""
    if flags & HAIRPIN:
        return REPLY | HAIRPIN | flags & AT_EGRESS
    if flags & AT_EGRESS:
        return REPLY
    if flags & FORWARD:
        return REPLY | FORWARD
    return REPLY | AT_EGRESS


def _named_by_outer_header(work: Work, frontend: Frontend) -> int | Decision:
    """Another node chose. A backend that is none of this Service's here: not sent by one of us."""
    named = work.world.local_backends.get((frontend.service_id, work.packet.outer_daddr))
    backend = None if named is None else work.world.backends.get(named)
    if named is None or (backend and backend.state is BackendState.NONE):
        return Decision(Act.PASS, work)
    return named if _is_admitted(work, frontend) else drop(work, Counter.DROP_SOURCE_RANGE)


def _chosen(work: Work, frontend: Frontend) -> int | Decision:
    if not _is_admitted(work, frontend):
        return drop(work, Counter.DROP_SOURCE_RANGE)
    local_only = is_local_only(frontend, origin_of(work))
    ids = frontend.local if local_only else frontend.cluster
    if ids:
        return _preferred(work, frontend, ids, MemberSet.LOCAL if local_only else MemberSet.CLUSTER)
    if frontend.flags & FrontendFlag.HAS_BACKENDS:
        return drop(work, Counter.DROP_NO_LOCAL_BACKEND)
    return Decision(Act.REJECT, work)


def _preferred(work: Work, frontend: Frontend, ids: tuple[int, ...], member: MemberSet) -> int:
    """The client's remembered backend while it lives and the policy allows it, else one by hash, remembered."""
    by_hash = ids[client_hash(work, frontend) % len(ids)]
    if not frontend.affinity_s:
        return by_hash
    key = affinity_key(frontend.service_id, work.packet.ends[: work.world.family.address_bytes])
    known = work.world.affinity.get(key)
    backend = work.world.backends.get(known.backend_id) if known else None
    is_living = known and backend and backend.state is not BackendState.NONE and backend.generation == known.generation
    if known and is_living and work.world.members.get((frontend.service_id, known.backend_id), 0) & member:
        work.counts.append(Counter.AFFINITY_HIT)
        return known.backend_id
    chosen = work.world.backends.get(by_hash)
    if chosen is not None and chosen.generation:
        work.changes["affinity", key] = Affinity(by_hash, chosen.generation)
    return by_hash


def _is_admitted(work: Work, frontend: Frontend) -> bool:
    if not frontend.flags & FrontendFlag.SOURCE_RANGES:
        return True
    client = work.packet.ends[: work.world.family.address_bytes]
    return any(lies_in(client, each) for each in work.world.source_ranges.get(frontend.service_id, ()))


def client_hash(work: Work, frontend: Frontend) -> int:
    """Return Jenkins' one-at-a-time hash of the client, word by word as a little-endian machine reads the wire."""
    ends = work.packet.ends
    words = [int.from_bytes(ends[-2:], "little")]
    words += [int.from_bytes(ends[at : at + 4], "little") for at in range(0, work.world.family.address_bytes, 4)]
    if not frontend.affinity_s:
        words.append(int.from_bytes(ends[-4:-2], "little"))
    value = work.packet.protocol
    for word in words:
        value = (value + word) & 0xFFFFFFFF
        value = (value + (value << 10)) & 0xFFFFFFFF
        value ^= value >> 6
    value = (value + (value << 3)) & 0xFFFFFFFF
    value ^= value >> 11
    return (value + (value << 15)) & 0xFFFFFFFF


def _source(work: Work, frontend: Frontend, backend: Backend) -> tuple[bytes, int] | Decision:
    """Return the source address that the backend sees, and the flags of the request's entry."""
    world, size = work.world, work.world.family.address_bytes
    own = work.packet.ends[:size]
    if work.hook is Hook.OUT:
        if backend.address in world.node_addrs:
            return world.hairpin_address, AT_EGRESS | HAIRPIN | SNAT
        return own, AT_EGRESS | FORWARD
    is_itself = backend.address == own
    if is_itself and work.hook is Hook.POD_IN:
        return world.hairpin_address, HAIRPIN | SNAT
    is_direct = work.hook is not Hook.POD_IN and bool(frontend.flags & _DSR_FRONTEND)
    if work.packet.outer_daddr or (is_direct and backend.is_local):
        return own, 0
    if is_direct or is_itself or is_hidden(work, frontend, origin_of(work)):
        return _masqueraded(work, backend, DSR if is_direct else SNAT)
    return own, 0


def _masqueraded(work: Work, backend: Backend, how: int) -> tuple[bytes, int] | Decision:
    """What the backend answers must come back here; under DSR the address is the outer header's.

    A process of this node, and a pod whose answers nobody would see, keep the client's address.
    """
    world, size = work.world, work.world.family.address_bytes
    kept = work.packet.ends[:size], 0
    if backend.is_local and backend.address in world.node_addrs:
        return kept
    route = _way_out(work, backend.address)
    if isinstance(route, Decision):
        return route
    device = world.devices.get(route.device)
    if backend.is_local and not (device and device.flags & DeviceFlag.PODS):
        return kept
    if device is None or not any(device.snat_address):
        return drop(work, Counter.DROP_NO_SNAT_ADDRESS)
    return device.snat_address, FORWARD | how


def _way_out(work: Work, destination: bytes) -> Route | Decision:
    """Return by which device a packet would leave. XDP asks even if it can't send it there itself."""
    if work.hook is not Hook.XDP_IN:
        return route_to(work, bytes(len(destination)), destination, 0)
    route = work.world.routes.get(destination)
    if route is None or work.packet.length > route.mtu:
        work.counts.append(Counter.XDP_TO_TC)
        return Decision(Act.PASS, work)
    return route


def route_to(work: Work, source: bytes, destination: bytes, extra: int) -> Route | Decision:
    """Return the way to a destination that takes the packet and ``extra`` bytes more."""
    route = work.world.routes.get(destination)
    if work.hook is Hook.XDP_IN:
        return _plain_route(work, source, route, extra)
    if route is None or _stays_on_link(source):
        return drop(work, Counter.DROP_NO_ROUTE)
    packet = work.packet
    told = packet.length + extra
    outer = HEADER_BYTES[work.world.family] if packet.outer_daddr else 0
    # Told no length, the kernel measures the frame, and leaves room for a VLAN tag.
    measured = told if told & 0xFFFF else len(packet.frame) + outer - L2 - 4
    if max(told, measured) > route.mtu:
        return Decision(Act.TOO_BIG, work, mtu=route.mtu - extra)
    return route


def _plain_route(work: Work, source: bytes, route: Route | None, extra: int) -> Route | Decision:
    """XDP takes the way that is known whole, to a device that takes its frames; all else is tc's."""
    device = work.world.devices.get(route.device) if route else None
    takes_frames = device is not None and device.flags & DeviceFlag.XDP
    if route and route.macs and takes_frames and not _stays_on_link(source) and work.packet.length + extra <= route.mtu:
        return route
    work.counts.append(Counter.XDP_TO_TC)
    return Decision(Act.PASS, work)


def _stays_on_link(address: bytes) -> bool:
    """IPv6: routers forward nothing from multicast, link-local and loopback addresses (RFC 4291, 2.5.3, 2.5.6, 2.7)."""
    if len(address) == Family.IPV4.address_bytes:
        return False
    return address[0] == 0xFF or (address[0] == 0xFE and address[1] >> 6 == 2) or address == bytes(15) + b"\1"
