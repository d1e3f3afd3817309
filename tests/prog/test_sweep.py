"""The sweep of real flow maps, with a clock of the test's: what times out."""

from typing import Any

import pytest

from ebpflb.core.abi import FlowFlag, FlowSeen, Protocol
from ebpflb.datapath.expiry import FlowState
from ebpflb.datapath.maps import BpfMap
from ebpflb.datapath.sweep import FlowSweeper, SweepResult
from tests.prog.fixtures_maps import map_factory, session_maps
from tests.prog.fixtures_sweep import (
    FLOWS,
    TWIN,
    HandClock,
    backends,
    clock,
    family,
    flows,
    frontends,
    members,
    pending,
    pins,
    sweep_maps,
    sweeper,
    write,
)

pytestmark = pytest.mark.root
__all__ = [
    "backends",
    "clock",
    "family",
    "flows",
    "frontends",
    "map_factory",
    "members",
    "pending",
    "pins",
    "session_maps",
    "sweep_maps",
    "sweeper",
]


def test_flows_go_when_their_time_has_come(flows: BpfMap, sweeper: FlowSweeper, clock: HandClock) -> None:
    write(flows, FLOWS, clock.jiffies)
    nothing = dict.fromkeys(FlowState, 0)
    result = SweepResult({"flows": 2 * FLOWS, "pending": 0}, {}, nothing | {FlowState.REPLIED: FLOWS})
    assert sweeper.sweep() == result
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
