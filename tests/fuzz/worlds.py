"""The worlds that packets are sent through: frontends of every kind, backends in every state, flows in every stage.

    family --world_of--> World, conversations

Names and routes are those of ``tests.prog.world``. A conversation says who talks to whom at which hook, for the seeds.
"""

from collections.abc import Mapping
from dataclasses import replace

from ebpflb.core.abi import Family, FlowFlag, FlowSeen, FrontendFlag, FrontendKind, Protocol
from tests.fuzz.builder import DELETED, GENERATION, LOCAL, MTU, NEVER, PROTOCOLS, Builder, Conversation
from tests.fuzz.fragments import held_key
from tests.fuzz.rows import Affinity, Datagram, Hook, Route, World, affinity_key
from tests.fuzz.settings import CIDR_BITS, SETTINGS, Setting, config_of, devices_of, network_of
from tests.prog.world import NARROW_MTU
from tests.prog.world import Device as Interface

_ALIVE = FlowSeen.SYN | FlowSeen.DATA
_ENDED = FlowSeen.FIN | FlowSeen.RST | _ALIVE
_MOVED = FlowSeen.MOVED | _ALIVE
_LOCAL_POLICY = FrontendFlag.HAS_BACKENDS | FrontendFlag.LOCAL_POLICY
_FORWARD = FlowFlag.FORWARD | FlowFlag.SNAT
_HAIRPIN = FlowFlag.HAIRPIN | FlowFlag.SNAT
_ASIDE = FlowFlag.AT_EGRESS | FlowFlag.SNAT
_OWN = FlowFlag.AT_EGRESS | FlowFlag.FORWARD
_DSR = FlowFlag.FORWARD | FlowFlag.DSR
GATEWAY_MAC = bytes.fromhex("0200000000fe")
KNOWN_DATAGRAM, WAITING_DATAGRAM, RELEASING_DATAGRAM = b"\0\x77\0\0", b"\0\x78\0\0", b"\0\x79\0\0"


def _add_frontends(world: Builder) -> None:
    none = FrontendFlag(0)
    add = world.frontend
    add("cluster:80", FrontendKind.CLUSTER_IP, ["pod", "remote"], local=["pod"])
    add("cluster:81", FrontendKind.CLUSTER_IP, flags=none)
    add("cluster:82", FrontendKind.CLUSTER_IP, ["bare", "narrow", "lost", "pod2", "node"])
    add("cluster:83", FrontendKind.CLUSTER_IP, ["remote"], flags=_LOCAL_POLICY)
    add("any:30080", FrontendKind.NODE_PORT, ["pod", "remote", "narrow"], local=["pod"])
    add("any:30081", FrontendKind.NODE_PORT, ["remote", "pod", "pod2"], local=["pod", "pod2"], flags=_LOCAL_POLICY)
    add("any:30082", FrontendKind.NODE_PORT, ["remote"], flags=_LOCAL_POLICY)
    add("any:30083", FrontendKind.NODE_PORT, flags=none)
    add("external:80", FrontendKind.EXTERNAL_IP, ["remote", "narrow", "pod"])
    add("external:90", FrontendKind.EXTERNAL_IP, ["remote", "narrow", "pod"], flags=_with(FrontendFlag.DSR))
    add("any:30090", FrontendKind.NODE_PORT, ["remote", "bare", "pod"], flags=_with(FrontendFlag.DSR))
    add("cluster:84", FrontendKind.CLUSTER_IP, ["pod", "remote", "pod2"], affinity_s=10_800)
    add("any:30085", FrontendKind.NODE_PORT, ["remote"], local=["pod2"], flags=_LOCAL_POLICY, affinity_s=10_800)
    add("external:85", FrontendKind.EXTERNAL_IP, ["remote", "narrow"], affinity_s=10_800)
    add("balancer:443", FrontendKind.LOAD_BALANCER, ["bare", "lost", DELETED])
    add("balancer:444", FrontendKind.LOAD_BALANCER, flags=none)
    add("balancer:445", FrontendKind.LOAD_BALANCER, ["remote", "pod"], flags=_with(FrontendFlag.SOURCE_RANGES))
    for protocol in PROTOCOLS:  # a table that contradicts itself
        key = world.address("any"), 30081, protocol
        broken = replace(world.frontends[key], cluster=(NEVER,), local=(NEVER,), flags=FrontendFlag.HAS_BACKENDS)
        world.frontends[world.address("any"), 30084, protocol] = broken
        world.say(Hook.UPLINK_IN, protocol, "client:6000", "node:30084")
    world.service_address("cluster", _with(FrontendFlag.CLUSTER_ADDRESS))
    world.service_address("external", FrontendFlag.HAS_BACKENDS)
    world.service_address("balancer", none)


