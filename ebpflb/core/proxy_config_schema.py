"""KubeProxyConfiguration (kubeproxy.config.k8s.io/v1alpha1), with the section ``ebpflb:`` of our own.

What is not honoured says what it does instead, or why nothing; ``proxy_config_rules.py`` checks what a type cannot
say. Knows no flag and no file.

    YAML --> decode --> KubeProxyConfiguration --> rules, Options
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from ebpflb.core.proxy_config_fields import Duration, about, accepted, mapped
from ebpflb.core.proxy_config_own import EbpflbSection
from ebpflb.core.proxy_config_sections import (
    IPVS,
    WINDOWS,
    ClientConnection,
    Conntrack,
    DetectLocal,
    IPTables,
    Logging,
    NFTables,
    Winkernel,
)

API_VERSION = "kubeproxy.config.k8s.io/v1alpha1"
KIND = "KubeProxyConfiguration"
DEFAULT_HEALTHZ_PORT = 10256
DEFAULT_METRICS_PORT = 10249

OomScore = Annotated[int, Meta(ge=-1000, le=1000)]


class KubeProxyConfiguration(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """The whole document."""

    api_version: Annotated[str, about("`kubeproxy.config.k8s.io/v1alpha1`.")] = API_VERSION
    kind: Annotated[str, about("`KubeProxyConfiguration`.")] = KIND
    feature_gates: Annotated[
        dict[str, bool], accepted("Features by name.", "what ebpflb does depends on no gate of kube-proxy's")
    ] = field(default_factory=dict)
    client_connection: ClientConnection = field(default_factory=ClientConnection)
    logging: Logging = field(default_factory=Logging)
    hostname_override: Annotated[
        str, about("Name of the own Node, in any case and with blanks around it. Empty: the host name.")
    ] = ""
    bind_address: Annotated[
        str,
        about(
            "The node's first address of its family, instead of the Node object's; `0.0.0.0` and `::`: as that says. "
            "Nothing binds to it. Its family is also that of the addresses below where they are empty.",
            is_zero_unset=True,
        ),
    ] = "0.0.0.0"  # noqa: S104 - nothing binds to it
    healthz_bind_address: Annotated[
        str,
        about("`IP:port` of /healthz and /livez, or `IP` alone. As a flag, empty: none.", is_zero_unset=True),
    ] = f"0.0.0.0:{DEFAULT_HEALTHZ_PORT}"
    metrics_bind_address: Annotated[
        str,
        about(
            "`IP:port` of /metrics, /proxyMode and /configz, or `IP` alone. As a flag, empty: none.",
            is_zero_unset=True,
        ),
    ] = f"127.0.0.1:{DEFAULT_METRICS_PORT}"
    bind_address_hard_fail: Annotated[
        bool, about("End when one of the two cannot be listened on, rather than try again.")
    ] = False
    enable_profiling: Annotated[
        bool, accepted("Serve /debug/pprof.", "Go's profiles have no counterpart: EBPFLB_DEBUG=1 logs more")
    ] = False
    show_hidden_metrics_for_version: Annotated[
        str, accepted("Show metrics that this version hid.", "ebpflb has hidden none")
    ] = ""
    mode: Annotated[
        Literal["", "iptables", "ipvs", "nftables", "ebpf"],
        mapped(
            "How kube-proxy forwards.",
            "BPF programs forward in every mode; it says which section holds: `nftables`, `ipvs`, else `iptables` "
            "(for none and `ebpf`, `masqueradeAll` of either)",
        ),
    ] = ""
    iptables: IPTables = field(default_factory=IPTables)
    ipvs: IPVS = field(default_factory=IPVS)
    nftables: NFTables = field(default_factory=NFTables)
    winkernel: Winkernel = field(default_factory=Winkernel)
    detect_local_mode: Annotated[
        Literal["", "ClusterCIDR", "NodeCIDR", "BridgeInterface", "InterfaceNamePrefix"],
        about("By what a packet is known to come from a pod.", is_zero_unset=True),
    ] = "ClusterCIDR"
    detect_local: DetectLocal = field(default_factory=DetectLocal)
    cluster_cidr: Annotated[
        str, about("Prefixes of the cluster's pods, at most one of each family, with a comma between them.")
    ] = field(default="", name="clusterCIDR")
    node_port_addresses: Annotated[
        list[str],
        about(
            "Where NodePorts hold: prefixes of node addresses, or `primary` alone. Empty: `primary`, as in mode "
            "nftables; write `0.0.0.0/0` and `::/0` for all addresses, which mode iptables takes by default."
        ),
    ] = field(default_factory=list)
    oom_score_adj: Annotated[OomScore, about("What the kernel's OOM killer adds to the agent's score.")] = -999
    conntrack: Conntrack = field(default_factory=Conntrack)
    config_sync_period: Annotated[
        Duration,
        mapped(
            "How often everything is looked at anew.",
            "watches are followed; so often, what is in the maps is compared with what should be there",
            is_zero_unset=True,
        ),
    ] = "15m0s"
    port_range: Annotated[str, accepted("Ports for proxying in user space.", "nothing is proxied in user space")] = ""
    windows_run_as_service: Annotated[bool, accepted("Run as a service.", WINDOWS)] = False
    ebpflb: EbpflbSection = field(default_factory=EbpflbSection)
