"""What the sweeps of real flow maps share: the maps, a clock of the test's, flows written as programs leave them."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest

from ebpflb.core.abi import BackendFlag, BackendState, Family, FlowFlag, FlowSeen, MemberSet, Protocol
from ebpflb.core.tables import Backend, BackendKey, MemberKey, TableName
from ebpflb.datapath.maps import BpfMap
from ebpflb.datapath.pins import Pins
from ebpflb.datapath.store import PinnedMapStore, open_map
from ebpflb.datapath.sweep import FlowMaps, FlowSweeper
from tests.prog.fixtures_maps import MapFactory

FLOWS = 8_000
SERVICE, TWIN = 1, 2
"""Service ports with backend 1, and with backend 2 only."""


class HandClock:
    """A clock that stands still until it is set."""

    hz = 250

    def __init__(self) -> None:
        self.jiffies = 0xFFFFFF00

    def now_jiffies(self) -> int:
        return self.jiffies

    def pass_seconds(self, seconds: float) -> None:
        self.jiffies = (self.jiffies + int(seconds * self.hz)) & 0xFFFFFFFF


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture(params=Family)
def family(request: pytest.FixtureRequest) -> Family:
    return Family(request.param)


@pytest.fixture
def pins(map_factory: MapFactory, family: Family) -> Pins:
    return map_factory.new_maps(family, {"flows": 2 * FLOWS, "pending": 4 * FLOWS})


@pytest.fixture
def flows(pins: Pins, family: Family) -> Iterator[BpfMap]:
    with open_map(pins, family, "flows") as opened:
        yield opened


@pytest.fixture
def pending(pins: Pins, family: Family) -> Iterator[BpfMap]:
    with open_map(pins, family, "pending") as opened:
        yield opened


@pytest.fixture
def backends(pins: Pins, family: Family) -> Iterator[BpfMap]:
    key = BackendKey(bytes(family.address_bytes), 53, Protocol.UDP)
    with PinnedMapStore(pins, family) as store:
        other = key._replace(port=54)
        rows = {
            number: Backend(each, BackendState.ACTIVE, BackendFlag(0), 1) for number, each in ((1, key), (2, other))
        }
        assert store.put(TableName.BACKENDS, rows) == []
        pairs = (MemberKey(SERVICE, 1), MemberKey(TWIN, 2))
        assert store.put(TableName.MEMBERS, dict.fromkeys(pairs, MemberSet.SERVING)) == []
    with open_map(pins, family, "backends") as opened:
        yield opened


@pytest.fixture
def members(pins: Pins, family: Family, backends: BpfMap) -> Iterator[BpfMap]:
    del backends  # writes the members, too
    with open_map(pins, family, "members") as opened:
        yield opened


@pytest.fixture
def frontends(pins: Pins, family: Family) -> Iterator[BpfMap]:
    with open_map(pins, family, "frontends") as opened:
        yield opened


@pytest.fixture
def sweep_maps(pins: Pins, family: Family, flows: BpfMap, pending: BpfMap, backends: BpfMap) -> Iterator[FlowMaps]:
    with ExitStack() as stack:
        others = (stack.enter_context(open_map(pins, family, name)) for name in ("members", "frontends", "changes"))
        yield FlowMaps(flows, pending, backends, *others)


@pytest.fixture
def sweeper(sweep_maps: FlowMaps, clock: HandClock) -> FlowSweeper:
    return FlowSweeper(sweep_maps, clock)


def write(
    flows: BpfMap, count: int, stamp: int, *, start: int = 0, protocol: int = Protocol.UDP, **fields: Any
) -> None:
    """Write ``count`` flows, confirmed and with both entries."""
    numbers = 1000 + np.arange(start, start + count)
    for is_reply in (False, True):
        keys, values = np.zeros(count, flows.layout.key), np.zeros(count, flows.layout.value)
        source, destination = ("d", "s") if is_reply else ("s", "d")
        keys[f"{source}addr"]["word"][:, -1] = numbers
        keys[f"{source}port"] = keys[f"{destination}port"] = 53
        keys["protocol"] = protocol
        values[f"to_{source}addr"]["word"][:, -1] = numbers
        values[f"to_{source}port"] = values[f"to_{destination}port"] = 53
        # frontend 1, backend 2
        keys[f"{destination}addr"]["word"][:, 0] = 2 if is_reply else 1
        values[f"to_{destination}addr"]["word"][:, 0] = 1 if is_reply else 2
        values["last_seen"], values["seen"] = stamp, fields.get("seen", FlowSeen.DATA)
        flags = fields.get("flags", FlowFlag(0))
        values["flags"] = FlowFlag.REPLY if is_reply else flags
        values["partner_flags"] = flags if is_reply else FlowFlag.REPLY
        values["backend_id"], values["generation"] = fields.get("backend_id", 1), fields.get("generation", 1)
        values["service_id"] = fields.get("service_id", SERVICE)
        assert flows.update(keys, values) == []