def _with(flag: FrontendFlag) -> FrontendFlag:
    return FrontendFlag.HAS_BACKENDS | flag


def _add_flows(world: Builder, protocol: Protocol) -> None:
    """Confirmed flows of every kind, and some that are damaged, over, or whose backend is gone."""
    local = FlowFlag(0)
    pair = world.flow
    pair(protocol, ("client:4000", "node:30080"), ("node:4000", "remote:8080"), _FORWARD)
    pair(protocol, ("client:4001", "node:30080"), ("client:4001", "pod:8080"), local)
    pair(protocol, ("client2:4000", "node:30080"), ("node:40001", "remote:8080"), _FORWARD, seen=(1, 0))
    pair(protocol, ("client2:4002", "node:30081"), ("client2:4002", "pod2:8080"), local, seen=(1, 0))
    pair(protocol, ("client:4003", "external:80"), ("node:4003", "narrow:8080"), _FORWARD)
    pair(protocol, ("client:4004", "balancer:443"), ("node:4004", "lost:8080"), _FORWARD)
    pair(protocol, ("stranger:4005", "node:30080"), ("node:4005", "remote:8080"), _FORWARD)
    pair(protocol, ("client:4006", "node:30080"), ("node:4006", "remote:8080"), _FORWARD, seen=(_ENDED, _ENDED))
    pair(protocol, ("client:4007", "node:30080"), ("node:4007", "remote2:8080"), _FORWARD)
    pair(protocol, ("client:4008", "balancer:443"), ("node:4008", "stranger:8080"), _FORWARD)
    pair(protocol, ("client:4009", "node:30080"), ("node:4009", "remote:8080"), _FORWARD, generation=3)
    pair(protocol, ("client:4010", "node:30080"), ("node:4010", "remote:8080"), _FORWARD, halves="request")
    pair(protocol, ("client:4011", "node:30080"), ("node:4011", "remote:8080"), _FORWARD, halves="reply")
    pair(protocol, ("client:4012", "node:30082"), ("node:4012", "remote:8080"), _FORWARD, service="any:30080")
    pair(protocol, ("client:4015", "node:30080"), ("client:4015", "pod:8080"), local, seen=(_ENDED, _ENDED))
    pair(protocol, ("pod:5000", "cluster:80"), ("pod:5000", "remote:8080"), local)
    pair(protocol, ("pod:5001", "cluster:80"), ("hairpin:5001", "pod:8080"), _HAIRPIN)
    pair(protocol, ("pod2:5002", "node:30081"), ("pod2:5002", "pod:8080"), local, seen=(_ENDED, _ALIVE))
    pair(protocol, ("pod:5003", "external:80"), ("hairpin:41000", "pod:8080"), _HAIRPIN, seen=(1, 0))
    pair(protocol, ("node:4000", "remote:8080"), ("node:42000", "remote:8080"), _ASIDE, service="any:30080")
    pair(protocol, ("node:4013", "remote:8080"), ("node:42001", "remote:8080"), _ASIDE, service="any:30080")
    ended = ("node:4014", "remote:8080"), ("node:42002", "remote:8080")
    pair(protocol, *ended, _ASIDE, service="any:30080", seen=(_ENDED, _ENDED))
    pair(protocol, ("node:4020", "cluster:80"), ("node:4020", "remote:8080"), _OWN)
    pair(protocol, ("node:4021", "cluster:82"), ("hairpin:4021", "node:8080"), _ASIDE | FlowFlag.HAIRPIN)
    pair(protocol, ("client:4030", "external:90"), ("node:4030", "remote:8080"), _DSR)
    pair(protocol, ("client:4031", "external:90"), ("node:4031", "narrow:8080"), _DSR)
    pair(protocol, ("client:4032", "external:90"), ("client:4032", "pod:8080"), local, outer="pod")


