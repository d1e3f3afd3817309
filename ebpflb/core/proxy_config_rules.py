"""What a configuration must not say although every field has its type: kube-proxy's rules, and those of ``ebpflb:``.

Decides validity only, and names the remedy; a rule that kube-proxy applies in one mode only is applied in that mode
only, so that whatever starts a kube-proxy starts an ebpflb. Knows no flag and no file.

    KubeProxyConfiguration --check--> Problems, all of them
"""

import re
from collections.abc import Callable, Iterator
from math import isfinite
from typing import Final

from ebpflb.core.abi import Family
from ebpflb.core.fields import shown
from ebpflb.core.options import PRIMARY
from ebpflb.core.proxy_config_decode import Problem
from ebpflb.core.proxy_config_durations import parse_duration
from ebpflb.core.proxy_config_schema import API_VERSION, KIND, KubeProxyConfiguration
from ebpflb.core.proxy_config_values import parse_host_port, parse_ip, parse_prefix

_PORT_RANGE: Final = re.compile(r"([0-9]{1,5}([-+][0-9]{1,5})?)?")
_VERSION: Final = re.compile(r"([0-9]+\.[0-9]+)?")
_SCHEDULERS: Final = ("", "rr", "wrr", "lc", "wlc", "lblc", "lblcr", "sh", "dh", "sed", "nq", "mh")
_MOST_PREFIXES: Final = len(Family)

Rule = Callable[[KubeProxyConfiguration], Iterator[Problem]]


def check(config: KubeProxyConfiguration) -> tuple[Problem, ...]:
    """Return everything that is wrong."""
    return tuple(problem for rule in _RULES for problem in rule(config))


def _check_type(config: KubeProxyConfiguration) -> Iterator[Problem]:
    for path, found, wanted in (("apiVersion", config.api_version, API_VERSION), ("kind", config.kind, KIND)):
        if found != wanted:
            problem = f"{shown(found)} is not known" if found else "is missing"
            yield Problem(path, problem, f"write `{path}: {wanted}`")


def _check_addresses(config: KubeProxyConfiguration) -> Iterator[Problem]:
    if parse_ip(config.bind_address) is None:
        yield Problem(
            "bindAddress", f"{shown(config.bind_address)} is not an IP address", "give one, or 0.0.0.0 for the Node's"
        )
    for path, text in (
        ("healthzBindAddress", config.healthz_bind_address),
        ("metricsBindAddress", config.metrics_bind_address),
    ):
        if parse_host_port(text) is None:
            remedy = "give it as 0.0.0.0:10256 or [::]:10256, with a port from 0 to 65535"
            yield Problem(path, f"{shown(text)} is not IP:port", remedy)


def _check_cluster_cidr(config: KubeProxyConfiguration) -> Iterator[Problem]:
    if not config.cluster_cidr:
        return
    texts = config.cluster_cidr.split(",")
    remedy = "give one prefix, or one of each family as 10.244.0.0/16,fd00:244::/56"
    prefixes = [parse_prefix(text) for text in texts]
    if None in prefixes:
        wrong = texts[prefixes.index(None)]
        yield Problem("clusterCIDR", f"{shown(wrong)} is not a prefix", remedy)
    elif len(texts) > _MOST_PREFIXES:
        yield Problem("clusterCIDR", f"{len(texts)} prefixes are too many", remedy)
    elif len({prefix.version for prefix in prefixes if prefix is not None}) != len(texts):
        yield Problem("clusterCIDR", f"{shown(config.cluster_cidr)} holds two prefixes of one family", remedy)


def _check_detector(config: KubeProxyConfiguration) -> Iterator[Problem]:
    names = {
        "BridgeInterface": ("detectLocal.bridgeInterface", config.detect_local.bridge_interface),
        "InterfaceNamePrefix": ("detectLocal.interfaceNamePrefix", config.detect_local.interface_name_prefix),
    }
    path, name = names.get(config.detect_local_mode, ("", "unused"))
    if not name:
        yield Problem(path, "is empty", f"name the pods' device for detectLocalMode {config.detect_local_mode}")


def _check_node_ports(config: KubeProxyConfiguration) -> Iterator[Problem]:
    texts = config.node_port_addresses
    for at, text in enumerate(texts):
        path = f"nodePortAddresses[{at}]"
        if text == PRIMARY:
            if len(texts) > 1:
                yield Problem(path, "`primary` stands beside others", "give `primary` alone, or prefixes only")
        elif parse_prefix(text) is None:
            remedy = "give prefixes such as 192.0.2.0/24, or `primary` alone"
            yield Problem(path, f"{shown(text)} is not a prefix", remedy)


