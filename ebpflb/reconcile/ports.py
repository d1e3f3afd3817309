"""What the reconcile loop needs from the outside, as protocols: sources that deliver objects, a store that holds rows.

    Source --> Sink (the loop's inbox)          loop --> MapStore (BPF maps, or the fake with kernel semantics)
                                                agent, host --> Events (Kubernetes Events, or the log)

No implementation lives here. ``kube`` and ``files`` implement Source, ``datapath`` and ``reconcile.fake`` implement
MapStore, the inbox implements Sink, ``kube`` and ``agent`` implement Events.
"""

import threading
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from ebpflb.core.abi import Family
from ebpflb.core.model import EndpointSlice, Host, Node, ObjectKey, Pod, Service, ServiceCIDR
from ebpflb.core.tables import Range, Slots, TableName, Tables
from ebpflb.errors import MapError, ObjectError


class Kind(StrEnum):
    """The kinds of object a source delivers."""

    SERVICE = "Service"
    ENDPOINT_SLICE = "EndpointSlice"
    NODE = "Node"
    SERVICE_CIDR = "ServiceCIDR"
    """Where ClusterIPs are taken from. Where an API server serves none, or does not show them, the list is empty."""
    POD = "Pod"
    """Those of this node. No row is made of them: they decide which network namespaces are in ``Host.opt_outs``."""


ModelObject = Service | EndpointSlice | Node | ServiceCIDR | Pod


class Sink(Protocol):
    """Where a source puts what it sees. Thread-safe; never blocks on maps; never raises for an object's content."""

    def replace(self, kind: Kind, objects: Iterable[ModelObject], refused: Iterable[ObjectError] = ()) -> None:
        """Take a complete list: objects of this kind that are not in it are gone. Marks the kind as listed."""

    def upsert(self, kind: Kind, obj: ModelObject) -> None:
        """Take one added or changed object."""

    def delete(self, kind: Kind, key: ObjectKey) -> None:
        """Forget one object; unknown keys are no error. Also forgets a refusal of that object."""

    def refuse(self, kind: Kind, key: ObjectKey, error: ObjectError) -> None:
        """Record that an object was not understood. Its last good state stays."""

    def incomplete(self, *, is_incomplete: bool) -> None:
        """Say whether the source has something that it could never read: what it does not deliver may not be gone.

        To be called before the lists that are incomplete, and after what completes them.
        """

    def together(self) -> AbstractContextManager[None]:
        """Have what is said in the block taken as one, however long this thread is kept from saying all of it."""

    def host(self, host: Host) -> None:
        """Take what netlink says of this machine."""

    def source_error(self, message: str) -> None:
        """Record why the source is not up to date (an empty message: it is again). Shown by ``status``."""


class Source(Protocol):
    """Delivers Services, EndpointSlices, the own Node, its Pods and ServiceCIDRs until told to stop."""

    def run(self, sink: Sink, stop: threading.Event) -> None:
        """Deliver until ``stop`` is set. Reconnects by itself; raises ``EbpflbError`` only for what cannot heal."""


class Events(Protocol):
    """Where an operator is told of something that happened to an object: ``kubectl describe`` shows it there.

    Thread-safe; never blocks and never raises: what cannot be told is logged.
    """

    def emit(self, kind: str, namespace: str, name: str, *, reason: str, message: str, warning: bool) -> None:
        """Tell about an object (``Service``, ``Node``; a Node's namespace is empty). Repeats are told once in a while.

        ``reason`` is one word in CamelCase, as kube-proxy has it where it has one. ``warning``: not merely a note.
        """


@dataclass(frozen=True, slots=True)
class RowFailure:
    """One row that the store did not take."""

    table: TableName
    key: Any
    error: MapError


class MapStore(Protocol):
    """The maps of one family. One writer. Every call may fail for some rows and take the others."""

    @property
    def family(self) -> Family:
        """The family whose maps these are."""

    def read(self) -> Tables:
        """Read all rows, and the contents of every range that a frontend names."""

    def put(self, table: TableName, rows: Mapping[Any, Any]) -> list[RowFailure]:
        """Insert or replace rows; return those that failed (``MapFullError`` when there is no room)."""

    def delete(self, table: TableName, keys: Iterable[Any]) -> list[RowFailure]:
        """Remove rows; a missing row is no failure. A deleted backend keeps its generation in its array entry."""

    def write_slots(self, ranges: Mapping[Range, Slots]) -> None:
        """Copy backend ids into ranges. Raises ``MapError`` when a range lies outside the map."""

    def max_generation(self) -> int:
        """Return the highest backend generation in the map, deleted backends included."""

    def capacity(self, table: TableName) -> int:
        """Return ``max_entries`` of a table's map."""

    def slot_capacity(self) -> int:
        """Return the number of u32 slots."""
