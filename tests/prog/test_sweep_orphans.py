"""The sweep of real flow maps: UDP flows whose backend serves them no more."""

from typing import Any

import numpy as np
import pytest

from ebpflb.core.abi import FlowFlag, Protocol
from ebpflb.datapath.expiry import FlowState
from ebpflb.datapath.maps import BpfMap
from ebpflb.datapath.sweep import FlowSweeper
from tests.prog.fixtures_maps import map_factory, session_maps
from tests.prog.fixtures_sweep import (
    SERVICE,
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


def are_replies(flows: BpfMap) -> list[bool]:
    """Of each UDP entry that is there, whether it is a reply's."""
    keys, values = flows.read()
    return [bool(flags & FlowFlag.REPLY) for flags in values["flags"][keys["protocol"] == Protocol.UDP].tolist()]


def test_udp_flows_go_with_their_backend(flows: BpfMap, sweeper: FlowSweeper, clock: HandClock) -> None:
    """The request's entry at once, that of the reply after a second: an answer may be under way."""
    write(flows, 3, clock.jiffies, generation=9)
    write(flows, 4, clock.jiffies, start=100)
    write(flows, 5, clock.jiffies, start=200, protocol=Protocol.TCP, generation=9)
    result = sweeper.sweep()
    assert result.removed == {"backend-gone": 3}
    assert result.orphans == 6
    assert result.flows[FlowState.REPLIED] == 4
    assert result.flows[FlowState.ESTABLISHED] == 5
    assert sorted(are_replies(flows)) == [False] * 4 + [True] * 7
    clock.pass_seconds(1)
    result = sweeper.sweep()
    assert (result.removed, result.orphans) == ({}, 3)
    assert result.flows[FlowState.REPLIED] == 4
    assert sorted(are_replies(flows)) == [False] * 4 + [True] * 4
    assert sweeper.sweep().orphans == 0


def test_no_stream_keeps_the_flow_of_a_backend_that_is_gone(
    flows: BpfMap, sweeper: FlowSweeper, clock: HandClock
) -> None:
    write(flows, 3, clock.jiffies, generation=9)
    for _ in range(2):
        sweeper.sweep()
        assert are_replies(flows) == [True] * 3
        clock.pass_seconds(0.5)
        keys, values = flows.read()
        values["last_seen"] = clock.jiffies
        assert flows.update(keys, values) == []
    sweeper.sweep()
    assert are_replies(flows) == []


def test_a_flow_that_an_answer_makes_whole_again_ends_all_the_same(
    pending: BpfMap, flows: BpfMap, sweeper: FlowSweeper, clock: HandClock
) -> None:
    """An answer under way makes the request's entry in ``pending`` again; one more datagram confirms the flow."""
    write(pending, 2, clock.jiffies, generation=9)
    assert sweeper.sweep().removed == {"backend-gone": 2}
    write(pending, 2, clock.jiffies, generation=9)
    write(flows, 1, clock.jiffies, generation=9)
    looks = 0
    while sweeper.sweep().orphans:
        looks += 1
        clock.pass_seconds(1)
    assert looks == 2
    assert (len(flows.read()[0]), len(pending.read()[0])) == (0, 0)


def test_a_flow_that_is_taken_back_lingers_anew_when_it_is_lost_again(
    flows: BpfMap, backends: BpfMap, sweeper: FlowSweeper, clock: HandClock
) -> None:
    write(flows, 1, clock.jiffies, generation=9)
    ids, rows = backends.read()
    for generation in (1, 9, 1):
        rows["generation"][1] = generation
        assert backends.update(ids[1:2], rows[1:2]) == []
        sweeper.sweep()
        assert are_replies(flows) == [True]
        clock.pass_seconds(0.8)
    clock.pass_seconds(0.2)
    sweeper.sweep()
    assert are_replies(flows) == []


def test_udp_flows_go_when_their_backend_has_left_their_service(
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


def test_udp_flows_of_a_service_that_was_made_anew_go_unless_it_has_their_backend(
    flows: BpfMap, frontends: BpfMap, sweeper: FlowSweeper, clock: HandClock
) -> None:
    former = 77
    write(flows, 3, clock.jiffies, service_id=former)
    assert sweeper.sweep().removed == {}  # deleted: its flows keep what they have
    key, value = np.zeros(1, frontends.layout.key), np.zeros(1, frontends.layout.value)
    key["address"]["word"][:, 0], key["port"], key["protocol"] = 1, 53, Protocol.UDP
    for service_id, removed in ((SERVICE, {}), (TWIN, {"backend-gone": 3})):
        value["service_id"] = service_id
        assert frontends.update(key, value) == []
        assert sweeper.sweep().removed == removed


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
    _keys, values = flows.read()
    is_request = (values["flags"] & FlowFlag.REPLY) == 0
    assert set(values["service_id"][is_request].tolist()) == {SERVICE}
