"""kube-proxy's flags, each as the field of the configuration that it stands for.

Decides what a flag's text says; whether it says something valid is decided where the file's fields are checked, too.
Knows no command-line library.

    {"--cluster-cidr": ("10.244.0.0/16",)} --flags_document--> {"clusterCIDR": "10.244.0.0/16"}
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum, auto
from typing import Any, Final, NamedTuple

from msgspec import Struct, inspect
from msgspec.structs import fields

from ebpflb.core.proxy_config_fields import FieldType
from ebpflb.core.proxy_config_schema import DEFAULT_HEALTHZ_PORT, DEFAULT_METRICS_PORT, KubeProxyConfiguration
from ebpflb.core.proxy_config_values import with_port

Given = Mapping[str, Sequence[str]]
"""The texts of every flag that was given, by its name."""


class Scope(Enum):
    """What a flag means beside a configuration file."""

    FIELD = auto()
    """Nothing: the file counts."""
    LOGGING = auto()
    """It counts."""


class Flag(NamedTuple):
    """One flag."""

    name: str
    paths: tuple[str, ...]
    """Of the fields that it sets."""
    scope: Scope = Scope.FIELD

    @property
    def kind(self) -> FieldType:
        """The type of its fields."""
        return field_type(self.paths[0])


FLAGS: Final = (
    Flag("--feature-gates", ("featureGates",)),
    Flag("--kubeconfig", ("clientConnection.kubeconfig",)),
    Flag("--kube-api-content-type", ("clientConnection.contentType",)),
    Flag("--kube-api-qps", ("clientConnection.qps",)),
    Flag("--kube-api-burst", ("clientConnection.burst",)),
    Flag("--logging-format", ("logging.format",), Scope.LOGGING),
    Flag("--log-flush-frequency", ("logging.flushFrequency",), Scope.LOGGING),
    Flag("--v", ("logging.verbosity",), Scope.LOGGING),
    Flag("--vmodule", ("logging.vmodule",), Scope.LOGGING),
    Flag("--log-text-split-stream", ("logging.options.text.splitStream",), Scope.LOGGING),
    Flag("--log-text-info-buffer-size", ("logging.options.text.infoBufferSize",), Scope.LOGGING),
    Flag("--log-json-split-stream", ("logging.options.json.splitStream",), Scope.LOGGING),
    Flag("--log-json-info-buffer-size", ("logging.options.json.infoBufferSize",), Scope.LOGGING),
    Flag("--bind-address", ("bindAddress",)),
    Flag("--healthz-bind-address", ("healthzBindAddress",)),
    Flag("--metrics-bind-address", ("metricsBindAddress",)),
    Flag("--bind-address-hard-fail", ("bindAddressHardFail",)),
    Flag("--profiling", ("enableProfiling",)),
    Flag("--show-hidden-metrics-for-version", ("showHiddenMetricsForVersion",)),
    Flag("--proxy-mode", ("mode",)),
    Flag("--detect-local-mode", ("detectLocalMode",)),
    Flag("--pod-bridge-interface", ("detectLocal.bridgeInterface",)),
    Flag("--pod-interface-name-prefix", ("detectLocal.interfaceNamePrefix",)),
    Flag("--cluster-cidr", ("clusterCIDR",)),
    Flag("--nodeport-addresses", ("nodePortAddresses",)),
    Flag("--config-sync-period", ("configSyncPeriod",)),
    Flag("--oom-score-adj", ("oomScoreAdj",)),
    Flag("--proxy-port-range", ("portRange",)),
    Flag("--conntrack-max-per-core", ("conntrack.maxPerCore",)),
    Flag("--conntrack-min", ("conntrack.min",)),
    Flag("--conntrack-tcp-timeout-established", ("conntrack.tcpEstablishedTimeout",)),
    Flag("--conntrack-tcp-timeout-close-wait", ("conntrack.tcpCloseWaitTimeout",)),
    Flag("--conntrack-tcp-be-liberal", ("conntrack.tcpBeLiberal",)),
    Flag("--conntrack-udp-timeout", ("conntrack.udpTimeout",)),
    Flag("--conntrack-udp-timeout-stream", ("conntrack.udpStreamTimeout",)),
    Flag("--iptables-masquerade-bit", ("iptables.masqueradeBit", "nftables.masqueradeBit")),
    Flag("--masquerade-all", ("iptables.masqueradeAll", "nftables.masqueradeAll")),
    Flag("--iptables-localhost-nodeports", ("iptables.localhostNodePorts",)),
    Flag("--iptables-sync-period", ("iptables.syncPeriod",)),
    Flag("--iptables-min-sync-period", ("iptables.minSyncPeriod",)),
    Flag("--ipvs-sync-period", ("ipvs.syncPeriod",)),
    Flag("--ipvs-min-sync-period", ("ipvs.minSyncPeriod",)),
    Flag("--ipvs-scheduler", ("ipvs.scheduler",)),
    Flag("--ipvs-exclude-cidrs", ("ipvs.excludeCIDRs",)),
    Flag("--ipvs-strict-arp", ("ipvs.strictARP",)),
    Flag("--ipvs-tcp-timeout", ("ipvs.tcpTimeout",)),
    Flag("--ipvs-tcpfin-timeout", ("ipvs.tcpFinTimeout",)),
    Flag("--ipvs-udp-timeout", ("ipvs.udpTimeout",)),
)
BY_NAME: Final = {flag.name: flag for flag in FLAGS}


class _Server(NamedTuple):
    """A server that flags can switch off."""

    switch: str
    default_host: str
    default_port: int
    port_flag: str


_SERVERS: Final = {
    "--healthz-bind-address": _Server("ebpflb.serveHealthz", "0.0.0.0", DEFAULT_HEALTHZ_PORT, "--healthz-port"),  # noqa: S104 - kube-proxy's default
    "--metrics-bind-address": _Server("ebpflb.serveMetrics", "127.0.0.1", DEFAULT_METRICS_PORT, "--metrics-port"),
}
DEPRECATED: Final = {server.port_flag: name for name, server in _SERVERS.items()}
"""Flags that kube-proxy keeps for old command lines, and those that say it now."""

_BOOLS: Final = {
    **dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), True),
    **dict.fromkeys(("0", "f", "F", "false", "FALSE", "False"), False),
}

_INTEGER: Final = re.compile(r"[-+]?[0-9]{1,19}")
"""What fits into 64 bits; a longer text is no number of any field."""


def field_type(path: str) -> FieldType:
    """Return the type of the field at a path. Raises ``KeyError`` if there is none."""
    schema: type[Struct] = KubeProxyConfiguration
    *sections, last = path.split(".")
    for name in sections:
        schema = {each.encode_name: each.type for each in fields(schema)}[name]
    return FieldType.of({each.encode_name: each.type for each in fields(schema)}[last])


def flags_document(given: Given) -> dict[str, Any]:
    """Return what flags say, as a document. What cannot be read stays text, which no field but a text takes."""
    return nested(dict(_assignments(given)))


def nested(assignments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the document in which each path has its value."""
    document: dict[str, Any] = {}
    for path, value in assignments.items():
        *sections, last = path.split(".")
        place = document
        for name in sections:
            place = place.setdefault(name, {})
        place[last] = value
    return document


