"""The Services of a node whose programs are measured: which rows there are, and where their backends are. Pure.

Decides on Services as plain as there are: a load balancer's address, ten remote backends chosen at random, whose
clients get an address of the node. Rows come as the data plane's own tables, routes as lines of ``ip -batch``.

    number of Services, family --service_tables--> Tables        NETNS_LINES --> the namespace they live in
"""

from collections.abc import Iterator
from enum import IntEnum
from ipaddress import ip_address
from typing import Final

import numpy as np

from ebpflb.bench.cycles_frames import packed
from ebpflb.core.abi import (
    Algorithm,
    BackendFlag,
    BackendState,
    ConfigFlag,
    DeviceFlag,
    Family,
    FrontendFlag,
    FrontendKind,
    NodeAddrFlag,
    Protocol,
)
from ebpflb.core.tables import (
    CONFIG_KEY,
    Backend,
    BackendKey,
    ConfigRow,
    DeviceRow,
    Frontend,
    FrontendKey,
    Prefix,
    Range,
    Tables,
)

BACKENDS: Final = 10
"""Of each Service."""
PORT: Final = 80
BACKEND_PORT: Final = 8080
_GENERATION: Final = 1
_MAC: Final = "02:00:00:00:00:fe"


class Device(IntEnum):
    """Interface indexes, chosen by us."""

    UPLINK = 101
    OTHER = 102


class Where(IntEnum):
    """Where the backends of a Service are. The first Services have one kind each; all others are ``REMOTE``."""

    REMOTE = 0
    BEYOND = 1
    """Behind another device than the uplink."""


_NODE: Final = {Family.IPV4: "192.0.2.1", Family.IPV6: "2001:db8:2::1"}
NETWORKS: Final = {
    Family.IPV4: {Where.REMOTE: "10.128.0.0", Where.BEYOND: "10.64.0.0"},
    Family.IPV6: {Where.REMOTE: "fd00:128::", Where.BEYOND: "fd00:64::"},
}
_FRONTENDS: Final = {Family.IPV4: "10.96.0.0", Family.IPV6: "fd00:96::"}
CLIENTS: Final = {Family.IPV4: "198.18.0.1", Family.IPV6: "2001:2::1"}
NEWCOMERS: Final = {Family.IPV4: "198.19.0.1", Family.IPV6: "2001:2:0:1::1"}
STRANGER: Final = {Family.IPV4: "203.0.113.9", Family.IPV6: "2001:db8:113::9"}

NETNS_LINES: Final = (
    *(
        line
        for device in Device
        for line in (
            f"link add {device.name.lower()} index {device} type veth peer name {device.name.lower()}-peer",
            f"link set {device.name.lower()} up addrgenmode none",
            f"link set {device.name.lower()}-peer up addrgenmode none",
            f"address add 192.0.{device}.1/24 dev {device.name.lower()}",
            f"address add fd00:{device}::1/64 dev {device.name.lower()} nodad",
            f"neighbour add 192.0.{device}.254 lladdr {_MAC} dev {device.name.lower()} nud permanent",
            f"neighbour add fd00:{device}::254 lladdr {_MAC} dev {device.name.lower()} nud permanent",
        )
    ),
    *(
        line
        for device, four, six in (
            (Device.UPLINK, ("10.128.0.0/9", "198.18.0.0/15"), ("fd00:128::/32", "2001:2::/48")),
            (Device.OTHER, ("10.64.0.0/11",), ("fd00:64::/32",)),
        )
        for line in (
            *(f"route add {prefix} via 192.0.{device}.254" for prefix in four),
            *(f"route add {prefix} via fd00:{device}::254" for prefix in six),
        )
    ),
)
"""Devices and routes: lines of ``ip -batch``."""


def service_tables(family: Family, services: int) -> Tables:
    """Return all rows of so many Services of ``BACKENDS`` each."""
    numbers = range(services)
    bits = 8 * family.address_bytes
    nobody = Prefix(bytes(family.address_bytes), bits)
    return Tables(
        family=family,
        frontends=dict(_frontend(family, number) for number in numbers),
        backends=dict(row for number in numbers for row in _backends(family, number)),
        services={number + 1: f"bench/service-{number}:TCP" for number in numbers},
        node_addrs={packed(_NODE[family]): NodeAddrFlag.NODE_PORTS},
        devices={each: DeviceRow(packed(_NODE[family]), 1500, DeviceFlag.XDP) for each in Device},
        config={CONFIG_KEY: ConfigRow(ConfigFlag.WRITTEN, nobody, nobody)},
        slots={_range(number): np.arange(*ids_of(number), dtype=np.uint32) for number in numbers},
    )


def _frontend(family: Family, number: int) -> tuple[FrontendKey, Frontend]:
    span = _range(number)
    row = Frontend(
        number + 1, FrontendKind.LOAD_BALANCER, Algorithm.RANDOM, FrontendFlag.HAS_BACKENDS, 0, span, Range(0, 0)
    )
    return FrontendKey(frontend_address(family, number), PORT, Protocol.TCP), row


def _backends(family: Family, number: int) -> Iterator[tuple[int, Backend]]:
    where = where_of(number)
    first = int(ip_address(NETWORKS[family][where]))
    for backend in range(*ids_of(number)):
        key = BackendKey((first + backend).to_bytes(family.address_bytes), BACKEND_PORT, Protocol.TCP)
        yield backend, Backend(key, BackendState.ACTIVE, BackendFlag(0), _GENERATION)


def where_of(number: int) -> Where:
    """Return where the backends of a Service are."""
    return Where(number) if number < len(Where) else Where.REMOTE


def _range(number: int) -> Range:
    return Range(BACKENDS * number, BACKENDS)


def ids_of(number: int) -> tuple[int, int]:
    """Return the first backend id of a Service and that of the next; ids are added to a network's address."""
    return BACKENDS * number + 1, BACKENDS * (number + 1) + 1


def frontend_address(family: Family, number: int) -> bytes:
    """Return the address that a Service's clients dial."""
    return (int(ip_address(_FRONTENDS[family])) + number + 1).to_bytes(family.address_bytes)
