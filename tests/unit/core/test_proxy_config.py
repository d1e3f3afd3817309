"""Every row of the table of fields and flags: what it is by default, in a file, by its flag, and what becomes of it."""

from typing import Any

import msgspec
import pytest
import yaml

from ebpflb.core.options import DetectLocal, Forwarding, Options
from ebpflb.core.proxy_config import Configured, configure
from ebpflb.core.proxy_config_decode import DEFAULTS
from ebpflb.core.proxy_config_fields import Use
from ebpflb.core.proxy_config_flags import BY_NAME, FLAGS, field_type, nested
from ebpflb.core.proxy_config_options import LONGEST_FLOW_S, FlowSeconds, flow_seconds, options_of, sync_period_s
from tests.unit.core.proxy_config_documents import KIND, KUBEADM, document

ROWS: list[tuple[str, str, Any, Any, str, Any]] = [
    # field, flag, default, in a file, by the flag, then
    ("featureGates", "--feature-gates", {}, {"A": True}, "A=true, B=f", {"A": True, "B": False}),
    ("clientConnection.kubeconfig", "--kubeconfig", "", "/k", "/k", "/k"),
    ("clientConnection.acceptContentTypes", "", "", "application/json", "", None),
    (
        *("clientConnection.contentType", "--kube-api-content-type", "application/vnd.kubernetes.protobuf"),
        *("application/json", "application/json", "application/json"),
    ),
    ("clientConnection.qps", "--kube-api-qps", 5.0, 2.5, "50", 50.0),
    ("clientConnection.burst", "--kube-api-burst", 10, 100, "0", 0),
    ("logging.format", "--logging-format", "text", "json", "json", "json"),
    ("logging.flushFrequency", "--log-flush-frequency", "5s", 1_000_000, "1m", "1m0s"),
    ("logging.verbosity", "--v", 0, 4, "2", 2),
    (
        *("logging.vmodule", "--vmodule", [], [{"filePattern": "proxier", "verbosity": 3}], "a=1,b=2"),
        [{"filePattern": "a", "verbosity": 1}, {"filePattern": "b", "verbosity": 2}],
    ),
    ("logging.options.text.splitStream", "--log-text-split-stream", False, True, "true", True),
    ("logging.options.text.infoBufferSize", "--log-text-info-buffer-size", "0", 5, "1Mi", "1Mi"),
    ("logging.options.json.splitStream", "--log-json-split-stream", False, True, "T", True),
    ("logging.options.json.infoBufferSize", "--log-json-info-buffer-size", "0", "1Mi", "0", "0"),
    ("hostnameOverride", "", "", "Node-1", "", None),
    ("bindAddress", "--bind-address", "0.0.0.0", "192.0.2.1", "2001:db8::1", "2001:db8::1"),
    ("healthzBindAddress", "--healthz-bind-address", "0.0.0.0:10256", "127.0.0.1:1", "[::]:2", "[::]:2"),
    ("metricsBindAddress", "--metrics-bind-address", "127.0.0.1:10249", "0.0.0.0:1", "10.0.0.1", "10.0.0.1:10249"),
    ("bindAddressHardFail", "--bind-address-hard-fail", False, True, "1", True),
    ("enableProfiling", "--profiling", False, True, "true", True),
    ("showHiddenMetricsForVersion", "--show-hidden-metrics-for-version", "", "1.33", "1.34", "1.34"),
    ("mode", "--proxy-mode", "", "ipvs", "nftables", "nftables"),
    ("detectLocalMode", "--detect-local-mode", "ClusterCIDR", "NodeCIDR", "NodeCIDR", "NodeCIDR"),
    ("detectLocal.bridgeInterface", "--pod-bridge-interface", "", "cni0", "br0", "br0"),
    ("detectLocal.interfaceNamePrefix", "--pod-interface-name-prefix", "", "veth", "cali", "cali"),
    ("clusterCIDR", "--cluster-cidr", "", "10.244.0.0/16", "10.0.0.0/8,fd00::/8", "10.0.0.0/8,fd00::/8"),
    ("nodePortAddresses", "--nodeport-addresses", [], ["primary"], "10.0.0.0/8,fd00::/8", ["10.0.0.0/8", "fd00::/8"]),
    ("configSyncPeriod", "--config-sync-period", "15m0s", "30m", "1h", "1h0m0s"),
    ("oomScoreAdj", "--oom-score-adj", -999, -1000, "-5", -5),
    ("portRange", "--proxy-port-range", "", "300-2000", "300+10", "300+10"),
    ("windowsRunAsService", "", False, True, "", None),
    ("winkernel.networkName", "", "", "net", "", None),
    ("winkernel.sourceVip", "", "", "10.0.0.1", "", None),
    ("winkernel.enableDSR", "", False, True, "", None),
    ("winkernel.rootHnsEndpointName", "", "", "cbr0", "", None),
    ("winkernel.forwardHealthCheckVip", "", False, True, "", None),
    ("conntrack.maxPerCore", "--conntrack-max-per-core", 32768, 0, "1024", 1024),
    ("conntrack.min", "--conntrack-min", 131072, 0, "2048", 2048),
    ("conntrack.tcpEstablishedTimeout", "--conntrack-tcp-timeout-established", "24h0m0s", "0s", "90m", "1h30m0s"),
    ("conntrack.tcpCloseWaitTimeout", "--conntrack-tcp-timeout-close-wait", "1h0m0s", "30m", "0", "0s"),
    ("conntrack.tcpBeLiberal", "--conntrack-tcp-be-liberal", False, True, "True", True),
    ("conntrack.udpTimeout", "--conntrack-udp-timeout", "0s", "10s", "10s", "10s"),
    ("conntrack.udpStreamTimeout", "--conntrack-udp-timeout-stream", "0s", "3m", "3m", "3m0s"),
    ("iptables.masqueradeBit", "--iptables-masquerade-bit", 14, 0, "31", 31),
    ("nftables.masqueradeBit", "--iptables-masquerade-bit", 14, 0, "31", 31),
    ("iptables.masqueradeAll", "--masquerade-all", False, True, "true", True),
    ("nftables.masqueradeAll", "--masquerade-all", False, True, "true", True),
    ("iptables.localhostNodePorts", "--iptables-localhost-nodeports", True, False, "false", False),
    ("iptables.syncPeriod", "--iptables-sync-period", "30s", "1m", "2s", "2s"),
    ("iptables.minSyncPeriod", "--iptables-min-sync-period", "1s", "2s", "0", "0s"),
    ("nftables.syncPeriod", "", "30s", "1m", "", None),
    ("nftables.minSyncPeriod", "", "1s", "2s", "", None),
    ("ipvs.syncPeriod", "--ipvs-sync-period", "30s", "1m", "2s", "2s"),
    ("ipvs.minSyncPeriod", "--ipvs-min-sync-period", "0s", "2s", "1s", "1s"),
    ("ipvs.scheduler", "--ipvs-scheduler", "", "lc", "sh", "sh"),
    ("ipvs.excludeCIDRs", "--ipvs-exclude-cidrs", [], ["10.0.0.0/8"], "10.0.0.0/8", ["10.0.0.0/8"]),
    ("ipvs.strictARP", "--ipvs-strict-arp", False, True, "t", True),
    ("ipvs.tcpTimeout", "--ipvs-tcp-timeout", "0s", "5m", "5m", "5m0s"),
    ("ipvs.tcpFinTimeout", "--ipvs-tcpfin-timeout", "0s", "5m", "5m", "5m0s"),
    ("ipvs.udpTimeout", "--ipvs-udp-timeout", "0s", "5m", "5m", "5m0s"),
]
USES = {
    Use.ACCEPTED: {
        *("featureGates", "clientConnection.acceptContentTypes", "clientConnection.contentType"),
        *("logging.flushFrequency", "logging.vmodule", "enableProfiling", "showHiddenMetricsForVersion", "portRange"),
        *(f"logging.options.{form}.{name}" for form in ("text", "json") for name in ("splitStream", "infoBufferSize")),
        *("windowsRunAsService", "winkernel.networkName", "winkernel.sourceVip", "winkernel.enableDSR"),
        *("winkernel.rootHnsEndpointName", "winkernel.forwardHealthCheckVip", "iptables.masqueradeBit"),
        *("iptables.minSyncPeriod", "nftables.minSyncPeriod"),
        *("nftables.masqueradeBit", "ipvs.minSyncPeriod", "ipvs.scheduler", "ipvs.excludeCIDRs", "ipvs.strictARP"),
    },
    Use.MAPPED: {
        *("logging.format", "logging.verbosity", "mode", "configSyncPeriod", "conntrack.maxPerCore", "conntrack.min"),
        *("conntrack.tcpBeLiberal", "iptables.syncPeriod", "nftables.syncPeriod"),
        *("ipvs.syncPeriod", "ipvs.tcpTimeout", "ipvs.tcpFinTimeout", "ipvs.udpTimeout"),
    },
}