def _check_periods(config: KubeProxyConfiguration) -> Iterator[Problem]:
    periods = {
        "iptables": (config.iptables.sync_period, config.iptables.min_sync_period),
        "ipvs": (config.ipvs.sync_period, config.ipvs.min_sync_period),
        "nftables": (config.nftables.sync_period, config.nftables.min_sync_period),
    }
    for name in ("iptables", *({config.mode} & {"ipvs", "nftables"})):
        period, least = periods[name]
        if parse_duration(period) <= 0:
            yield Problem(f"{name}.syncPeriod", f"{period} is not above 0", "give 30s, say")
        elif parse_duration(least) > parse_duration(period):
            yield Problem(f"{name}.minSyncPeriod", f"{least} is longer than syncPeriod {period}", "give at most that")
        if parse_duration(least) < 0:
            yield Problem(f"{name}.minSyncPeriod", f"{least} is below 0", "give 1s, say")
    if parse_duration(config.config_sync_period) <= 0:
        yield Problem("configSyncPeriod", f"{config.config_sync_period} is not above 0", "give 15m, say")


def _check_timeouts(config: KubeProxyConfiguration) -> Iterator[Problem]:
    conntrack, ipvs = config.conntrack, config.ipvs
    timeouts = {
        "conntrack.tcpEstablishedTimeout": conntrack.tcp_established_timeout,
        "conntrack.tcpCloseWaitTimeout": conntrack.tcp_close_wait_timeout,
        "conntrack.udpTimeout": conntrack.udp_timeout,
        "conntrack.udpStreamTimeout": conntrack.udp_stream_timeout,
    }
    if config.mode == "ipvs":
        timeouts |= {
            "ipvs.tcpTimeout": ipvs.tcp_timeout,
            "ipvs.tcpFinTimeout": ipvs.tcp_fin_timeout,
            "ipvs.udpTimeout": ipvs.udp_timeout,
        }
    for path, text in timeouts.items():
        if parse_duration(text) < 0:
            yield Problem(path, f"{text} is below 0", "give 0 to leave it as it is, or a longer one")


def _check_accepted(config: KubeProxyConfiguration) -> Iterator[Problem]:
    """Check what has no effect here: a mistake in it would show when kube-proxy comes back."""
    if not _PORT_RANGE.fullmatch(config.port_range):
        yield Problem("portRange", f"{shown(config.port_range)} is not a range of ports", "give 300-2000, or nothing")
    if not _VERSION.fullmatch(config.show_hidden_metrics_for_version):
        found = shown(config.show_hidden_metrics_for_version)
        yield Problem("showHiddenMetricsForVersion", f"{found} is not a version", "give 1.33, say, or nothing")
    if config.mode != "ipvs":
        return
    if config.ipvs.scheduler not in _SCHEDULERS:
        remedy = f"use one of {', '.join(filter(None, _SCHEDULERS))}"
        yield Problem("ipvs.scheduler", f"{shown(config.ipvs.scheduler)} is not known", remedy)
    for at, text in enumerate(config.ipvs.exclude_cidrs):
        if parse_prefix(text) is None:
            yield Problem(f"ipvs.excludeCIDRs[{at}]", f"{shown(text)} is not a prefix", "give it as 10.0.0.0/8")


def _check_connection(config: KubeProxyConfiguration) -> Iterator[Problem]:
    if not isfinite(config.client_connection.qps):
        yield Problem("clientConnection.qps", f"{config.client_connection.qps} is no number", "give 5, say")


def _check_own(config: KubeProxyConfiguration) -> Iterator[Problem]:
    own = config.ebpflb
    if own.manifests and config.client_connection.kubeconfig:
        yield Problem("ebpflb.manifests", "clientConnection.kubeconfig is given, too", "give one of them")
    for at, pattern in enumerate(own.socket_opt_outs):
        if not pattern.startswith("/"):
            remedy = f"write /run/netns/{pattern} for a named namespace"
            yield Problem(f"ebpflb.socketOptOuts[{at}]", f"{shown(pattern)} is no absolute path", remedy)
    for path, text in (("ebpflb.stateDir", own.state_dir), ("ebpflb.bpffs", own.bpffs)):
        if not text:
            yield Problem(path, "is empty", "name a folder")


_RULES: Final[tuple[Rule, ...]] = (
    _check_type,
    _check_addresses,
    _check_cluster_cidr,
    _check_detector,
    _check_node_ports,
    _check_periods,
    _check_timeouts,
    _check_accepted,
    _check_connection,
    _check_own,
)
