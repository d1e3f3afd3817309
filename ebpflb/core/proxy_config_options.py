"""What a checked configuration means: the options of the compiler, and the numbers of the section that its mode names.

Decides which of the sections ``iptables``, ``ipvs`` and ``nftables`` counts. Knows no flag, no file and no agent.

    KubeProxyConfiguration --options_of--> Options        --flow_seconds, sync_period_s--> agent
"""

from typing import Final, NamedTuple

from ebpflb.core.options import PRIMARY, DetectLocal, Forwarding, Options
from ebpflb.core.proxy_config_durations import SECOND_NS, parse_duration
from ebpflb.core.proxy_config_schema import KubeProxyConfiguration
from ebpflb.core.proxy_config_sections import NFTables
from ebpflb.core.proxy_config_values import parse_ip, parse_prefix

LONGEST_FLOW_S: Final = 20 * 86_400
"""A flow's last packet is dated by 32 bits of jiffies, which at 1000 a second tell ages up to 24 days."""


class FlowSeconds(NamedTuple):
    """After how many seconds an idle flow is over; ``None``: as usual."""

    established: int | None
    half_closed: int | None
    unreplied: int | None
    replied: int | None


def options_of(config: KubeProxyConfiguration) -> Options:
    """Return the options that a configuration without problems asks for."""
    interfaces = {
        DetectLocal.BRIDGE_INTERFACE: config.detect_local.bridge_interface,
        DetectLocal.INTERFACE_NAME_PREFIX: config.detect_local.interface_name_prefix,
    }
    detect_local = DetectLocal(config.detect_local_mode)
    address = parse_ip(config.bind_address)
    return Options(
        forwarding=Forwarding(config.ebpflb.forwarding),
        masquerade_all=_masquerades_all(config),
        masquerade_local_pods=config.ebpflb.masquerade_local_pods,
        detect_local=detect_local,
        cluster_cidrs=tuple(_prefix(text) for text in config.cluster_cidr.split(",") if text),
        pod_interface=interfaces.get(detect_local, ""),
        node_port_addresses=tuple(text if text == PRIMARY else _prefix(text) for text in config.node_port_addresses),
        localhost_node_ports=config.iptables.localhost_node_ports,
        node_ips=(address,) if address is not None and any(address) else (),
    )


def _masquerades_all(config: KubeProxyConfiguration) -> bool:
    """Return what the section of the mode says; of no mode of kube-proxy's, what either says."""
    either: list[NFTables] = [config.iptables, config.nftables]
    theirs = {"iptables": either[:1], "ipvs": either[:1], "nftables": either[1:]}
    return any(section.masquerade_all for section in theirs.get(config.mode, either))


def sync_period_s(config: KubeProxyConfiguration) -> float:
    """Return the sync period of the mode."""
    sections = {"ipvs": config.ipvs.sync_period, "nftables": config.nftables.sync_period}
    return parse_duration(sections.get(config.mode, config.iptables.sync_period)) / SECOND_NS


def flow_seconds(config: KubeProxyConfiguration) -> FlowSeconds:
    """Return the timeouts of our own flows; in mode ipvs, those that it names come first."""
    conntrack, ipvs = config.conntrack, config.ipvs
    is_ipvs = config.mode == "ipvs"
    tcp, fin, udp = (
        whole_seconds(text) if is_ipvs else None for text in (ipvs.tcp_timeout, ipvs.tcp_fin_timeout, ipvs.udp_timeout)
    )
    found = FlowSeconds(
        tcp or whole_seconds(conntrack.tcp_established_timeout),
        fin or whole_seconds(conntrack.tcp_close_wait_timeout),
        whole_seconds(conntrack.udp_timeout),
        udp or whole_seconds(conntrack.udp_stream_timeout),
    )
    return FlowSeconds(*(None if seconds is None else min(seconds, LONGEST_FLOW_S) for seconds in found))


def whole_seconds(text: str) -> int | None:
    """Return a duration in seconds, rounded up; ``None`` for 0, which leaves things as they are."""
    return -(-parse_duration(text) // SECOND_NS) or None


def _prefix(text: str) -> str:
    return str(parse_prefix(text))