def at(configured: Configured, path: str) -> Any:
    value: Any = msgspec.to_builtins(configured.config)
    for name in path.split("."):
        value = value[name]
    return value


def leaves(path: str, value: Any) -> list[str]:
    if not isinstance(value, msgspec.Struct):
        return [path]
    names = [(each.encode_name, getattr(value, each.name)) for each in msgspec.structs.fields(value)]
    return [leaf for name, inner in names for leaf in leaves(f"{path}.{name}".removeprefix("."), inner)]


def test_the_rows_are_all_fields_and_all_flags() -> None:
    fields = [path for path in leaves("", DEFAULTS) if not path.startswith("ebpflb.")]
    assert sorted(fields) == sorted(["apiVersion", "kind", *(row[0] for row in ROWS)])
    assert {flag.name for flag in FLAGS} == {row[1] for row in ROWS} - {""}
    assert all(row[0] in BY_NAME[row[1]].paths for row in ROWS if row[1])


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_by_default(row: tuple[Any, ...]) -> None:
    for configured in (configure(None, {}, {}), configure(document(), {}, {})):
        assert configured.problems == ()
        assert at(configured, row[0]) == row[2]
        assert configured.notes == ()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_in_a_file(row: tuple[Any, ...]) -> None:
    path, _, _, value, _, _ = row
    configured = configure({**document(), **nested({path: value})}, {}, {})
    assert (configured.problems, configured.unknown) == ((), ())
    found = at(configured, path)
    assert found == (
        {"30m": "30m0s", "1m": "1m0s", "5m": "5m0s", "3m": "3m0s"}.get(value, value)
        if isinstance(value, str)
        else value
    )