def _add_pending(world: Builder, protocol: Protocol) -> None:
    """Flows that nobody has confirmed, and what confirmed ones left behind."""
    local, new, answered = FlowFlag(0), (1, 0), (1, 2)
    pair = world.flow
    first = "client:4050", "node:30080"
    pair(protocol, first, ("node:4050", "remote:8080"), _FORWARD, seen=new, table="pending")
    second = "client:4051", "node:30080"
    pair(protocol, second, ("node:4051", "remote:8080"), _FORWARD, seen=answered, table="pending")
    pair(protocol, ("client:4052", "node:30080"), ("client:4052", "pod:8080"), local, seen=new, table="pending")
    pair(protocol, ("client:4053", "node:30080"), ("client:4053", "pod:8080"), local, seen=answered, table="pending")
    pair(protocol, ("pod:5050", "cluster:80"), ("hairpin:5050", "pod:8080"), _HAIRPIN, seen=answered, table="pending")
    pair(protocol, ("pod:5051", "cluster:80"), ("pod:5051", "remote:8080"), local, seen=answered, table="pending")
    refused = ("client:4060", "node:30080"), ("node:4060", "remote:8080")
    pair(protocol, *refused, _FORWARD, seen=(1, FlowSeen.RST), table="pending")
    for half, number in (("request", 4054), ("reply", 4055)):
        ends = (f"client:{number}", "node:30080"), (f"node:{number}", "remote:8080")
        pair(protocol, *ends, _FORWARD, seen=new, table="pending", halves=half)
    pair(protocol, ("client:4056", "external:90"), ("node:4056", "remote:8080"), _DSR, seen=new, table="pending")
    moved = ("client:4057", "node:30080"), ("node:4057", "remote:8080")
    pair(protocol, *moved, _FORWARD, seen=(_MOVED, _MOVED), table="pending")
    pair(
        protocol,
        ("client:4000", "node:30080"),
        ("node:4000", "remote:8080"),
        _FORWARD,
        seen=(_MOVED, _MOVED),
        table="pending",
    )
    pair(
        protocol,
        ("client:4058", "external:90"),
        ("client:4058", "pod:8080"),
        local,
        seen=answered,
        table="pending",
        outer="pod",
    )
    pair(protocol, ("node:4059", "cluster:80"), ("node:4059", "remote:8080"), _OWN, seen=answered, table="pending")


def _add_datagrams(world: Builder) -> None:
    """Datagrams in fragments: one whose ports are known, one that waits for them, one that has a fragment to let go."""
    for ends, ports in (
        (("client:0", "node:0"), (4000, 30080)),
        (("remote:0", "node:0"), (8080, 4000)),
        (("pod:0", "cluster:0"), (5000, 80)),
        (("remote:0", "pod:0"), (8080, 5000)),
        (("client:0", "external:0"), (4030, 90)),
    ):
        for protocol in PROTOCOLS:
            addresses, tail = world.ends(*ends)[:-4], bytes((protocol,))
            world.datagrams[addresses + KNOWN_DATAGRAM + tail] = Datagram(*ports, 1)
            world.datagrams[addresses + WAITING_DATAGRAM + tail] = Datagram(0, 0, 0, 2, 0)
            releasing = addresses + RELEASING_DATAGRAM + tail
            world.datagrams[releasing] = Datagram(*ports, 1, 3, 2)
            world.held[held_key(releasing, 2)] = bytes(60)


def _affinities(world: Builder) -> dict[bytes, Affinity]:
    """What clients remember: a usable backend, one of another Service, one that is gone, an earlier user of its id."""
    found = {}
    remembered = (
        ("cluster:84", "client", "pod2", GENERATION),
        ("cluster:84", "client2", "narrow", GENERATION),
        ("cluster:84", "pod", "pod", GENERATION),
        ("any:30085", "client", "pod2", GENERATION),
        ("any:30085", "client2", "remote", GENERATION),
        ("external:85", "client", DELETED, GENERATION),
        ("external:85", "client2", "remote", 3),
    )
    for frontend, client, backend, generation in remembered:
        name, port = frontend.split(":")
        for protocol in PROTOCOLS:
            service_id = world.frontends[world.address(name), int(port), protocol].service_id
            key = affinity_key(service_id, world.address(client))
            found[key] = Affinity(world.backend_id(backend, protocol), generation)
    return found