def _assignments(given: Given) -> Iterator[tuple[str, Any]]:
    for flag in FLAGS:
        if flag.name in given and flag.name not in _SERVERS:
            value = _value(flag.kind.kind, given[flag.name])
            yield from ((path, value) for path in flag.paths)
    for name, server in _SERVERS.items():
        yield from _server_assignments(name, server, given)


def _server_assignments(name: str, server: _Server, given: Given) -> Iterator[tuple[str, Any]]:
    """Follow kube-proxy: an empty address or the port 0 is no server; the old flag is the port of a bare address."""
    port = _value(inspect.IntType(), given.get(server.port_flag, (str(server.default_port),)))
    host = given.get(name, (server.default_host,))[-1]
    if not host or port == 0:
        yield server.switch, False
    elif name in given or server.port_flag in given:
        path = BY_NAME[name].paths[0]
        yield path, with_port(host, port) if isinstance(port, int) else f"{host}:{port}"


def _value(kind: inspect.Type, texts: Sequence[str]) -> Any:
    """Return what the texts of one flag say to a field of this kind; of a single value, the last one counts."""
    text = texts[-1]
    value: Any = text
    match kind:
        case inspect.BoolType():
            value = _BOOLS.get(text, text)
        case inspect.IntType():
            value = _integer(text)
        case inspect.FloatType():
            value = _number(text)
        case inspect.ListType(item_type=inspect.StructType()):
            value = [_module(part) for part in _parts(texts)]
        case inspect.ListType():
            value = _parts(texts)
        case inspect.DictType():
            value = {name: _BOOLS.get(word, word) for name, _, word in (part.partition("=") for part in _parts(texts))}
    return value


def _integer(text: str) -> int | str:
    return int(text) if _INTEGER.fullmatch(text) else text


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _parts(texts: Sequence[str]) -> list[str]:
    return [part.strip() for text in texts for part in text.split(",") if part.strip()]


def _module(part: str) -> dict[str, Any]:
    pattern, _, level = part.partition("=")
    return {"filePattern": pattern, "verbosity": _integer(level)}