@pytest.mark.parametrize("row", [row for row in ROWS if row[1]], ids=lambda row: f"{row[1]} {row[0]}")
def test_by_its_flag(row: tuple[Any, ...]) -> None:
    path, flag, _, _, text, expected = row
    configured = configure(None, {flag: (text,)}, {})
    assert configured.problems == ()
    assert at(configured, path) == expected


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_what_is_not_honoured_is_said(row: tuple[Any, ...]) -> None:
    path, _, _, value, _, _ = row
    use = next((use for use, paths in USES.items() if path in paths), Use.HONOURED)
    assert field_type(path).treatment.use is use
    notes = configure({**document(), **nested({path: value})}, {}, {}).notes
    assert [(note.path, note.use) for note in notes] == ([] if use is Use.HONOURED else [(path, use)])
    assert all(note.why and note.value for note in notes)


@pytest.mark.parametrize("path", [path for path in leaves("", DEFAULTS) if path not in {"apiVersion", "kind"}])
def test_nothing_is_the_default(path: str) -> None:
    configured = configure({**document(), **nested({path: None})}, {}, {})
    assert (configured.problems, configured.config) == ((), DEFAULTS)


def test_sections_may_be_nothing() -> None:
    sections = dict.fromkeys(("iptables", "conntrack", "logging", "ebpflb", "detectLocal"))
    assert configure(document(**sections), {}, {}).config == DEFAULTS


def test_kubeadms_file_is_the_defaults() -> None:
    configured = configure(yaml.safe_load(KUBEADM), {}, {})
    assert (configured.problems, configured.unknown, configured.notes) == ((), (), ())
    connection = msgspec.structs.replace(DEFAULTS.client_connection, kubeconfig="/var/lib/kube-proxy/kubeconfig.conf")
    expected = msgspec.structs.replace(DEFAULTS, client_connection=connection, cluster_cidr="10.244.0.0/16")
    assert configured.config == expected


def test_an_ipv6_bind_address_moves_the_servers() -> None:
    configured = configure(yaml.safe_load(KIND), {}, {})
    assert configured.problems == ()
    assert configured.config.healthz_bind_address == "[::]:10256"
    assert configured.config.metrics_bind_address == "[::1]:10249"


def test_an_address_alone_gets_its_port() -> None:
    configured = configure(document(healthzBindAddress="127.0.0.1", metricsBindAddress="::"), {}, {})
    assert configured.config.healthz_bind_address == "127.0.0.1:10256"
    assert configured.config.metrics_bind_address == "[::]:10249"


