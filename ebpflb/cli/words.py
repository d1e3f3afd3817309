"""Turns what maps hold as numbers into words and names: enums, flags, ids, addresses. Pure.

Must not know how maps are read nor how rows are printed.

    Tables -> Names -> "default/web:http/TCP", "10.1.0.1:8080/TCP"
"""

from collections.abc import Collection
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Any

from ebpflb.core.abi import FrontendKind, Protocol
from ebpflb.core.model import format_endpoint
from ebpflb.core.tables import Backend, Tables

Row = dict[str, Any]
"""One decoded map entry: keys in snake_case, values of JSON's types. What ``-o json`` prints."""

KINDS = {
    FrontendKind.CLUSTER_IP: "ClusterIP",
    FrontendKind.NODE_PORT: "NodePort",
    FrontendKind.LOAD_BALANCER: "LoadBalancer",
    FrontendKind.EXTERNAL_IP: "ExternalIP",
    FrontendKind.ADDRESS: "Address",
}

_PROTOCOLS = {member.value: member.name for member in Protocol if member is not Protocol.ANY}


def word(member: IntEnum) -> str:
    """Return an enum member in lower case."""
    return member.name.lower()


def words(flags: IntFlag) -> list[str]:
    """Return the set flags in lower case; bits without a name as a number."""
    named = [flag.name.lower() for flag in type(flags) if flag in flags and flag.name]
    unnamed = int(flags) & ~sum(type(flags))
    return [*named, hex(unnamed)] if unnamed else named


def protocol_name(number: int) -> str:
    """Return ``TCP``, or the number of what is no transport of a Service."""
    return _PROTOCOLS.get(number, str(number))


def transport(address: bytes, port: int, protocol: int) -> str:
    """Return ``10.0.0.1:80/TCP`` or ``[fd00::1]:80/TCP``."""
    return f"{format_endpoint(address, port)}/{protocol_name(protocol)}"


@dataclass(frozen=True, slots=True)
class Names:
    """What the ids of one family stand for."""

    tables: Tables

    def service(self, service_id: int) -> str | None:
        """Return ``namespace/name:port/PROTOCOL``, ``None`` for an id that no service has (any more)."""
        return self.tables.services.get(service_id)

    def backend(self, backend_id: int, generation: int | None = None) -> str | None:
        """Return a backend's address; ``None`` when it is gone, also when its id has a new user since."""
        backend = self.tables.backends.get(backend_id)
        if backend is None or generation not in {None, backend.generation}:
            return None
        return backend_text(backend)

    def ids_of(self, service: str) -> frozenset[int]:
        """Return the service ids, one for each port, of ``namespace/name``."""
        prefixes = (f"{service}:", f"{service}/")
        return frozenset(number for number, name in self.tables.services.items() if name.startswith(prefixes))


def backend_text(backend: Backend) -> str:
    """Return a backend's address, port and protocol."""
    return transport(backend.key.address, backend.key.port, backend.key.protocol)


def is_wanted(service_id: int | None, wanted: Collection[int] | None) -> bool:
    """Say whether a row of this service is asked for; ``None``: all are."""
    return wanted is None or service_id in wanted
