"""What an agent is told, as a value. Knows no flag's name and no file format."""

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from ebpflb.core.abi import Family
from ebpflb.core.opt_out import RUNTIME_CLASSES
from ebpflb.core.options import Forwarding
from ebpflb.datapath.build import MapSizes
from ebpflb.datapath.pins import Pins
from ebpflb.datapath.stale import TcpSockets


class Acceleration(StrEnum):
    """Whether XDP serves uplinks before tc does."""

    AUTO = "auto"
    """Native, where the driver has it and nothing speaks against it."""
    NATIVE = "native"
    """Native; a device without it is complained about."""
    GENERIC = "generic"
    """In the stack, for drivers without XDP; slower than native, and hardly faster than tc."""
    OFF = "off"


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """One agent's settings."""

    node_name: str
    manifests: Path | None = None
    """A folder of manifests; ``None``: the Kubernetes API."""
    kubeconfig: Path | None = None
    """``None`` without ``manifests``: the service account of the pod that the agent runs in."""
    uplink_devices: tuple[str, ...] = ()
    """Glob patterns of device names."""
    pod_devices: tuple[str, ...] = ()
    acceleration: Acceleration = Acceleration.AUTO
    forwarding: Forwarding = Forwarding.SNAT
    """Which way replies go to clients outside, of Services that do not say otherwise."""
    cgroup: Path | None = None
    """cgroup v2 folder whose processes the socket hooks cover; ``None``: no socket hooks."""
    socket_opt_outs: tuple[str, ...] = ()
    """Glob patterns of paths of network namespaces that the socket hooks leave alone."""
    opt_out_runtime_classes: tuple[str, ...] = RUNTIME_CLASSES
    """Glob patterns of RuntimeClasses whose pods the socket hooks leave alone."""
    bpffs: Path = Path("/sys/fs/bpf")
    instance: str = "default"
    state_dir: Path = Path("/run/ebpflb")
    families: tuple[Family, ...] = (Family.IPV4, Family.IPV6)
    """Wanted ones; those that the kernel lacks are left out with a warning."""
    sizes: MapSizes = field(default_factory=MapSizes)
    close_tcp_sockets: TcpSockets = TcpSockets.DELETED
    protect_node_ports: bool = True
    """A host process that binds the port of a NodePort gets EADDRINUSE."""
    answer_ping: bool = True
    """A ping to a Service's address is answered while it has backends."""

    @property
    def pins(self) -> Pins:
        """Where the instance's maps, programs and links are pinned."""
        return Pins(self.bpffs, self.instance)

    @property
    def status_path(self) -> Path:
        """The file that ``ebpflb status`` reads."""
        return status_path(self.state_dir, self.instance)

    @property
    def clsact_path(self) -> Path:
        """The file that names the devices whose clsact this instance created."""
        return clsact_path(self.state_dir, self.instance)


def status_path(state_dir: Path, instance: str) -> Path:
    """Return the status file of an instance."""
    return state_dir / f"{instance}.status.json"


def clsact_path(state_dir: Path, instance: str) -> Path:
    """Return the file that holds the interface indexes of devices whose clsact an instance created, one a line."""
    return state_dir / f"{instance}.clsact"