@pytest.mark.parametrize(
    ("flags", "healthz", "serves"),
    [
        ({"--healthz-bind-address": ("",)}, "0.0.0.0:10256", False),
        ({"--healthz-port": ("0",)}, "0.0.0.0:10256", False),
        ({"--healthz-port": ("0",), "--healthz-bind-address": ("127.0.0.1:5",)}, "0.0.0.0:10256", False),
        ({"--healthz-port": ("77",)}, "0.0.0.0:77", True),
        ({"--healthz-port": ("77",), "--healthz-bind-address": ("127.0.0.1",)}, "127.0.0.1:77", True),
        ({"--healthz-port": ("77",), "--healthz-bind-address": ("127.0.0.1:5",)}, "127.0.0.1:5", True),
        ({"--healthz-bind-address": ("127.0.0.1:5", "::1")}, "[::1]:10256", True),
    ],
)
def test_where_health_is_served(flags: dict[str, tuple[str, ...]], healthz: str, serves: bool) -> None:
    configured = configure(None, flags, {})
    assert configured.problems == ()
    assert (configured.config.healthz_bind_address, configured.config.ebpflb.serve_healthz) == (healthz, serves)
    assert configured.config.ebpflb.serve_metrics
    assert configured.deprecated == tuple(
        ("--healthz-port", "--healthz-bind-address") for name in flags if name == "--healthz-port"
    )


def test_metrics_can_be_switched_off() -> None:
    assert not configure(None, {"--metrics-bind-address": ("",)}, {}).config.ebpflb.serve_metrics
    assert not configure(document(ebpflb={"serveMetrics": False}), {}, {}).config.ebpflb.serve_metrics


def test_a_flag_may_be_given_twice() -> None:
    lists = {"--nodeport-addresses": ("10.0.0.0/8", "fd00::/8,192.0.2.0/24"), "--v": ("1", "5")}
    config = configure(None, lists, {}).config
    assert config.node_port_addresses == ["10.0.0.0/8", "fd00::/8", "192.0.2.0/24"]
    assert config.logging.verbosity == 5


def test_beside_a_file_most_flags_do_nothing() -> None:
    flags = {"--cluster-cidr": ("nonsense",), "--v": ("5",), "--healthz-port": ("1",), "--logging-format": ("json",)}
    configured = configure(document(clusterCIDR="10.0.0.0/8"), flags, {"hostnameOverride": "b", "ebpflb.instance": "x"})
    assert configured.problems == ()
    assert configured.ignored == ("--cluster-cidr", "--healthz-port")
    assert configured.deprecated == ()
    config = configured.config
    assert (config.cluster_cidr, config.healthz_bind_address) == ("10.0.0.0/8", "0.0.0.0:10256")
    assert (config.logging.verbosity, config.logging.format) == (5, "json")
    assert (config.hostname_override, config.ebpflb.instance) == ("b", "x")


def test_manifests_stand_in_for_the_files_api_server() -> None:
    configured = configure(yaml.safe_load(KUBEADM), {}, {"ebpflb.manifests": "/m"})
    assert configured.problems == ()
    assert (configured.config.ebpflb.manifests, configured.config.client_connection.kubeconfig) == ("/m", "")


