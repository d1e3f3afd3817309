"""The sections of KubeProxyConfiguration (kubeproxy.config.k8s.io/v1alpha1): every field, its default, what it does.

``proxy_config_schema.py`` is the document around them, ``proxy_config_rules.py`` checks what a type cannot say. Knows
no flag and no file.

    YAML --> decode --> sections of a KubeProxyConfiguration
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from ebpflb.core.proxy_config_fields import Count, Duration, Long, about, accepted, mapped

WINDOWS = "Windows only"
_NO_RULES = "no netfilter rule of ebpflb marks a packet"
_NO_IPVS = "ebpflb makes no IPVS state"
_LOG_FORM = "lines are written one by one to stderr"

Bit = Annotated[int, Meta(ge=0, le=31)]
Quantity = str | Long


class ClientConnection(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """How the API server is reached."""

    kubeconfig: Annotated[str, about("Path of a kubeconfig. Empty: the service account of the agent's pod.")] = ""
    accept_content_types: Annotated[str, accepted("Accept header.", "ebpflb reads JSON")] = ""
    content_type: Annotated[str, accepted("Content type of requests.", "ebpflb speaks JSON", is_zero_unset=True)] = (
        "application/vnd.kubernetes.protobuf"
    )
    qps: Annotated[float, about("Requests a second to the API server.", is_zero_unset=True)] = 5.0
    burst: Annotated[Count, about("How many requests may follow each other at once.", is_zero_unset=True)] = 10


class VModule(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """The verbosity of some source files."""

    file_pattern: str
    verbosity: Count


class LogStream(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """How log lines of one form are buffered."""

    split_stream: Annotated[bool, accepted("Errors to stderr, the rest to stdout.", _LOG_FORM)] = False
    info_buffer_size: Annotated[Quantity, accepted("Buffer of the latter.", _LOG_FORM)] = "0"


class LogOptions(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """By form."""

    text: LogStream = field(default_factory=LogStream)
    json: LogStream = field(default_factory=LogStream)


class Logging(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """What is logged, and how."""

    format: Annotated[
        Literal["", "text", "json"], mapped("Form of the lines.", "text is one line of key=value", is_zero_unset=True)
    ] = "text"
    flush_frequency: Annotated[
        Duration | Long,
        accepted(
            "How long a line may be held back; a number is nanoseconds.", "no line is held back", is_zero_unset=True
        ),
    ] = "5s"
    verbosity: Annotated[
        Count, mapped("How much is logged.", "from 4 on, debug records are logged; from 8 on, also those of libraries")
    ] = 0
    vmodule: Annotated[
        list[VModule], accepted("Verbosity of some of kube-proxy's source files.", "ebpflb has none of them")
    ] = field(default_factory=list)
    options: LogOptions = field(default_factory=LogOptions)


class DetectLocal(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """What the modes of ``detectLocalMode`` ask for."""

    bridge_interface: Annotated[str, about("The pods' bridge, in mode BridgeInterface.")] = ""
    interface_name_prefix: Annotated[
        str, about("How names of the pods' devices begin, in mode InterfaceNamePrefix.")
    ] = ""


class Conntrack(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Connection tracking: netfilter's, by its sysctls, and our own flow table."""

    max_per_core: Annotated[
        Count,
        mapped(
            "Connections to track for each CPU core; 0: leave netfilter's limit, and `min` does nothing.",
            "sets nf_conntrack_max; with another value than the default, the map `flows` gets room for as many flows, "
            "unless `ebpflb.mapSizes` names it",
        ),
    ] = 32_768
    min: Annotated[Count, mapped("Connections to track at least.", "as maxPerCore")] = 131_072
    tcp_established_timeout: Annotated[
        Duration, about("After it, an idle TCP connection is forgotten; 0: netfilter's stays, ours is a day.")
    ] = "24h0m0s"
    tcp_close_wait_timeout: Annotated[
        Duration, about("After it, a half-closed one is; 0: netfilter's stays, ours is an hour.")
    ] = "1h0m0s"
    tcp_be_liberal: Annotated[
        bool,
        mapped("Packets outside of the TCP window are not invalid.", "for netfilter; ebpflb calls no packet invalid"),
    ] = False
    udp_timeout: Annotated[
        Duration, about("After it, UDP without replies is forgotten; 0: netfilter's stays, ours is 30 s.")
    ] = "0s"
    udp_stream_timeout: Annotated[
        Duration, about("After it, UDP with replies is; 0: netfilter's stays, ours is 120 s.")
    ] = "0s"


class NFTables(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Of mode nftables."""

    masquerade_bit: Annotated[Bit, accepted("Mark of packets to be masqueraded.", _NO_RULES)] = 14
    masquerade_all: Annotated[bool, about("Masquerade all traffic to ClusterIPs.")] = False
    sync_period: Annotated[
        Duration,
        mapped(
            "How often rules are compared.",
            "a change not in the maps after twice as long is ill health",
            is_zero_unset=True,
        ),
    ] = "30s"
    min_sync_period: Annotated[
        Duration, accepted("Least time between two syncs.", "changes go into the maps at once", is_zero_unset=True)
    ] = "1s"


class IPTables(NFTables, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Of mode iptables, and of all but nftables."""

    localhost_node_ports: Annotated[
        bool, about("NodePorts hold on loopback addresses, too, for processes of the node; here in every mode.")
    ] = True


class IPVS(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Of mode ipvs."""

    sync_period: Annotated[Duration, mapped("How often rules are compared.", "as in iptables", is_zero_unset=True)] = (
        "30s"
    )
    min_sync_period: Annotated[
        Duration, accepted("Least time between two syncs.", "changes go into the maps at once")
    ] = "0s"
    scheduler: Annotated[
        str,
        accepted("How a backend is chosen.", "the annotation ebpflb.io/algorithm of a Service says it"),
    ] = ""
    exclude_cidrs: Annotated[list[str], accepted("IPVS services to be left alone.", _NO_IPVS)] = field(
        default_factory=list, name="excludeCIDRs"
    )
    strict_arp: Annotated[bool, accepted("ARP answers by the right device only.", "no ClusterIP is on any device")] = (
        field(default=False, name="strictARP")
    )
    tcp_timeout: Annotated[
        Duration, mapped("After it, an idle TCP connection is forgotten; 0: as conntrack says.", "in mode ipvs")
    ] = "0s"
    tcp_fin_timeout: Annotated[
        Duration, mapped("After it, a half-closed one is; 0: as conntrack says.", "in mode ipvs")
    ] = "0s"
    udp_timeout: Annotated[Duration, mapped("After it, UDP is forgotten; 0: as conntrack says.", "in mode ipvs")] = "0s"


class Winkernel(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Of mode kernelspace."""

    network_name: Annotated[str, accepted("Name of the HNS network.", WINDOWS)] = ""
    source_vip: Annotated[str, accepted("Source address.", WINDOWS)] = ""
    enable_dsr: Annotated[bool, accepted("Direct server return.", f"{WINDOWS}: see ebpflb.forwarding")] = field(
        default=False, name="enableDSR"
    )
    root_hns_endpoint_name: Annotated[str, accepted("Name of the root HNS endpoint.", WINDOWS)] = ""
    forward_health_check_vip: Annotated[bool, accepted("Forward health checks.", WINDOWS)] = False
