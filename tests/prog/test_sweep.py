"""The sweep of real flow maps, with a clock of the test's."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from ebpflb.core.abi import BackendFlag, BackendState, Family, FlowFlag, FlowSeen, MemberSet, Protocol
from ebpflb.core.tables import Backend, BackendKey, MemberKey, TableName
from ebpflb.datapath.expiry import FlowState
from ebpflb.datapath.maps import BpfMap
from ebpflb.datapath.pins import Pins
from ebpflb.datapath.store import PinnedMapStore, open_map
from ebpflb.datapath.sweep import FlowMaps, FlowSweeper
from tests.prog.fixtures_maps import MapFactory, map_factory, session_maps

pytestmark = pytest.mark.root
__all__ = ["map_factory", "session_maps"]

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
def sweeper(flows: BpfMap, pending: BpfMap, backends: BpfMap, members: BpfMap, clock: HandClock) -> FlowSweeper:
    return FlowSweeper(FlowMaps(flows, pending, backends, members), clock)


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


def test_flows_go_when_their_time_has_come(flows: BpfMap, sweeper: FlowSweeper, clock: HandClock) -> None:
    write(flows, FLOWS, clock.jiffies)
    nothing = dict.fromkeys(FlowState, 0)
    assert sweeper.sweep() == ({"flows": 2 * FLOWS, "pending": 0}, {}, nothing | {FlowState.REPLIED: FLOWS})
    clock.pass_seconds(60)
    write(flows, 10, clock.jiffies, start=5)
    clock.pass_seconds(60)
    result = sweeper.sweep()
    assert result.removed == {"replied": FLOWS - 10}
    assert result.flows[FlowState.REPLIED] == 10
    assert len(flows.read()[0]) == 20
    clock.pass_seconds(60)
    assert sweeper.sweep().removed == {"replied": 10}
    assert len(flows.read()[0]) == 0


def test_udp_flows_go_at_once_with_their_backend(flows: BpfMap, sweeper: FlowSweeper, clock: HandClock) -> None:
    write(flows, 3, clock.jiffies, generation=9)
    write(flows, 4, clock.jiffies, start=100)
    write(flows, 5, clock.jiffies, start=200, protocol=Protocol.TCP, generation=9)
    result = sweeper.sweep()
    assert result.removed == {"backend-gone": 3}
    assert result.flows[FlowState.REPLIED] == 4
    assert result.flows[FlowState.ESTABLISHED] == 5
    assert len(flows.read()[0]) == 18


def test_udp_flows_go_at_once_when_their_backend_has_left_their_service(
    flows: BpfMap, members: BpfMap, sweeper: FlowSweeper, clock: HandClock
) -> None:
    write(flows, 3, clock.jiffies, service_id=TWIN)
    write(flows, 4, clock.jiffies, start=100)
    write(flows, 5, clock.jiffies, start=200, service_id=TWIN, protocol=Protocol.TCP)
    result = sweeper.sweep()
    assert result.removed == {"backend-gone": 3}
    assert (result.flows[FlowState.REPLIED], result.flows[FlowState.ESTABLISHED]) == (4, 5)
    write(flows, 3, clock.jiffies, service_id=TWIN)
    assert members.delete(members.read()[0]) == []
    assert sweeper.sweep().removed == {}  # a service port without any backend keeps what it has


def test_a_flow_that_another_service_took_over_meanwhile_stays(
    flows: BpfMap, sweeper: FlowSweeper, clock: HandClock
) -> None:
    write(flows, 3, clock.jiffies, service_id=TWIN)
    look_again = flows.lookup_rows

    def taken_over_first(keys: Any) -> Any:
        write(flows, 1, clock.jiffies, start=1)
        return look_again(keys)

    flows.lookup_rows = taken_over_first  # type: ignore[method-assign]
    assert sweeper.sweep().removed == {"backend-gone": 2}
    assert set(flows.read()[1]["service_id"].tolist()) == {SERVICE}


def test_a_flow_that_came_alive_meanwhile_stays_whole(flows: BpfMap, sweeper: FlowSweeper, clock: HandClock) -> None:
    """A packet arrives between judging and deleting: here, as the sweep looks again."""
    write(flows, 3, clock.jiffies)
    clock.pass_seconds(1000)
    look_again = flows.lookup_rows

    def packet_first(keys: Any) -> Any:
        write(flows, 1, clock.jiffies, start=1)
        return look_again(keys)

    flows.lookup_rows = packet_first  # type: ignore[method-assign]
    assert sweeper.sweep().removed == {"replied": 2}
    keys, values = flows.read()
    assert len(keys) == 2
    assert set(values["last_seen"].tolist()) == {clock.jiffies}


def test_both_maps_are_swept_alike_and_counted_together(
    flows: BpfMap, pending: BpfMap, sweeper: FlowSweeper, clock: HandClock
) -> None:
    write(flows, 3, clock.jiffies)
    write(pending, FLOWS, clock.jiffies, protocol=Protocol.TCP, seen=FlowSeen.SYN)
    write(pending, 2, clock.jiffies, start=FLOWS, service_id=TWIN)
    result = sweeper.sweep()
    assert result.entries == {"flows": 6, "pending": 2 * FLOWS + 4}
    assert result.removed == {"backend-gone": 2}
    assert (result.flows[FlowState.UNCONFIRMED], result.flows[FlowState.REPLIED]) == (FLOWS, 3)
    clock.pass_seconds(60)
    assert sweeper.sweep().removed == {"unconfirmed": FLOWS}
    assert (len(flows.read()[0]), len(pending.read()[0])) == (6, 0)


def test_what_a_confirmed_flow_left_behind_goes_soon_and_is_no_flow(
    flows: BpfMap, pending: BpfMap, sweeper: FlowSweeper, clock: HandClock
) -> None:
    write(pending, 2, clock.jiffies, protocol=Protocol.TCP, seen=FlowSeen.DATA | FlowSeen.MOVED)
    write(flows, 2, clock.jiffies, protocol=Protocol.TCP)
    result = sweeper.sweep()
    assert (result.flows[FlowState.ESTABLISHED], result.flows[FlowState.MOVED]) == (2, 2)
    clock.pass_seconds(10)
    assert sweeper.sweep().removed == {"moved": 2}
    assert (len(flows.read()[0]), len(pending.read()[0])) == (4, 0)


def test_a_released_port_rests_before_it_is_given_again(flows: BpfMap, sweeper: FlowSweeper, clock: HandClock) -> None:
    """pitfalls 7.5: a port that is reused while the backend is in TIME_WAIT draws a challenge ACK, and hangs."""
    ended: dict[str, Any] = {"protocol": Protocol.TCP, "seen": FlowSeen.DATA | FlowSeen.RST | FlowSeen.FIN}
    write(flows, 1, clock.jiffies, **ended)
    write(flows, 1, clock.jiffies, start=1, flags=FlowFlag.SNAT, **ended)
    write(flows, 1, clock.jiffies, start=2, flags=FlowFlag.SNAT, **ended)
    keys, values = flows.read()
    is_request = (values["flags"] & FlowFlag.REPLY) == 0
    left_alone = is_request & (keys["saddr"]["word"][:, -1] == 1002)
    assert flows.delete(keys[left_alone]) == []  # as when the client has reused its port
    clock.pass_seconds(59.9)
    assert sweeper.sweep().removed == {"reset": 1}
    clock.pass_seconds(0.1)
    assert sweeper.sweep().removed == {"reset": 2}
    assert len(flows.read()[0]) == 0


def test_a_dsr_request_is_swept_without_a_partner(
    flows: BpfMap, pending: BpfMap, sweeper: FlowSweeper, clock: HandClock
) -> None:
    for table, seen in ((flows, FlowSeen.DATA), (pending, FlowSeen.SYN)):
        write(table, 2, clock.jiffies, protocol=Protocol.TCP, seen=seen, flags=FlowFlag.DSR)
        keys, values = table.read()
        table.delete(keys[(values["flags"] & FlowFlag.REPLY) != 0])
    clock.pass_seconds(60)
    result = sweeper.sweep()
    assert result.removed == {"unconfirmed": 2}
    assert result.flows[FlowState.ESTABLISHED] == 2
