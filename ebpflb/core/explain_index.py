"""Arranges the rows of one family so that a flow is decided by a few dictionary look-ups, whatever the tables' size.

Knows rows; knows no rule about them. A prefix is found by its length and network, of which there are at most 33 or 129
lengths, so ten thousand ranges cost what one costs.

    Tables, health-check ports --Index--> look-ups --> explain.decide
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from ebpflb.core.abi import BackendFlag, ConfigFlag, Family, FrontendKind, NodeAddrFlag, Protocol
from ebpflb.core.tables import (
    CONFIG_KEY,
    Backend,
    ConfigRow,
    Frontend,
    FrontendKey,
    Prefix,
    Range,
    Tables,
)

NOWHERE = Prefix(b"", 0)
"""Contains no address."""
_LOOPBACK = {Family.IPV4: Prefix(b"\x7f\0\0\0", 8), Family.IPV6: Prefix(bytes(15) + b"\1", 128)}
_UNSET = ConfigRow(flags=ConfigFlag(0), pods=NOWHERE, guard=NOWHERE)


class ServicePortName(NamedTuple):
    """A row of ``services`` in its parts."""

    service: str
    """``namespace/name``."""
    port_name: str


NOBODY = ServicePortName("", "")


class HealthServer(NamedTuple):
    """The server that tells load balancers of a Service's backends here."""

    service: str
    """``namespace/name``."""
    addresses: frozenset[bytes]
    """Where it listens, of this family; the unspecified one: everywhere."""


class Prefixes:
    """A set of prefixes of one family, asked for the longest that contains an address."""

    def __init__(self, prefixes: Iterable[Prefix]) -> None:
        self._networks: dict[int, dict[int, Prefix]] = {}
        for prefix in prefixes:
            host_bits = 8 * len(prefix.address) - prefix.length
            network = int.from_bytes(prefix.address) >> host_bits
            self._networks.setdefault(prefix.length, {})[network] = prefix
        self._lengths = sorted(self._networks, reverse=True)

    def find(self, address: bytes) -> Prefix | None:
        """Return the longest prefix with this address in it."""
        number, bits = int.from_bytes(address), 8 * len(address)
        for length in self._lengths:
            found = self._networks[length].get(number >> (bits - length))
            if found is not None:
                return found
        return None


class Index:
    """The rows of one family, and what ``decide`` has to know that no row says."""

    def __init__(
        self, tables: Tables, health_checks: Mapping[int, HealthServer] | None = None, pods_here: Iterable[Prefix] = ()
    ) -> None:
        """Take the health-check servers by their ports, and where pods of this node are.

        The pods are asked for only where packets of pods are told by the device that they came in by. Backends on this
        node are known to be pods in any case.
        """
        self.tables = tables
        self.health_checks = health_checks or {}
        self.config = tables.config.get(CONFIG_KEY, _UNSET)
        self.service_cidrs = Prefixes(tables.service_cidrs)
        backends = (row.key.address for row in tables.backends.values() if BackendFlag.LOCAL in row.flags)
        self._pods_here = Prefixes((*pods_here, *(Prefix(address, 8 * len(address)) for address in backends)))
        self._unspecified = bytes(tables.family.address_bytes)
        self._names = {number: _parsed(name) for number, name in tables.services.items()}
        self._chosen: dict[Range, tuple[Backend, ...]] = {}
        ranges: dict[int, list[Prefix]] = {}
        for key in tables.source_ranges:
            ranges.setdefault(key.service_id, []).append(Prefix(key.address, key.prefix_length))
        self._source_ranges = {service_id: Prefixes(prefixes) for service_id, prefixes in ranges.items()}
        self._cluster_addresses = {
            key.address: row.service_id for key, row in tables.frontends.items() if row.kind is FrontendKind.CLUSTER_IP
        }

    def name_of(self, service_id: int) -> ServicePortName:
        """Return the name of a service port; nothing for an id without a row."""
        return self._names.get(service_id, NOBODY)

    def owner_of(self, cluster_ip: bytes) -> str:
        """Return the ``namespace/name`` that has a ClusterIP."""
        return self.name_of(self._cluster_addresses.get(cluster_ip, 0)).service

    def source_range(self, service_id: int, source: bytes) -> Prefix | None:
        """Return the source range of a service port that lets this client in."""
        ranges = self._source_ranges.get(service_id)
        return ranges.find(source) if ranges else None

    def address_row(self, address: bytes) -> Frontend | None:
        """Return the row of an address as such."""
        return self.tables.frontends.get(FrontendKey(address, 0, Protocol.ANY))

    def dialled(self, address: bytes, port: int, protocol: Protocol) -> tuple[FrontendKey, Frontend] | None:
        """Return the frontend with an address of its own."""
        key = FrontendKey(address, port, protocol)
        row = None if address == self._unspecified else self.tables.frontends.get(key)
        return (key, row) if row is not None else None

    def node_port(self, port: int, protocol: Protocol) -> tuple[FrontendKey, Frontend] | None:
        """Return the frontend of a NodePort, wherever it may hold."""
        key = FrontendKey(self._unspecified, port, protocol)
        row = self.tables.frontends.get(key)
        return (key, row) if row is not None else None

    def health_check(self, address: bytes, port: int, source: bytes) -> str:
        """Return the ``namespace/name`` whose health-check server takes this; empty: none does."""
        server = self.health_checks.get(port)
        if server is None:
            return ""
        is_everywhere = self._unspecified in server.addresses
        if self.is_loopback(address):
            listens = is_everywhere and self.is_of_node(source)
        else:
            listens = address in server.addresses or (is_everywhere and self.node_has(address))
        return server.service if listens else ""

    def node_has(self, address: bytes) -> bool:
        """Return whether an address is one of this node's; loopback is everybody's own."""
        return address in self.tables.node_addrs

    def is_of_node(self, address: bytes) -> bool:
        """Return whether an address is this node's, loopback included."""
        return self.node_has(address) or self.is_loopback(address)

    def holds_node_ports(self, address: bytes) -> bool:
        """Return whether NodePorts hold on this address for everybody."""
        return NodeAddrFlag.NODE_PORTS in self.tables.node_addrs.get(address, NodeAddrFlag(0))

    def is_loopback(self, address: bytes) -> bool:
        """Return whether an address is one that never leaves a machine; dialling the unspecified one means that."""
        return address == self._unspecified or _LOOPBACK[self.tables.family].contains(address)

    def is_local_pod(self, address: bytes) -> bool:
        """Return whether a source whose device is not known is taken for a pod of this node."""
        return not self.is_of_node(address) and self._pods_here.find(address) is not None

    def backends_in(self, where: Range) -> tuple[Backend, ...]:
        """Return the backends that a range names, each once."""
        if where not in self._chosen:
            slots = self.tables.slots.get(where)
            numbers = [] if slots is None else np.unique(slots).tolist()
            rows = (self.tables.backends.get(number) for number in numbers)
            self._chosen[where] = tuple(row for row in rows if row is not None)
        return self._chosen[where]


def _parsed(name: str) -> ServicePortName:
    """Take ``namespace/name:port/PROTOCOL`` apart; an unnamed port has no colon."""
    service, _, port_name = name.rpartition("/")[0].partition(":")
    return ServicePortName(service, port_name)
