"""The section ``ebpflb:`` of the configuration: what kube-proxy has no word for.

Defaults are here; what the words mean is said by the modules that act on them.

    YAML --> decode --> EbpflbSection --> AgentConfig
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from ebpflb.core.opt_out import RUNTIME_CLASSES
from ebpflb.core.proxy_config_fields import about

INSTANCE_PATTERN = "^[a-z0-9][a-z0-9-]{0,31}$"
MOST_ENTRIES = 1 << 26
"""64 million entries in a map: more than any node needs, and far below where the kernel's own arithmetic ends."""

Entries = Annotated[int, Meta(ge=1, le=MOST_ENTRIES)]
Instance = Annotated[
    str,
    Meta(
        title="1 to 32 lower-case letters, digits and '-', beginning with a letter or digit", pattern=INSTANCE_PATTERN
    ),
]


class EbpflbSection(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Settings of ebpflb's own."""

    uplink_devices: Annotated[
        list[str],
        about(
            "Devices that traffic from outside comes in by, as glob patterns: the NICs, and also the overlay devices "
            "(`vxlan.*`, `flannel.*`) by which pods of other nodes are reached."
        ),
    ] = field(default_factory=list)
    pod_devices: Annotated[list[str], about("The host's side of the pods' veths, as glob patterns.")] = field(
        default_factory=list
    )
    acceleration: Annotated[
        Literal["auto", "native", "generic", "off"],
        about(
            "Whether XDP serves uplinks before tc does: in the driver where it can (`auto`), in the driver or with a "
            "warning (`native`), in the stack (`generic`), or not at all (`off`)."
        ),
    ] = "auto"
    forwarding: Annotated[
        Literal["snat", "dsr", "hybrid"],
        about(
            "Which way replies go to clients outside: back through the node that they dialled (`snat`), or directly "
            "from the backend's node (`dsr`; `hybrid`: TCP only). All nodes must be told the same. The annotation "
            "`ebpflb.io/forwarding` of a Service comes first."
        ),
    ] = "snat"
    masquerade_local_pods: Annotated[
        bool,
        about(
            "Masquerade also what goes to pods of this node, as kube-proxy does. Such packets are redirected past "
            "netfilter's FORWARD chain: where network policies are enforced there (Calico's iptables data plane, "
            "kube-router), switch this off. Pods of the dialled node see the client's own address then."
        ),
    ] = True
    cgroup: Annotated[
        str,
        about("Folder of the cgroup v2 tree whose sockets are served. Empty: its root, from the mount table."),
    ] = ""
    socket_opt_outs: Annotated[
        list[str],
        about(
            "Network namespaces, as glob patterns of absolute paths (`/run/netns/vm-*`), whose sockets are left to "
            "the packet hooks."
        ),
    ] = field(default_factory=list)
    opt_out_runtime_classes: Annotated[
        list[str], about("RuntimeClasses, as glob patterns, whose pods are left to the packet hooks.")
    ] = field(default_factory=lambda: list(RUNTIME_CLASSES))
    ip_family: Annotated[
        Literal["ipv4", "ipv6", "dual"],
        about("Which IP families are served; one that the kernel lacks is left out."),
    ] = "dual"
    map_sizes: Annotated[
        dict[str, Entries],
        about(
            "Entries of BPF maps, by name, where the default does not fit. Maps that are pinned already keep their "
            "size until `ebpflb cleanup`."
        ),
    ] = field(default_factory=dict)
    close_tcp_sockets: Annotated[
        Literal["never", "deleted", "draining"],
        about(
            "Which TCP sockets on this node are closed, so that their processes get an error at once: those whose "
            "backend is deleted, also those whose backend takes no new connections (`draining`), or none (`never`). "
            "UDP sockets always are."
        ),
    ] = "deleted"
    protect_node_ports: Annotated[
        bool,
        about("Refuse bind() to the port of a NodePort to processes of the host, which would hear nothing there."),
    ] = True
    answer_ping: Annotated[
        bool,
        about("Answer a ping to a ClusterIP, load-balancer IP or externalIP while a Service has backends there."),
    ] = True
    serve_healthz: Annotated[
        bool,
        about(
            "Listen on `healthzBindAddress`. In a file, an empty address is the default one, as it is to kube-proxy; "
            "this is the way to have none."
        ),
    ] = True
    serve_metrics: Annotated[bool, about("Listen on `metricsBindAddress`, likewise.")] = True
    instance: Annotated[Instance, about("Which of several agents on one kernel.")] = "default"
    state_dir: Annotated[str, about("Where the status of each instance is.")] = "/run/ebpflb"
    bpffs: Annotated[str, about("Where bpffs is mounted.")] = "/sys/fs/bpf"
    manifests: Annotated[
        str,
        about(
            "A folder of YAML and JSON manifests to serve instead of what an API server says. Not together with "
            "`clientConnection.kubeconfig`."
        ),
    ] = ""
