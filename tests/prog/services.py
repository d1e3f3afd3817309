"""Services as a test names them, and the rows that the control plane would write for them.

    Service("node port", "any:30080", backends=("pod", "remote")) --tables--> core.tables.Tables

Written apart from ``core.compile``: these tests are about what the programs do with rows.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate

import numpy as np

from ebpflb.core.abi import (
    Algorithm,
    BackendFlag,
    BackendState,
    ConfigFlag,
    DeviceFlag,
    Family,
    FrontendFlag,
    FrontendKind,
    MemberSet,
    NodeAddrFlag,
    Protocol,
)
from ebpflb.core.tables import (
    CONFIG_KEY,
    EMPTY_RANGE,
    Backend,
    BackendKey,
    ConfigRow,
    DeviceRow,
    Frontend,
    FrontendKey,
    LocalBackendKey,
    MemberKey,
    Prefix,
    Range,
    SourceRangeKey,
    Tables,
)
from tests.prog.world import ADDRESSES, Device, packed

BACKEND_PORT = 8080
GENERATION = 7
SERVICE_ID = 1
"""Of a service that names no other."""
LOCAL = frozenset({"pod", "pod2", "node"})
"""``node`` stands for a process of the node itself (hostNetwork)."""
GUARD_BITS = 14
"""Of the network that holds all ClusterIPs and ServiceCIDRs here, and other addresses."""
BACKEND_IDS = {name: number for number, name in enumerate(ADDRESSES, start=1)}
"""The same in every test: a backend keeps its id from one load of the tables to the next."""


@dataclass(frozen=True, slots=True)
class Service:
    """One service port with one frontend."""

    frontend: str
    """As ``name:port``; ``any`` makes it a NodePort."""
    backends: tuple[str, ...] = ()
    """Names; each listens on port 8080."""
    kind: FrontendKind = FrontendKind.NODE_PORT
    id: int = SERVICE_ID
    algorithm: Algorithm = Algorithm.MAGLEV
    local_policy: bool = False
    has_backends: bool | None = None
    """None: when there are any."""
    affinity_s: int = 0
    dsr: bool = False
    source_ranges: tuple[tuple[str, int], ...] = ()
    """Names of addresses, and prefix lengths of IPv4; those of IPv6 are four times as long."""


@dataclass(frozen=True, slots=True)
class Node:
    """What the configuration and the devices of the node say about every Service; as a test leaves it out, a node that
    knows its own pods by their network, and whose pods' devices have no row.
    """

    masquerade_all: bool = False
    detects_by_device: bool = False
    """A pod is what came in by a device with ``POD_SOURCE``."""
    loopback_node_ports: bool = True
    pods: tuple[str, int] | None = ("pod", 24)
    """The network of pods, as in ``source_ranges``: they are detected by it. None: they are not."""
    cidrs: tuple[tuple[str, int], ...] = ()
    """ServiceCIDRs, likewise."""
    device_flags: Mapping[Device, DeviceFlag] = field(default_factory=dict)
    """Besides ``XDP``."""
    node_ports_at: tuple[str, ...] = ("node",)
    addresses: tuple[str, ...] = ()
    """Of the node, where no NodePorts hold."""


PLAIN_NODE = Node()


def backend_row(name: str, family: Family, protocol: Protocol, state: BackendState, generation: int) -> Backend:
    """Return the value of ``backends``."""
    flags = BackendFlag.LOCAL if name in LOCAL else BackendFlag(0)
    return Backend(BackendKey(packed(name, family), BACKEND_PORT, protocol), state, flags, generation)


def tables(
    family: Family,
    protocol: Protocol,
    services: Iterable[Service],
    *,
    draining: Iterable[str] = (),
    generations: Mapping[str, int] | None = None,
    devices: Mapping[Device, str] | None = None,
    xdp: bool = True,
    node: Node = PLAIN_NODE,
) -> Tables:
    """Return all rows; ``draining`` backends serve the flows they have."""
    services = list(services)
    offsets = [0, *accumulate(len(service.backends) for service in services)]
    ranges = {service: _ranges(service, offset) for service, offset in zip(services, offsets, strict=False)}
    used = {name: BackendState.ACTIVE for service in services for name in service.backends}
    states = {**dict.fromkeys(draining, BackendState.DRAINING), **used}
    return Tables(
        family=family,
        frontends=dict(
            row
            for service in services
            for row in (*_address_row(service, family), _frontend(service, family, protocol, *ranges[service]))
        ),
        backends={
            BACKEND_IDS[name]: backend_row(name, family, protocol, state, (generations or {}).get(name, GENERATION))
            for name, state in states.items()
        },
        services={service.id: f"test/service-{service.id}:{protocol.name}" for service in services},
        members=dict(row for service in services if service.affinity_s for row in _members(service)),
        local_backends={
            LocalBackendKey(service.id, packed(name, family)): BACKEND_IDS[name]
            for service in services
            if service.dsr
            for name in LOCAL.intersection(service.backends)
        },
        source_ranges={
            SourceRangeKey(service.id, *_prefix(name, bits, family)): 0
            for service in services
            for name, bits in service.source_ranges
        },
        node_addrs={
            **{packed(name, family): NodeAddrFlag(0) for name in node.addresses},
            **{packed(name, family): NodeAddrFlag.NODE_PORTS for name in node.node_ports_at},
        },
        devices={
            device: _device_row(name, family, node.device_flags.get(device, DeviceFlag(0)), xdp=xdp)
            for device, name in ({Device.UPLINK: "node"} if devices is None else devices).items()
        },
        service_cidrs={Prefix(*_prefix(name, bits, family)): 0 for name, bits in node.cidrs},
        config={CONFIG_KEY: _config(services, family, node)},
        slots={ranges[service][0]: _ids(service) for service in services if service.backends},
    )


def _device_row(address: str, family: Family, flags: DeviceFlag, *, xdp: bool) -> DeviceRow:
    return DeviceRow(packed(address, family), 1500, flags | (DeviceFlag.XDP if xdp else DeviceFlag(0)))


def _config(services: Iterable[Service], family: Family, node: Node) -> ConfigRow:
    """Return the row of ``config``. The guard is as wide as it may be: around each of the addresses that it is for."""
    nobody = Prefix(bytes(family.address_bytes), 8 * family.address_bytes)
    guard = Prefix(*_prefix("cluster", GUARD_BITS, family))
    is_guarded = node.cidrs or any(service.kind is FrontendKind.CLUSTER_IP for service in services)
    flags = ConfigFlag.WRITTEN
    flags |= ConfigFlag.MASQUERADE_ALL if node.masquerade_all else 0
    flags |= ConfigFlag.LOOPBACK_NODE_PORTS if node.loopback_node_ports else 0
    if node.detects_by_device:
        flags |= ConfigFlag.DETECT_BY_DEVICE
    elif node.pods is not None:
        flags |= ConfigFlag.DETECT_BY_NETWORK
    pods = Prefix(*_prefix(*node.pods, family)) if flags & ConfigFlag.DETECT_BY_NETWORK and node.pods else nobody
    return ConfigRow(flags, pods, guard if is_guarded else nobody)


def _local_first(service: Service) -> list[str]:
    return sorted(service.backends, key=lambda name: name not in LOCAL)


def _ids(service: Service) -> np.ndarray[tuple[int], np.dtype[np.uint32]]:
    return np.array([BACKEND_IDS[name] for name in _local_first(service)], np.uint32)


def _ranges(service: Service, offset: int) -> tuple[Range, Range]:
    """Return the cluster's and the local range: local backends first, so one is a prefix of the other."""
    lengths = len(service.backends), len(LOCAL.intersection(service.backends))
    cluster, local = (Range(offset, length) if length else EMPTY_RANGE for length in lengths)
    return cluster, local


