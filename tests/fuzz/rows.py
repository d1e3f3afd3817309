"""A world as the reference sees it: the rows that programs look up, as plain values. Holds no rule.

Addresses are wire bytes, ports are numbers. An ``Ends`` is what translation is about, as it stands on the wire:
source and destination address, source and destination port. A flow's key is the ends and the protocol.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from ebpflb.core.abi import BackendState, Family, FrontendFlag, FrontendKind


class Hook(StrEnum):
    """The packet programs, by their stems."""

    UPLINK_IN = "lb_uplink_in"
    POD_IN = "lb_pod_in"
    OUT = "lb_out"
    XDP_IN = "lb_xdp_in"


Ends = bytes
"""saddr, daddr, sport, dport: 12 bytes in IPv4, 36 in IPv6."""
FlowKey = bytes
"""The ends and one byte of protocol."""


def reverse(ends: Ends) -> Ends:
    """Return the ends of the packets that go the other way."""
    size = (len(ends) - 4) // 2
    return ends[size : 2 * size] + ends[:size] + ends[-2:] + ends[-4:-2]


def join(saddr: bytes, sport: int, daddr: bytes, dport: int) -> Ends:
    """Return the ends of a packet."""
    return saddr + daddr + sport.to_bytes(2, "big") + dport.to_bytes(2, "big")


def affinity_key(service_id: int, client: bytes) -> bytes:
    """Return under which key a client's affinity to a Service stands in a world."""
    return service_id.to_bytes(4, "little") + client


@dataclass(frozen=True, slots=True)
class Frontend:
    """A value of ``frontends``; ``cluster`` and ``local`` hold the backend ids themselves."""

    service_id: int
    kind: FrontendKind
    flags: FrontendFlag
    cluster: tuple[int, ...] = ()
    local: tuple[int, ...] = ()
    affinity_s: int = 0


@dataclass(frozen=True, slots=True)
class Backend:
    """A value of ``backends``."""

    address: bytes
    port: int
    protocol: int
    state: BackendState
    generation: int
    is_local: bool = False


@dataclass(frozen=True, slots=True)
class Flow:
    """A value of ``flows`` or ``pending``, all but the time."""

    to: Ends
    backend_id: int
    generation: int
    service_id: int
    flags: int
    seen: int
    partner_flags: int = 0

    def with_source_port(self, port: int) -> "Flow":
        """Return the flow with another source port."""
        return replace(self, to=self.to[:-4] + port.to_bytes(2, "big") + self.to[-2:])


@dataclass(frozen=True, slots=True)
class Affinity:
    """A value of ``affinity``, all but the time."""

    backend_id: int
    generation: int


@dataclass(frozen=True, slots=True)
class Datagram:
    """A value of ``datagrams``, all but the time."""

    sport: int
    dport: int
    is_known: int
    held: int = 0
    released: int = 0


@dataclass(frozen=True, slots=True)
class Device:
    """A value of ``devices``."""

    snat_address: bytes
    mtu: int
    flags: int = 0


@dataclass(frozen=True, slots=True)
class Route:
    """Where the FIB sends a destination."""

    device: int
    mtu: int
    macs: bytes = b""
    """Of the next hop and of the device; empty: the neighbour is not known yet."""


Network = tuple[bytes, int]
"""An address, zero behind so many bits."""


def lies_in(address: bytes, network: Network) -> bool:
    """Say whether an address lies in a network."""
    base, bits = network
    return (int.from_bytes(address, "big") ^ int.from_bytes(base, "big")) >> (8 * len(base) - bits) == 0


class Detector(StrEnum):
    """By what pods are told apart from other clients."""

    NONE = "none"
    NETWORK = "network"
    DEVICE = "device"


@dataclass(frozen=True, slots=True)
class Config:
    """The row of ``config``."""

    guard: Network
    """Covers every ClusterIP and every ServiceCIDR."""
    pods: Network
    """Of ``Detector.NETWORK``."""
    detector: Detector = Detector.NONE
    masquerade_all: bool = False


@dataclass(frozen=True, slots=True)
class World:
    """One family's rows, and what the kernel knows besides."""

    family: Family
    hairpin_address: bytes
    frontends: Mapping[tuple[bytes, int, int], Frontend]
    """By address, port, protocol."""
    backends: Mapping[int, Backend]
    node_addrs: Mapping[bytes, bool]
    """Whether NodePorts hold on each of the node's addresses."""
    devices: Mapping[int, Device]
    routes: Mapping[bytes, Route]
    """By destination; what is not there has no route."""
    config: Config
    mac: bytes
    """Of every device."""
    service_cidrs: tuple[Network, ...] = ()
    flows: Mapping[FlowKey, Flow] = field(default_factory=dict)
    pending: Mapping[FlowKey, Flow] = field(default_factory=dict)
    datagrams: Mapping[bytes, Datagram] = field(default_factory=dict)
    """By addresses, identifier and protocol."""
    held: Mapping[bytes, bytes] = field(default_factory=dict)
    """Frames that wait, by the datagram's key and their number."""
    local_backends: Mapping[tuple[int, bytes], int] = field(default_factory=dict)
    """(service id, address) -> backend id."""
    source_ranges: Mapping[int, tuple[Network, ...]] = field(default_factory=dict)
    """By service id."""
    affinity: Mapping[bytes, Affinity] = field(default_factory=dict)
    """By service id and client (``affinity_key``), not expired."""
    members: Mapping[tuple[int, int], int] = field(default_factory=dict)
    """(service id, backend id) -> sets."""
