"""Which sockets are stale, by real maps that a real store has written."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest

from ebpflb.core.abi import (
    Algorithm,
    BackendFlag,
    BackendState,
    Family,
    FrontendFlag,
    FrontendKind,
    MemberSet,
    Protocol,
)
from ebpflb.core.tables import EMPTY_RANGE, Backend, BackendKey, Frontend, FrontendKey, MemberKey, Range, TableName
from ebpflb.datapath.pins import Pins
from ebpflb.datapath.stale import SocketMaps, StaleSocket, TcpSockets, find_stale
from ebpflb.datapath.store import PinnedMapStore, open_map
from tests.prog.fixtures_maps import MapFactory, map_factory, session_maps

pytestmark = pytest.mark.root
__all__ = ["map_factory", "session_maps"]

WEB, DNS, DELETED = 1, 2, 3
"""Service ids: of TCP port 80 and of UDP port 53; of a Service that is gone."""
ACTIVE, DRAINING, LEFT = 1, 2, 3
"""Backend ids: in both Services; in both, and draining; only in one that is not ours."""
NONE = 4
GENERATION = 7
PEER = b"\x0a\0\0\1"


class Origin(NamedTuple):
    """A row of ``sock_origins``."""

    cookie: int
    protocol: Protocol
    service_id: int
    backend_id: int
    generation: int = GENERATION


ORIGINS = [
    Origin(11, Protocol.TCP, WEB, ACTIVE),
    Origin(12, Protocol.TCP, WEB, DRAINING),
    Origin(13, Protocol.TCP, WEB, LEFT),
    Origin(14, Protocol.TCP, WEB, NONE),
    Origin(15, Protocol.TCP, WEB, ACTIVE, GENERATION - 1),
    Origin(16, Protocol.TCP, DELETED, ACTIVE),
    Origin(21, Protocol.UDP, DNS, ACTIVE),
    Origin(22, Protocol.UDP, DNS, DRAINING),
    Origin(23, Protocol.UDP, DNS, LEFT),
    Origin(24, Protocol.UDP, DNS, NONE),
    Origin(25, Protocol.UDP, DNS, ACTIVE, GENERATION - 1),
]
STALE_UDP = {23, 24, 25}


@pytest.fixture(params=Family)
def family(request: pytest.FixtureRequest) -> Family:
    return Family(request.param)


@pytest.fixture
def pins(map_factory: MapFactory, family: Family) -> Pins:
    return map_factory.new_maps(family)


@pytest.fixture
def maps(pins: Pins, family: Family) -> Iterator[SocketMaps]:
    opened = [open_map(pins, family, name) for name in SocketMaps._fields]
    yield SocketMaps(*opened)
    for each in opened:
        each.close()


@pytest.fixture(autouse=True)
def tables(pins: Pins, family: Family) -> None:
    """Write two Services with one backend that takes new flows, one that drains, and one that neither has."""
    states = {ACTIVE: BackendState.ACTIVE, DRAINING: BackendState.DRAINING, LEFT: BackendState.ACTIVE}
    keys = {number: BackendKey(bytes(family.address_bytes), number, Protocol.TCP) for number in states}
    offset = 24  # in the middle of a line
    with PinnedMapStore(pins, family) as store:
        backends = {number: Backend(keys[number], states[number], BackendFlag(0), GENERATION) for number in states}
        assert store.put(TableName.BACKENDS, backends) == []
        members = (MemberKey(DNS, ACTIVE), MemberKey(DNS, DRAINING))
        assert store.put(TableName.MEMBERS, dict.fromkeys(members, MemberSet.SERVING)) == []
        store.write_slots({Range(offset, 20): np.array([ACTIVE] * 20, np.uint32)})
        store.write_slots({Range(64, 16): np.array([LEFT] * 16, np.uint32)})
        services = {WEB: Range(offset, 20), DNS: Range(offset, 20), 9: Range(64, 16)}
        frontends = {
            FrontendKey(bytes(family.address_bytes), service_id, Protocol.TCP): Frontend(
                service_id, FrontendKind.CLUSTER_IP, Algorithm.RANDOM, FrontendFlag(0), 0, where, EMPTY_RANGE
            )
            for service_id, where in services.items()
        }
        assert store.put(TableName.FRONTENDS, frontends) == []


def write_origins(maps: SocketMaps, origins: list[Origin]) -> None:
    table = maps.sock_origins
    keys, values = np.zeros(len(origins), table.layout.key), np.zeros(len(origins), table.layout.value)
    keys["address"]["word"][:, -1] = int.from_bytes(PEER, "big")
    keys["port"] = 53
    for column in ("cookie", "protocol"):
        keys[column] = [getattr(each, column) for each in origins]
    for column in ("service_id", "backend_id", "generation"):
        values[column] = [getattr(each, column) for each in origins]
    assert table.update(keys, values) == []


@pytest.mark.parametrize(
    ("tcp", "stale_tcp"),
    [
        (TcpSockets.NEVER, set[int]()),
        (TcpSockets.DELETED, {14, 15}),
        (TcpSockets.DRAINING, {12, 13, 14, 15, 16}),
    ],
)
def test_which_sockets_are_stale(maps: SocketMaps, family: Family, tcp: TcpSockets, stale_tcp: set[int]) -> None:
    write_origins(maps, ORIGINS)
    stale = find_stale(maps, tcp)
    assert {each.cookie for each in stale.sockets} == STALE_UDP | stale_tcp
    peer = bytes(family.address_bytes - 4) + PEER
    protocols = {each.cookie: each.protocol for each in ORIGINS}
    assert stale.sockets == [StaleSocket(each.cookie, peer, 53, protocols[each.cookie]) for each in stale.sockets]
    assert maps.sock_origins.delete(stale.keys) == []
    left = set(maps.sock_origins.read()[0]["cookie"].tolist())
    assert left == {each.cookie for each in ORIGINS} - STALE_UDP - stale_tcp


@pytest.mark.parametrize("tcp", TcpSockets)
def test_without_sockets_there_are_no_stale_ones(maps: SocketMaps, tcp: TcpSockets) -> None:
    stale: Any = find_stale(maps, tcp)
    assert (stale.sockets, len(stale.keys)) == ([], 0)
