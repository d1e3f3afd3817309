"""The rows of the BPF maps as Python values, and the plan that turns one set of rows into another.

    Snapshot --compile--> Tables (desired) --diff--> Plan --(reconcile/apply)--> maps --read--> Tables (actual)

Rows are typed tuples, equal when their map entries are equal; packing is the datapath's business. Ports are host
order here. A ``Tables`` is one family's.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

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

Slots = npt.NDArray[np.uint32]
"""Backend ids, shape (count,), dtype uint32."""


class FrontendKey(NamedTuple):
    """Key of ``frontends``. NodePorts have the unspecified address."""

    address: bytes
    port: int
    protocol: Protocol


class Range(NamedTuple):
    """Positions [offset, offset + length) of ``slots``; (0, 0) is the empty range."""

    offset: int
    length: int


EMPTY_RANGE = Range(0, 0)
NO_SERVICE = 0
"""The service id of an address row (``FrontendKind.ADDRESS``): many Services may share an address."""


class Frontend(NamedTuple):
    """Value of ``frontends``."""

    service_id: int
    kind: FrontendKind
    algorithm: Algorithm
    flags: FrontendFlag
    affinity_timeout_s: int
    cluster: Range
    local: Range


class BackendKey(NamedTuple):
    """What makes a backend the same backend."""

    address: bytes
    port: int
    protocol: Protocol


class Backend(NamedTuple):
    """Value of ``backends`` (an array: the key is the id). Id 0 is never used: an unset slot names no backend."""

    key: BackendKey
    state: BackendState
    flags: BackendFlag
    generation: int


class MemberKey(NamedTuple):
    """Key of ``members``: written for service ports with affinity, and for all of UDP."""

    service_id: int
    backend_id: int
    """``ELSEWHERE`` in the only row of a service port that no backend with a row on this node serves."""


ELSEWHERE = 0
"""The backend id, which no backend has, that stands for all those that serve where no flow of this node can go."""


class DeviceRow(NamedTuple):
    """Value of ``devices``."""

    snat_address: bytes
    """Source of packets masqueraded out of this device; all zero: none."""
    mtu: int
    flags: DeviceFlag


class LocalBackendKey(NamedTuple):
    """Key of ``local_backends``: written for service ports whose clients are answered directly (DSR)."""

    service_id: int
    address: bytes


class SourceRangeKey(NamedTuple):
    """Key of ``source_ranges``: clients that the load-balancer frontends of a service port accept."""

    service_id: int
    address: bytes
    """Zero behind the prefix."""
    prefix_length: int
    """Bits of the address; the map's key counts those of the service id as well."""


class Prefix(NamedTuple):
    """A range of addresses, zero behind its length. Key of ``service_cidrs``."""

    address: bytes
    length: int

    def contains(self, address: bytes) -> bool:
        """Return whether an address of the same family lies in it."""
        if len(address) != len(self.address):
            return False
        return not (int.from_bytes(address) ^ int.from_bytes(self.address)) >> self._host_bits

    @property
    def mask(self) -> bytes:
        """An address of as many ones as the prefix is long."""
        bits = 8 * len(self.address)
        return ((1 << bits) - (1 << self._host_bits)).to_bytes(len(self.address))

    @property
    def _host_bits(self) -> int:
        return 8 * len(self.address) - self.length


class ConfigRow(NamedTuple):
    """Value of ``config`` (an array of one): what holds for every Service."""

    flags: ConfigFlag
    """With ``WRITTEN``: an array's entry is always there."""
    pods: Prefix
    """With ``DETECT_BY_NETWORK``: whose source lies in it is a pod."""
    guard: Prefix
    """Covers every ClusterIP and every ServiceCIDR: only what is sent there can miss a Service."""


CONFIG_KEY = 0
"""The one key of ``config``."""


class TableName(StrEnum):
    """The maps that the control plane writes by rows, by their names in the kernel. ``slots`` is written by ranges."""

    FRONTENDS = "frontends"
    BACKENDS = "backends"
    SERVICES = "services"
    MEMBERS = "members"
    LOCAL_BACKENDS = "local_backends"
    SOURCE_RANGES = "source_ranges"
    NODE_ADDRS = "node_addrs"
    DEVICES = "devices"
    OPT_OUTS = "opt_outs"
    SERVICE_CIDRS = "service_cidrs"
    CONFIG = "config"


@dataclass(frozen=True, slots=True)
class Tables:
    """All rows of one family, desired or actual."""

    family: Family
    frontends: Mapping[FrontendKey, Frontend] = field(default_factory=dict)
    backends: Mapping[int, Backend] = field(default_factory=dict)
    """By backend id; state is never NONE here."""
    services: Mapping[int, str] = field(default_factory=dict)
    """service_id -> ``namespace/name:port/PROTOCOL`` (``namespace/name/PROTOCOL`` for an unnamed port)."""
    members: Mapping[MemberKey, MemberSet] = field(default_factory=dict)
    local_backends: Mapping[LocalBackendKey, int] = field(default_factory=dict)
    """-> id of the backend with that address on this node."""
    source_ranges: Mapping[SourceRangeKey, int] = field(default_factory=dict)
    """-> 0 (reserved): that there is a row says that the client is accepted."""
    node_addrs: Mapping[bytes, NodeAddrFlag] = field(default_factory=dict)
    """Every local address but loopback ones."""
    devices: Mapping[int, DeviceRow] = field(default_factory=dict)
    """By ifindex."""
    opt_outs: Mapping[int, int] = field(default_factory=dict)
    """Cookie of a network namespace -> 0 (reserved)."""
    service_cidrs: Mapping[Prefix, int] = field(default_factory=dict)
    """-> 0 (reserved). Where ClusterIPs are taken from."""
    config: Mapping[int, ConfigRow] = field(default_factory=dict)
    """By ``CONFIG_KEY``."""
    slots: Mapping[Range, Slots] = field(default_factory=dict)
    """Contents of every range that a frontend names."""

    def rows(self, table: TableName) -> Mapping[Any, Any]:
        """Return the rows of one table."""
        rows: Mapping[Any, Any] = getattr(self, table.value)
        return rows


@dataclass(frozen=True, slots=True)
class Put:
    """Insert or replace rows."""

    table: TableName
    rows: Mapping[Any, Any]


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove rows; a row that is already gone is no error."""

    table: TableName
    keys: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class WriteSlots:
    """Fill ranges that no frontend names yet."""

    ranges: Mapping[Range, Slots]


Step = Put | Delete | WriteSlots


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps in the one order in which a crash after any of them leaves no frontend without its backends.

    Remove frontends; put services, backends, then what names them (members, local backends, source ranges), then the
    node's own (addresses, devices, opt-outs); write slots; put frontends; remove what names backends and services, then
    those, then the node's own. Empty steps are left out.
    """

    steps: tuple[Step, ...] = ()

    def __bool__(self) -> bool:
        """Return whether there is anything to do."""
        return bool(self.steps)
