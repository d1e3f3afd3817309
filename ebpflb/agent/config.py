"""What an agent is told, as a value. Knows no flag's name and no file format."""

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from ebpflb.core.abi import Family
from ebpflb.core.opt_out import RUNTIME_CLASSES
from ebpflb.core.options import Options
from ebpflb.datapath.build import MapSizes
from ebpflb.datapath.expiry import Timeouts
from ebpflb.datapath.pins import Pins
from ebpflb.datapath.stale import TcpSockets
from ebpflb.host.sysctl import ConntrackSettings


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
    options: Options = field(default_factory=Options)
    """What the tables are compiled by."""
    timeouts: Timeouts = field(default_factory=Timeouts)
    """Of our own flows."""
    conntrack: ConntrackSettings = field(default_factory=ConntrackSettings)
    """For netfilter's connection tracking, which goes on beside us."""
    oom_score_adj: int | None = None
    """What the kernel's OOM killer adds to the agent's score; ``None``: as it was started."""
    healthz_bind_address: str = "0.0.0.0:10256"
    """``IP:port`` of /healthz and /livez; empty: not served."""
    metrics_bind_address: str = "127.0.0.1:10249"
    """``IP:port`` of /metrics, /proxyMode, /configz; empty: not served."""
    bind_address_hard_fail: bool = False
    """The agent ends when it cannot listen there, rather than try again."""
    sync_period_s: float = 30.0
    """Health: a change that has not reached the maps after twice as long is ill health."""
    config_sync_period_s: float = 900.0
    api_server: str = ""
    """URL that stands in for the kubeconfig's (``--master``); empty: that one."""
    api_qps: float = 5.0
    api_burst: int = 10
    """Requests a second to the API server, and how many may follow each other at once."""
    config_file: Path | None = None
    """What this was read from, to be watched; ``None``: flags."""
    config_bytes: bytes = b""
    """The contents of ``config_file`` when it was read: anything else there is a change."""
    config_text: str = "{}"
    """The KubeProxyConfiguration with its defaults, as JSON: what /configz shows."""
    proxy_mode: str = "ebpf"
    """What /proxyMode answers."""

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
