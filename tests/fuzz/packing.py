"""The rows of a world as the bytes of maps, by the structs of ``bpf/lb/abi.h``; apart from the product's own codec.

World --rows_of--> (map, key, value) ...          value of ``flows`` --unpack_flow--> Flow
"""

import struct
from collections.abc import Iterator
from itertools import count

from ebpflb.core.abi import HELD_BYTES, SLOTS_PER_LINE, Algorithm, BackendFlag, ConfigFlag, Family, NodeAddrFlag
from tests.fuzz.rows import Affinity, Backend, Config, Datagram, Detector, Flow, FlowKey, Frontend, Network, World

Row = tuple[str, bytes, bytes]
"""Map, key, value."""


def rows_of(world: World) -> Iterator[Row]:
    """Return every row that the control plane writes."""
    yield from _frontends_and_slots(world)
    for number, backend in world.backends.items():
        yield "backends", _u32(number), _backend(backend)
    for address, has_node_ports in world.node_addrs.items():
        yield "node_addrs", address, _u32(NodeAddrFlag.NODE_PORTS if has_node_ports else 0)
    yield "config", _u32(0), _config(world.config)
    for base, bits in world.service_cidrs:
        yield "service_cidrs", _u32(bits) + base, _u32(0)
    for index, device in world.devices.items():
        yield "devices", _u32(index), device.snat_address + struct.pack("=II", device.mtu, device.flags)
    for (service, member), sets in world.members.items():
        yield "members", struct.pack("=II", service, member), _u32(sets)
    for (service, address), number in world.local_backends.items():
        yield "local_backends", _u32(service) + address, _u32(number)
    for service, prefixes in world.source_ranges.items():
        yield from (
            ("source_ranges", struct.pack("=II", 32 + bits, service) + base, _u32(1)) for base, bits in prefixes
        )


def _frontends_and_slots(world: World) -> Iterator[Row]:
    positions = count()
    slots: list[int] = []
    for (address, port, protocol), frontend in world.frontends.items():
        ranges = b""
        for ids in (frontend.cluster, frontend.local):
            ranges += struct.pack("=II", len(slots) if ids else 0, len(ids))
            slots += ids
        yield "frontends", address + struct.pack(">HBx", port, protocol), _frontend(frontend) + ranges
    lines = (slots[at : at + SLOTS_PER_LINE] for at in range(0, len(slots), SLOTS_PER_LINE))
    for line in lines:
        padded = line + [0] * (SLOTS_PER_LINE - len(line))
        yield "slots", _u32(next(positions)), struct.pack(f"={SLOTS_PER_LINE}I", *padded)


def affinity_key(key: bytes) -> bytes:
    """Return a key of ``affinity`` as packet hooks use it: of no network namespace."""
    service_id, client = key[:4], key[4:]
    return bytes(8) + client + service_id + bytes(4 if len(client) == Family.IPV6.address_bytes else 0)


def affinity_value(affinity: Affinity, now: int) -> bytes:
    """Return a value of ``affinity`` that was last used now."""
    return struct.pack("=III", affinity.backend_id, affinity.generation, now)


def unpack_affinity(value: bytes) -> Affinity:
    """Return a value of ``affinity``, without its time."""
    return Affinity(*struct.unpack("=II", value[:8]))


def flow_key(key: FlowKey) -> bytes:
    """Return a key of ``flows``, ``pending`` or ``datagrams``: padded behind the protocol."""
    return key + bytes(3)


def flow_value(flow: Flow, now: int) -> bytes:
    """Return a value of ``flows`` that was last seen now."""
    numbers = flow.backend_id, flow.generation, flow.service_id, now
    return flow.to + struct.pack("=IIIIBBBx", *numbers, flow.flags, flow.seen, flow.partner_flags)


def unpack_flow(value: bytes) -> Flow:
    """Return a value of ``flows``, without its time."""
    to = value[:-20]
    backend_id, generation, service_id, _now, flags, seen, partner_flags = struct.unpack("=IIIIBBBx", value[-20:])
    return Flow(to, backend_id, generation, service_id, flags, seen, partner_flags)


def datagram_value(datagram: Datagram, now: int) -> bytes:
    """Return a value of ``datagrams`` that was last seen now."""
    ports = struct.pack(">HH", datagram.sport, datagram.dport)
    return ports + struct.pack("=IIII", datagram.is_known, datagram.held, datagram.released, now)


def unpack_datagram(value: bytes) -> Datagram:
    """Return a value of ``datagrams``, without its time."""
    sport, dport = struct.unpack(">HH", value[:4])
    is_known, held, released, _now = struct.unpack("=IIII", value[4:])
    return Datagram(sport, dport, is_known, held, released)


def held_key(key: bytes) -> bytes:
    """Return a key of ``held_fragments``: a datagram's, padded, and a number."""
    return flow_key(key[:-4]) + key[-4:]


def held_value(frame: bytes, now: int) -> bytes:
    """Return a value of ``held_fragments``, put there just now."""
    return struct.pack("=II", len(frame), now) + frame.ljust(HELD_BYTES, b"\0")


def unpack_held(value: bytes) -> bytes:
    """Return the frame of a value of ``held_fragments``."""
    return value[8 : 8 + int.from_bytes(value[:4], "little")]


def _u32(number: int) -> bytes:
    return struct.pack("=I", number)


_DETECTORS = {
    Detector.NONE: ConfigFlag(0),
    Detector.NETWORK: ConfigFlag.DETECT_BY_NETWORK,
    Detector.DEVICE: ConfigFlag.DETECT_BY_DEVICE,
}


def _config(config: Config) -> bytes:
    flags = ConfigFlag.WRITTEN | _DETECTORS[config.detector]
    flags |= ConfigFlag.MASQUERADE_ALL if config.masquerade_all else 0
    return b"".join((*_network(config.pods), *_network(config.guard), _u32(flags)))


def _network(network: Network) -> tuple[bytes, bytes]:
    """Return the address and the mask."""
    base, bits = network
    host_bits = 8 * len(base) - bits
    return base, ((1 << 8 * len(base)) - (1 << host_bits)).to_bytes(len(base), "big")


def _frontend(frontend: Frontend) -> bytes:
    numbers = frontend.kind, Algorithm.MAGLEV, frontend.flags
    return struct.pack("=IBBBxI", frontend.service_id, *numbers, frontend.affinity_s)


def _backend(backend: Backend) -> bytes:
    flags = BackendFlag.LOCAL if backend.is_local else 0
    numbers = backend.protocol, backend.state, flags
    return backend.address + struct.pack(">H", backend.port) + struct.pack("=BBB3xI", *numbers, backend.generation)