def _frontend(
    service: Service, family: Family, protocol: Protocol, cluster: Range, local: Range
) -> tuple[FrontendKey, Frontend]:
    name, _colon, port = service.frontend.rpartition(":")
    flags = FrontendFlag.LOCAL_POLICY if service.local_policy else FrontendFlag(0)
    if bool(service.backends) if service.has_backends is None else service.has_backends:
        flags |= FrontendFlag.HAS_BACKENDS
    flags |= FrontendFlag.DSR if service.dsr else 0
    flags |= FrontendFlag.SOURCE_RANGES if service.source_ranges else 0
    value = Frontend(service.id, service.kind, service.algorithm, flags, service.affinity_s, cluster, local)
    return FrontendKey(packed(name, family), int(port), protocol), value


def _address_row(service: Service, family: Family) -> Iterable[tuple[FrontendKey, Frontend]]:
    """Yield the row of a Service's address as such; NodePorts have none."""
    if service.kind is FrontendKind.NODE_PORT:
        return
    key = FrontendKey(packed(service.frontend.rpartition(":")[0], family), 0, Protocol.ANY)
    flags = FrontendFlag.HAS_BACKENDS if service.backends else FrontendFlag(0)
    flags |= FrontendFlag.CLUSTER_ADDRESS if service.kind is FrontendKind.CLUSTER_IP else 0
    yield key, Frontend(0, FrontendKind.ADDRESS, Algorithm.RANDOM, flags, 0, EMPTY_RANGE, EMPTY_RANGE)


def _prefix(name: str, bits: int, family: Family) -> tuple[bytes, int]:
    """Return the network of an address: the first bits, zero behind."""
    address = packed(name, family)
    length = bits if family is Family.IPV4 else 4 * bits
    spare = 8 * len(address) - length
    return (int.from_bytes(address) >> spare << spare).to_bytes(len(address)), length


def _members(service: Service) -> Iterable[tuple[MemberKey, MemberSet]]:
    for name in service.backends:
        sets = MemberSet.CLUSTER | (MemberSet.LOCAL if name in LOCAL else MemberSet(0))
        yield MemberKey(service.id, BACKEND_IDS[name]), sets
