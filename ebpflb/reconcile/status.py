"""What ``ebpflb status`` prints, as a value, and the file that carries it: readable also when the agent is down.

Decides what counts as healthy: the last change is in the maps, the programs are attached. Knows no map and no source.

    loop --> Status --StatusFile.write--> JSON file --StatusFile.read--> cli
"""

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Self

import msgspec

from ebpflb.errors import ObjectError, UsageError


@dataclass(frozen=True, slots=True)
class Usage:
    """The pressure of one map: what this agent wrote into it, and what fits."""

    used: int
    capacity: int


@dataclass(frozen=True, slots=True)
class RefusedObject:
    """An object that is not programmed as its author wants it, and what to do about it."""

    object: str
    """Kind and name."""
    field: str
    reason: str
    remedy: str

    @classmethod
    def from_error(cls, error: ObjectError) -> Self:
        """Return what a source said when it did not understand an object."""
        reason = error.message.removeprefix(f"{error.kind} {error.name}: {error.field}: ")
        return cls(f"{error.kind} {error.name}", error.field, reason, error.remedy)


@dataclass(frozen=True, slots=True)
class FailedRow:
    """A row that the kernel did not take. It is tried again at ``FamilyStatus.next_retry_at``."""

    table: str
    key: str
    error: str


@dataclass(frozen=True, slots=True)
class FamilyStatus:
    """The maps of one family."""

    family: int
    """4 or 6."""
    maps: Mapping[str, Usage]
    """By name of the map, ``slots`` included."""
    service_ports: int
    """Ports of Services that are programmed."""
    refused: tuple[RefusedObject, ...] = ()
    """By the compilation."""
    failed_rows: tuple[FailedRow, ...] = ()
    error: str = ""
    """Why the last round did not end; empty: it did."""
    next_retry_at: datetime | None = None
    repairs: int = 0
    """Rows that a full comparison found to differ from what had been written."""
    compared_at: datetime | None = None
    """When the maps were last read and compared."""
    pending_since: datetime | None = None
    """When the oldest change that is not in the maps arrived; ``None``: all are."""


@dataclass(frozen=True, slots=True)
class RoleHooks:
    """The devices that have the programs of a role."""

    role: str
    programs: tuple[str, ...]
    devices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FailedDevice:
    """A device that does not take its programs: its packets are not served. It is tried again every few seconds."""

    device: str
    role: str
    error: str
    remedy: str


@dataclass(frozen=True, slots=True)
class XdpDevice:
    """How XDP serves an uplink. tc serves it in any case."""

    device: str
    mode: str = ""
    """``native``, ``generic``; empty: not at all."""
    transmits: bool = False
    """XDP forwards out of it, too; without, what must leave by it is left to tc."""
    reason: str = ""
    """Why not."""


@dataclass(frozen=True, slots=True)
class HealthPort:
    """The port at which load balancers ask for a Service's backends on this node."""

    service: str
    """``namespace/name``."""
    port: int
    local_backends: Mapping[str, int]
    """By family, ``IPv4`` or ``IPv6``: what is answered."""
    error: str = ""
    """Why it does not listen everywhere it should. It is tried again every few seconds."""


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """What the agent knows of its node beside the maps."""

    cgroup: str = ""
    """Empty: no socket programs are attached."""
    socket_programs: tuple[str, ...] = ()
    devices: tuple[RoleHooks, ...] = ()
    failed: tuple[FailedDevice, ...] = ()
    xdp: tuple[XdpDevice, ...] = ()
    """Uplinks; none when acceleration is off."""
    repairs: int = 0
    """Devices from which others had taken our programs; they have them again."""
    warnings: tuple[str, ...] = ()
    """Worth a look, but no ill health."""
    opted_out: tuple[str, ...] = ()
    """Pods and network namespaces that the socket programs leave alone: the packet programs serve them."""
    awaiting_opt_out: tuple[str, ...] = ()
    """Those to be left alone whose network namespace is not known yet."""
    health_ports: tuple[HealthPort, ...] = ()


@dataclass(frozen=True, slots=True)
class Status:
    """Everything ``ebpflb status`` prints."""

    node_name: str
    started_at: datetime
    waiting_for: tuple[str, ...]
    """What no source has delivered yet: nothing is programmed before."""
    source_error: str
    """Why the source is not up to date; empty: it is."""
    objects: Mapping[str, int]
    """By kind."""
    refused: tuple[RefusedObject, ...]
    """By the sources."""
    families: tuple[FamilyStatus, ...]
    pending_since: datetime | None
    """When the oldest change that is not in the maps arrived; ``None``: all are."""
    last_change_received_at: datetime | None = None
    last_change_applied_at: datetime | None = None
    healthy: bool = False
    """The last change that is known is in the maps, and every device that is to be served has its programs.

    A refused object is no ill health: there is nothing to write for it. Nor is a source out of reach, as long as what
    it said last is in the maps: ``source_error`` tells."""
    node: NodeStatus = NodeStatus()

    def to_json(self) -> bytes:
        """Return the status as JSON, indented."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"

    @classmethod
    def from_json(cls, text: bytes) -> Self:
        """Read what ``to_json`` wrote. Raises ``msgspec.DecodeError``."""
        return msgspec.json.decode(text, type=cls)


@dataclass(frozen=True, slots=True)
class StatusFile:
    """Where the agent leaves its status."""

    path: Path

    def write(self, status: Status) -> None:
        """Replace the file at once: a reader sees the old status or the new one, never half of it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{self.path.name}.", dir=self.path.parent)
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(status.to_json())
                os.fchmod(descriptor, 0o644)
            temporary.replace(self.path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    def read(self) -> Status:
        """Return the last status that an agent wrote. Raises ``UsageError`` when there is none."""
        try:
            return Status.from_json(self.path.read_bytes())
        except FileNotFoundError:
            raise UsageError(
                f"{self.path}: no agent has left its status here",
                remedy="start one with `ebpflb run`, or name its instance",
            ) from None
        except OSError as error:
            raise UsageError(f"{self.path}: {error.strerror}", remedy="run as the user of the agent") from error
        except msgspec.DecodeError as error:
            raise UsageError(
                f"{self.path}: not the status of this version: {error}", remedy="restart the agent to have it rewritten"
            ) from error
