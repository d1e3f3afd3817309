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
    Family,
    FrontendFlag,
    FrontendKind,
    MemberSet,
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


class TableName(StrEnum):
    """The maps that the control plane writes by rows, by their names in the kernel. ``slots`` is written by ranges."""

    FRONTENDS = "frontends"
    BACKENDS = "backends"
    SERVICES = "services"
    MEMBERS = "members"
    NODE_ADDRS = "node_addrs"
    DEVICES = "devices"


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
    node_addrs: Mapping[bytes, int] = field(default_factory=dict)
    """address -> flags (reserved, 0)."""
    devices: Mapping[int, bytes] = field(default_factory=dict)
    """ifindex -> SNAT address."""
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

    Remove frontends; put services, backends, members, node addresses and devices; write slots; put frontends;
    remove members, backends, services, node addresses and devices. Empty steps are left out.
    """

    steps: tuple[Step, ...] = ()

    def __bool__(self) -> bool:
        """Return whether there is anything to do."""
        return bool(self.steps)