@pytest.mark.parametrize(
    ("fields", "options"),
    [
        ({}, Options()),
        ({"ebpflb": {"masqueradeLocalPods": False}}, Options(masquerade_local_pods=False)),
        ({"iptables": {"masqueradeAll": True}}, Options(masquerade_all=True)),
        ({"iptables": {"masqueradeAll": True}, "mode": "ipvs"}, Options(masquerade_all=True)),
        ({"iptables": {"masqueradeAll": True}, "mode": "nftables"}, Options()),
        ({"nftables": {"masqueradeAll": True}, "mode": "nftables"}, Options(masquerade_all=True)),
        ({"nftables": {"masqueradeAll": True}}, Options(masquerade_all=True)),
        ({"nftables": {"masqueradeAll": True}, "mode": "ebpf"}, Options(masquerade_all=True)),
        ({"nftables": {"masqueradeAll": True}, "mode": "iptables"}, Options()),
        ({"nftables": {"masqueradeAll": True}, "mode": "ipvs"}, Options()),
        ({"clusterCIDR": "10.244.7.0/16,fd00:1::/48"}, Options(cluster_cidrs=("10.244.0.0/16", "fd00:1::/48"))),
        ({"detectLocalMode": "NodeCIDR"}, Options(detect_local=DetectLocal.NODE_CIDR)),
        (
            {
                "detectLocalMode": "BridgeInterface",
                "detectLocal": {"bridgeInterface": "cni0", "interfaceNamePrefix": "v"},
            },
            Options(detect_local=DetectLocal.BRIDGE_INTERFACE, pod_interface="cni0"),
        ),
        (
            {"detectLocalMode": "InterfaceNamePrefix", "detectLocal": {"interfaceNamePrefix": "veth"}},
            Options(detect_local=DetectLocal.INTERFACE_NAME_PREFIX, pod_interface="veth"),
        ),
        ({"detectLocal": {"bridgeInterface": "cni0"}}, Options()),
        ({"nodePortAddresses": ["primary"]}, Options(node_port_addresses=("primary",))),
        ({"nodePortAddresses": ["10.1.2.3/8", "::/0"]}, Options(node_port_addresses=("10.0.0.0/8", "::/0"))),
        ({"iptables": {"localhostNodePorts": False}, "mode": "nftables"}, Options(localhost_node_ports=False)),
        ({"bindAddress": "192.0.2.1"}, Options(node_ips=(bytes([192, 0, 2, 1]),))),
        ({"bindAddress": "::"}, Options()),
        ({"ebpflb": {"forwarding": "dsr"}}, Options(Forwarding.DSR)),
    ],
)
def test_options(fields: dict[str, Any], options: Options) -> None:
    configured = configure(document(**fields), {}, {})
    assert configured.problems == ()
    assert options_of(configured.config) == options


@pytest.mark.parametrize(
    ("mode", "seconds"), [("", 1.5), ("iptables", 1.5), ("ebpf", 1.5), ("ipvs", 2), ("nftables", 3)]
)
def test_the_sections_periods(mode: str, seconds: float) -> None:
    sections = {"iptables": {"syncPeriod": "1500ms"}, "ipvs": {"syncPeriod": "2s"}, "nftables": {"syncPeriod": "3s"}}
    assert sync_period_s(configure(document(mode=mode, **sections), {}, {}).config) == seconds


CONNTRACK = {
    "tcpEstablishedTimeout": "1h",
    "tcpCloseWaitTimeout": "2m",
    "udpTimeout": "1500ms",
    "udpStreamTimeout": "9s",
}
IPVS = {"tcpTimeout": "7s", "tcpFinTimeout": "0s", "udpTimeout": "8s"}


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ({}, FlowSeconds(86_400, 3_600, None, None)),
        ({"conntrack": CONNTRACK}, FlowSeconds(3_600, 120, 2, 9)),
        ({"conntrack": CONNTRACK, "ipvs": IPVS}, FlowSeconds(3_600, 120, 2, 9)),
        ({"conntrack": CONNTRACK, "ipvs": IPVS, "mode": "ipvs"}, FlowSeconds(7, 120, 2, 8)),
        ({"conntrack": {"tcpEstablishedTimeout": "0s"}}, FlowSeconds(None, 3_600, None, None)),
        ({"conntrack": {"tcpEstablishedTimeout": "9999h"}}, FlowSeconds(LONGEST_FLOW_S, 3_600, None, None)),
    ],
)
def test_flow_timeouts(fields: dict[str, Any], seconds: FlowSeconds) -> None:
    assert flow_seconds(configure(document(**fields), {}, {}).config) == seconds


def test_what_is_written_is_read_back() -> None:
    flags = {row[1]: (row[4],) for row in ROWS if row[1] and row[0] != "clientConnection.kubeconfig"}
    flags |= {"--metrics-bind-address": ("",), "--proxy-mode": ("nftables",)}
    first = configure(None, flags, {"hostnameOverride": "a", "ebpflb.manifests": "/m", "ebpflb.mapSizes": {"flows": 8}})
    assert first.problems == ()
    text = yaml.safe_dump(msgspec.to_builtins(first.config))
    again = configure(yaml.safe_load(text), {}, {})
    assert (again.problems, again.unknown) == ((), ())
    # 0 in a file is the default, as in kube-proxy's files.
    iptables = msgspec.structs.replace(first.config.iptables, min_sync_period="1s")
    connection = msgspec.structs.replace(first.config.client_connection, burst=10)
    assert again.config == msgspec.structs.replace(first.config, iptables=iptables, client_connection=connection)
