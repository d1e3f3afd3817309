"""Makes one configuration of a file and of flags, with everything that is wrong or worth a log line.

Decides who comes first: without a file, flags over defaults; with one, the file, over it the flags that kube-proxy
still hears (logging, the node's name) and those of ebpflb's own. Knows no file format and no command-line library.

    document, flags --configure--> Configured(config, problems, unknown, ignored, notes) --> Options, AgentConfig
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

import msgspec

from ebpflb.core.proxy_config_decode import DEFAULTS, Problem, read
from ebpflb.core.proxy_config_fields import FieldType, Use
from ebpflb.core.proxy_config_flags import BY_NAME, DEPRECATED, FLAGS, Given, Scope, flags_document, nested
from ebpflb.core.proxy_config_rules import check
from ebpflb.core.proxy_config_schema import DEFAULT_HEALTHZ_PORT, DEFAULT_METRICS_PORT, KubeProxyConfiguration
from ebpflb.core.proxy_config_values import parse_ip, with_port

_UNSET: Final = msgspec.structs.replace(
    DEFAULTS, api_version="", kind="", healthz_bind_address="", metrics_bind_address=""
)
"""What a file is read over: it must name its kind, and its addresses have a default that depends on another field."""
_IPV6_BYTES: Final = 16


class Note(NamedTuple):
    """A field with a value of its own that does not do here what it does in kube-proxy."""

    path: str
    value: str
    use: Use
    why: str


@dataclass(frozen=True, slots=True)
class Configured:
    """A configuration, and what is to be said of it."""

    config: KubeProxyConfiguration
    problems: tuple[Problem, ...] = ()
    """Unless this is empty, the configuration must not be used."""
    unknown: tuple[str, ...] = ()
    """Fields of the file that nobody knows."""
    ignored: tuple[str, ...] = ()
    """Flags that do not count beside a file."""
    deprecated: tuple[tuple[str, str], ...] = ()
    """Old flags, and the ones to be used instead."""
    notes: tuple[Note, ...] = ()


def configure(document: Mapping[str, Any] | None, flags: Given, own: Mapping[str, Any]) -> Configured:
    """Return the configuration that a file (``None``: there is none) and flags make.

    ``own``: values of ebpflb's own flags, by the path of their field; they come first.
    """
    reading = read(_UNSET_DOCUMENT if document is None else document, _UNSET)
    heard = {name: texts for name, texts in flags.items() if document is None or _counts_beside_a_file(name)}
    over = read(flags_document(heard), _fill_addresses(reading.config), in_file=False)
    last = read(nested(_without_kubeconfig(own)), over.config, in_file=False)
    config = _with_ports(last.config)
    told = _told_by(heard)
    problems = (
        *reading.problems,
        *(_named(problem, told) for problem in (*over.problems, *last.problems, *check(config))),
    )
    return Configured(
        config,
        tuple(dict.fromkeys(problems)),
        reading.unknown,
        ignored=tuple(name for name in flags if name not in heard),
        deprecated=tuple((name, DEPRECATED[name]) for name in heard if name in DEPRECATED),
        notes=tuple(_notes("", config, DEFAULTS)),
    )


_UNSET_DOCUMENT: Final = {"apiVersion": DEFAULTS.api_version, "kind": DEFAULTS.kind}


def _counts_beside_a_file(name: str) -> bool:
    return name in BY_NAME and BY_NAME[name].scope is Scope.LOGGING


def _without_kubeconfig(own: Mapping[str, Any]) -> Mapping[str, Any]:
    """Let ``--manifests`` stand in for the API server that the file names."""
    return {"clientConnection.kubeconfig": "", **own} if own.get("ebpflb.manifests") else own


def _fill_addresses(config: KubeProxyConfiguration) -> KubeProxyConfiguration:
    is_ipv6 = len(parse_ip(config.bind_address) or b"") == _IPV6_BYTES
    everywhere, here = ("[::]", "[::1]") if is_ipv6 else ("0.0.0.0", "127.0.0.1")  # noqa: S104 - kube-proxy's default
    return msgspec.structs.replace(
        config,
        healthz_bind_address=config.healthz_bind_address or f"{everywhere}:{DEFAULT_HEALTHZ_PORT}",
        metrics_bind_address=config.metrics_bind_address or f"{here}:{DEFAULT_METRICS_PORT}",
    )


def _with_ports(config: KubeProxyConfiguration) -> KubeProxyConfiguration:
    return msgspec.structs.replace(
        config,
        healthz_bind_address=with_port(config.healthz_bind_address, DEFAULT_HEALTHZ_PORT),
        metrics_bind_address=with_port(config.metrics_bind_address, DEFAULT_METRICS_PORT),
    )


def _told_by(given: Given) -> dict[str, str]:
    """Return the flag that each field was told by."""
    old = {path: name for name, instead in DEPRECATED.items() if name in given for path in BY_NAME[instead].paths}
    return old | {path: flag.name for flag in FLAGS if flag.name in given for path in flag.paths}


def _named(problem: Problem, told: Mapping[str, str]) -> Problem:
    """Name the flag, too, if the field was told by one."""
    flag = told.get(problem.path.partition("[")[0])
    return replace(problem, path=f"{flag} ({problem.path})") if flag else problem


def _notes(path: str, config: msgspec.Struct, default: msgspec.Struct) -> Iterator[Note]:
    for info in msgspec.structs.fields(config):
        value, usual = getattr(config, info.name), getattr(default, info.name)
        where = f"{path}{info.encode_name}"
        if isinstance(value, msgspec.Struct):
            yield from _notes(f"{where}.", value, usual)
            continue
        treatment = FieldType.of(info.type).treatment
        if value != usual and treatment.use is not Use.HONOURED:
            yield Note(where, msgspec.json.encode(value).decode(), treatment.use, treatment.why)