def _add_strangers(world: Builder) -> None:
    """Packets that no Service claims, and the node's own."""
    for protocol in PROTOCOLS:
        for hook in (Hook.UPLINK_IN, Hook.POD_IN, Hook.OUT):
            world.say(hook, protocol, "client:9999", "pod:80")
            world.say(hook, protocol, "pod:9999", "client:80")
            world.say(hook, protocol, "node:9999", "remote:8080", is_own=hook is Hook.OUT)
            world.say(hook, protocol, "any:9999", "any:30080")
        for client in ("client:4001", "client:4015", "client:4052"):
            world.say(Hook.UPLINK_IN, protocol, client, "pod:8080")
        world.say(Hook.POD_IN, protocol, "pod:5000", "remote:8080")
        world.say(Hook.POD_IN, protocol, "pod:5051", "remote:8080")
        for number in (4000, 4051, 40001):
            world.say(Hook.OUT, protocol, f"node:{number}", "remote:8080", is_own=True)


def _add_misses(world: Builder) -> None:
    """Packets to addresses of Services, but to none of their ports; to addresses that no Service has; to an address of
    the node that has no NodePorts.
    """
    for protocol in PROTOCOLS:
        for dialled in ("cluster:8", "external:8", "unused:80", "nearby:80", "node2:30080"):
            world.say(Hook.UPLINK_IN, protocol, "client:6100", dialled)
            world.say(Hook.UPLINK_IN, protocol, "client:6101", dialled, outer="pod")
            world.say(Hook.POD_IN, protocol, "pod:7100", dialled)
            world.say(Hook.OUT, protocol, "node:8100", dialled, is_own=True)
            world.say(Hook.OUT, protocol, "pod:7100", dialled)
        for dialled in ("any:30080", "any:30081", "cluster:80", "cluster:83"):  # pods elsewhere, and what only looks so
            frontend = dialled.replace("any", "node")
            world.say(Hook.UPLINK_IN, protocol, "pod2:7200", frontend)
            world.say(Hook.UPLINK_IN, protocol, "remote:7201", frontend)
            world.say(Hook.POD_IN, protocol, "client:7202", frontend)
            world.say(Hook.OUT, protocol, "pod:7203", frontend, is_own=True)


def _source_ranges(world: Builder) -> dict[int, tuple[tuple[bytes, int], ...]]:
    """``client2`` is outside; pods are in a wider range."""
    ids = [world.frontends[world.address("balancer"), 445, protocol].service_id for protocol in PROTOCOLS]
    return dict.fromkeys(ids, (network_of(world, "client", 32), network_of(world, "pod", 16)))


def _routes(world: Builder, macs: Mapping[int, bytes]) -> dict[bytes, Route]:
    """Only gateways are in the neighbour table."""
    routes = {"uplink": ("client", "client2", "remote", "remote2"), "bare": ("bare",), "narrow": ("narrow",)}
    routes |= {"pod": ("pod",), "pod2": ("pod2",)}
    return {world.address(name): _route(device, macs) for device, names in routes.items() for name in names}


def _route(device: str, macs: Mapping[int, bytes]) -> Route:
    index = Interface[device.upper()]
    next_hop = GATEWAY_MAC + macs[index] if device not in LOCAL else b""
    return Route(index, NARROW_MTU if device == "narrow" else MTU, next_hop)


def world_of(
    family: Family, macs: Mapping[int, bytes], setting: Setting = SETTINGS[0]
) -> tuple[World, list[Conversation]]:
    """Return a family's world and who talks in it. ``macs``: of the devices, by their index."""
    builder = Builder(family)
    builder.add_backends()
    _add_frontends(builder)
    for protocol in PROTOCOLS:
        _add_flows(builder, protocol)
        _add_pending(builder, protocol)
    _add_datagrams(builder)
    _add_strangers(builder)
    _add_misses(builder)
    node = builder.address("node")
    world = World(
        family=family,
        hairpin_address=builder.address("hairpin"),
        frontends=builder.frontends,
        backends=builder.backends,
        node_addrs={node: True, builder.address("node2"): False},
        devices=devices_of(node, setting),
        config=config_of(builder, setting),
        mac=macs[Interface.UPLINK],
        service_cidrs=(network_of(builder, "cluster", CIDR_BITS),),
        routes=_routes(builder, macs),
        flows=builder.tables["flows"],
        pending=builder.tables["pending"],
        datagrams=builder.datagrams,
        held=builder.held,
        local_backends=builder.local_backends,
        source_ranges=_source_ranges(builder),
        affinity=_affinities(builder),
        members=builder.members(),
    )
    return world, builder.conversations
