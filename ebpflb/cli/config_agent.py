"""A checked configuration as the agent's: the last step before it starts, where the machine is asked.

Decides what is made of ``conntrack`` and of names left empty. Knows no flag's name.

    Loaded, this machine --agent_config--> AgentConfig
"""

import os
import socket
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Final

import msgspec

from ebpflb.agent import AgentConfig
from ebpflb.agent.config import Acceleration
from ebpflb.cli.config_load import Loaded
from ebpflb.core.abi import Family
from ebpflb.core.proxy_config_options import flow_seconds, options_of, sync_period_s, whole_seconds
from ebpflb.core.proxy_config_own import MOST_ENTRIES
from ebpflb.core.proxy_config_schema import KubeProxyConfiguration
from ebpflb.core.proxy_config_sections import Conntrack
from ebpflb.datapath.build import MapSizes
from ebpflb.datapath.expiry import Timeouts
from ebpflb.datapath.stale import TcpSockets
from ebpflb.errors import PrerequisiteError, UsageError
from ebpflb.host.mounts import cgroup2_mounts, read_mounts
from ebpflb.host.sysctl import ConntrackSettings

FAMILIES: Final[Mapping[str, tuple[Family, ...]]] = {
    "ipv4": (Family.IPV4,),
    "ipv6": (Family.IPV6,),
    "dual": (Family.IPV4, Family.IPV6),
}
_ENTRIES_A_FLOW: Final = 2


def agent_config(loaded: Loaded, api_server: str) -> AgentConfig:
    """Return the agent's configuration. Raises when this machine has no name or no cgroup v2."""
    config, own = loaded.config, loaded.config.ebpflb
    kubeconfig = config.client_connection.kubeconfig
    return AgentConfig(
        node_name=node_name(config.hostname_override),
        manifests=Path(own.manifests) if own.manifests else None,
        kubeconfig=Path(kubeconfig) if kubeconfig else None,
        uplink_devices=tuple(own.uplink_devices),
        pod_devices=tuple(own.pod_devices),
        acceleration=Acceleration(own.acceleration),
        cgroup=Path(own.cgroup) if own.cgroup else _cgroup_root(),
        socket_opt_outs=tuple(own.socket_opt_outs),
        opt_out_runtime_classes=tuple(own.opt_out_runtime_classes),
        bpffs=Path(own.bpffs),
        instance=own.instance,
        state_dir=Path(own.state_dir),
        families=FAMILIES[own.ip_family],
        sizes=map_sizes(config, _cores()),
        close_tcp_sockets=TcpSockets(own.close_tcp_sockets),
        protect_node_ports=own.protect_node_ports,
        answer_ping=own.answer_ping,
        options=options_of(config),
        timeouts=flow_timeouts(config),
        conntrack=conntrack_settings(config.conntrack, _cores()),
        oom_score_adj=config.oom_score_adj,
        healthz_bind_address=config.healthz_bind_address if own.serve_healthz else "",
        metrics_bind_address=config.metrics_bind_address if own.serve_metrics else "",
        bind_address_hard_fail=config.bind_address_hard_fail,
        sync_period_s=sync_period_s(config),
        config_sync_period_s=float(whole_seconds(config.config_sync_period) or 0),
        api_server=api_server,
        api_qps=config.client_connection.qps,
        api_burst=config.client_connection.burst,
        config_file=loaded.file.path if loaded.file else None,
        config_bytes=loaded.file.raw if loaded.file else b"",
        config_text=msgspec.json.encode(config).decode(),
    )


def node_name(given: str) -> str:
    """Return the name as kubelet and kube-proxy would: without spaces around it, in lower case."""
    name = (given or socket.gethostname()).strip().lower()
    if not name:
        raise UsageError("--hostname-override (hostnameOverride) is blank", remedy="name the Node of this machine")
    return name


def map_sizes(config: KubeProxyConfiguration, cores: int) -> MapSizes:
    """Return the sizes that are given; ``flows`` follows what is said of connection tracking, if anything is."""
    sizes = replace(MapSizes(), **config.ebpflb.map_sizes)
    conntrack, usual = config.conntrack, Conntrack()
    is_told = (conntrack.max_per_core, conntrack.min) != (usual.max_per_core, usual.min)
    if "flows" in config.ebpflb.map_sizes or not is_told:
        return sizes
    wanted = _ENTRIES_A_FLOW * (_connections(conntrack, cores) or 0)
    return replace(sizes, flows=min(max(sizes.flows, wanted), MOST_ENTRIES))


def flow_timeouts(config: KubeProxyConfiguration) -> Timeouts:
    """Return how long our flows live; where nothing is said, as long as usual."""
    seconds = flow_seconds(config)._asdict()
    assert seconds.keys() <= {each.name for each in fields(Timeouts)}, "they are named alike"
    return replace(Timeouts(), **{name: value for name, value in seconds.items() if value is not None})


def conntrack_settings(conntrack: Conntrack, cores: int) -> ConntrackSettings:
    """Return what netfilter is to be told; 0 leaves things as they are."""
    return ConntrackSettings(
        maximum=_connections(conntrack, cores),
        tcp_established_s=whole_seconds(conntrack.tcp_established_timeout),
        tcp_close_wait_s=whole_seconds(conntrack.tcp_close_wait_timeout),
        tcp_be_liberal=True if conntrack.tcp_be_liberal else None,
        udp_s=whole_seconds(conntrack.udp_timeout),
        udp_stream_s=whole_seconds(conntrack.udp_stream_timeout),
    )


def _connections(conntrack: Conntrack, cores: int) -> int | None:
    """Return how many connections are to be tracked; ``None``: as many as there is room for now."""
    return max(conntrack.max_per_core * cores, conntrack.min) if conntrack.max_per_core else None


def _cores() -> int:
    return os.cpu_count() or 1


def _cgroup_root() -> Path:
    mounted = cgroup2_mounts(read_mounts())
    if not mounted:
        raise PrerequisiteError(
            "cgroup v2 is not mounted: the sockets of this node cannot be served",
            remedy="mount -t cgroup2 none /sys/fs/cgroup/unified, or boot with systemd.unified_cgroup_hierarchy=1",
        )
    return mounted[0]
