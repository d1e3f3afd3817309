"""Which flows are over: rows of a table, for both families, and laws against a slow reference."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebpflb.core.abi import BackendState, Family, FlowFlag, FlowSeen, Protocol
from ebpflb.datapath.expiry import FlowState, Judgement, Timeouts, judge, partners
from ebpflb.datapath.layout import layout_of
from ebpflb.datapath.serving import Backends, Frontends, Members, Serving

HZ = 250
NOW = 1_000_000
SYN, DATA, FIN, RST, MOVED = FlowSeen.SYN, FlowSeen.DATA, FlowSeen.FIN, FlowSeen.RST, FlowSeen.MOVED
BACKENDS = Backends(
    np.array([BackendState.NONE, BackendState.ACTIVE, BackendState.DRAINING, BackendState.NONE], np.uint8),
    np.array([0, 7, 8, 9], np.uint32),
)
SERVICE, TWIN, EMPTY = 1, 2, 3
"""Service ports: with the backends 1 and 2, with 2 only, and without any."""


def members(pairs: Iterable[tuple[int, int]]) -> Members:
    """The map ``members`` with these pairs of service port and backend, in this order."""
    columns = np.array(list(pairs), np.uint32).reshape(-1, 2)
    return Members.of(columns[:, 0], columns[:, 1])


class End(NamedTuple):
    address: int
    port: int


class Entry(NamedTuple):
    """A row of ``flows`` in plain numbers."""

    source: End
    destination: End
    to_source: End
    to_destination: End
    seen: int
    last_seen: int = NOW
    flags: int = 0
    protocol: int = Protocol.TCP
    backend_id: int = 1
    generation: int = 7
    service_id: int = SERVICE
    partner_flags: int = 0


CLIENT, FRONTEND, BACKEND = End(1, 40_000), End(2, 80), End(3, 8080)


def pair(request_seen: int, reply_seen: int, *, ages_s: tuple[float, float] = (0, 0), **fields: Any) -> list[Entry]:
    """The two entries of one flow."""
    stamps = [(NOW - int(age * HZ)) & 0xFFFFFFFF for age in ages_s]
    request = Entry(CLIENT, FRONTEND, CLIENT, BACKEND, request_seen, stamps[0], 0, **fields)
    reply = Entry(BACKEND, CLIENT, FRONTEND, CLIENT, reply_seen, stamps[1], FlowFlag.REPLY, **fields)
    return [request, reply]


def pack(entries: list[Entry], family: Family = Family.IPV4) -> tuple[Any, Any]:
    layout = layout_of("flows", family)
    keys, values = np.zeros(len(entries), layout.key), np.zeros(len(entries), layout.value)
    for row, entry in enumerate(entries):
        ends = {"s": entry.source, "d": entry.destination}
        for name, end in ends.items():
            keys[row][f"{name}addr"]["word"][-1], keys[row][f"{name}port"] = end
        for name, end in {"s": entry.to_source, "d": entry.to_destination}.items():
            values[row][f"to_{name}addr"]["word"][-1], values[row][f"to_{name}port"] = end
        keys[row]["protocol"] = entry.protocol
        for field in ("seen", "last_seen", "flags", "backend_id", "generation", "service_id", "partner_flags"):
            values[row][field] = getattr(entry, field)
    return keys, values


def frontends(owners: dict[End, int], family: Family) -> Frontends:
    """Who has which address and port; a NodePort's address is 0."""
    layout = layout_of("frontends", family)
    keys, values = np.zeros(len(owners), layout.key), np.zeros(len(owners), layout.value)
    for row, (end, service_id) in enumerate(owners.items()):
        keys[row]["address"]["word"][-1], keys[row]["port"] = end
        keys[row]["protocol"] = Protocol.UDP
        values[row]["service_id"] = service_id
    return Frontends.of(keys, values)


def judged(
    entries: list[Entry], now: int = NOW, family: Family = Family.IPV4, owners: dict[End, int] | None = None
) -> Judgement:
    serving = Serving(BACKENDS, members([(TWIN, 2), (SERVICE, 2), (SERVICE, 1)]), frontends(owners or {}, family))
    return judge(*pack(entries, family), serving, now_jiffies=now, hz=HZ, timeouts=Timeouts())


Row = tuple[Protocol, int, int, FlowState, int]
"""Protocol, what the request has seen, what the reply has seen, state, timeout in seconds."""

STATES: list[Row] = [
    (Protocol.TCP, SYN, 0, FlowState.UNCONFIRMED, 60),
    (Protocol.TCP, SYN, DATA, FlowState.UNCONFIRMED, 60),  # a SYN-ACK alone: the source may be forged
    (Protocol.TCP, SYN | DATA, 0, FlowState.UNCONFIRMED, 60),
    (Protocol.TCP, SYN | DATA, DATA, FlowState.ESTABLISHED, 86_400),
    (Protocol.TCP, DATA, DATA, FlowState.ESTABLISHED, 86_400),
    (Protocol.TCP, SYN | DATA | FIN, DATA, FlowState.HALF_CLOSED, 3_600),
    (Protocol.TCP, SYN | DATA, DATA | FIN, FlowState.HALF_CLOSED, 3_600),
    (Protocol.TCP, SYN | DATA | FIN, DATA | FIN, FlowState.CLOSED, 60),
    (Protocol.TCP, SYN | DATA | RST, DATA, FlowState.RESET, 10),
    (Protocol.TCP, SYN, DATA | RST, FlowState.RESET, 10),
    (Protocol.TCP, SYN | DATA | FIN, DATA | FIN | RST, FlowState.RESET, 10),
    (Protocol.UDP, DATA, 0, FlowState.UNREPLIED, 30),
    (Protocol.UDP, DATA, DATA, FlowState.REPLIED, 120),
    (Protocol.SCTP, DATA, 0, FlowState.UNREPLIED, 30),
    (Protocol.SCTP, DATA, DATA, FlowState.REPLIED, 120),
    (Protocol.TCP, SYN | DATA | MOVED, DATA | MOVED, FlowState.MOVED, 10),
    (Protocol.TCP, SYN | DATA | MOVED, DATA, FlowState.MOVED, 10),  # the marks are set one after the other
    (Protocol.UDP, DATA | MOVED, DATA | MOVED, FlowState.MOVED, 10),
]


@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize("row", STATES)
def test_a_flow_ends_when_the_timeout_of_its_state_has_passed(row: Row, family: Family) -> None:
    protocol, request_seen, reply_seen, state, timeout = row
    tick = 1 / HZ
    fresh = judged(pair(request_seen, reply_seen, ages_s=(timeout - tick,) * 2, protocol=protocol), family=family)
    assert fresh.state.tolist() == [state, state]
    assert fresh.partner.tolist() == [1, 0]
    assert not fresh.is_idle.any()
    assert judged(pair(request_seen, reply_seen, ages_s=(timeout, timeout), protocol=protocol)).is_idle.all()


def test_words_are_readable() -> None:
    assert FlowState.HALF_CLOSED.words == "half-closed"


@pytest.mark.parametrize("ages", [(0, 500), (500, 0)])
def test_a_flow_lives_by_the_later_of_its_two_entries(ages: tuple[int, int]) -> None:
    assert not judged(pair(DATA, DATA, ages_s=ages, protocol=Protocol.UDP)).is_idle.any()


@pytest.mark.parametrize("entry", [0, 1])
def test_an_orphan_expires_by_its_own_time(entry: int) -> None:
    def orphan(age: float) -> list[Entry]:
        return [pair(DATA | SYN, DATA, ages_s=(age, age))[entry]]

    assert judged(orphan(59)).partner.tolist() == [-1]
    assert judged(orphan(59)).is_idle.tolist() == [False]
    assert judged(orphan(60)).is_idle.tolist() == [True]
    assert judged(orphan(60)).state.tolist() == [FlowState.UNCONFIRMED]


@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize(("snat", "timeout"), [(FlowFlag.SNAT, 60), (FlowFlag(0), 10)])
def test_a_reset_flow_keeps_a_port_of_ours_as_long_as_a_closed_one(
    snat: FlowFlag, timeout: int, family: Family
) -> None:
    def reset(age: float) -> Judgement:
        request, reply = pair(SYN | DATA | RST, DATA, ages_s=(age, age))
        halves = [request._replace(flags=snat), reply._replace(partner_flags=snat)]
        return judged(halves, family=family)

    assert not reset(timeout - 1 / HZ).is_idle.any()
    assert reset(timeout).is_idle.all()
    assert reset(timeout).state.tolist() == [FlowState.RESET] * 2


@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize("seen", [RST | FIN, SYN | DATA | RST, DATA | FIN, DATA, 0])
def test_a_reply_left_alone_keeps_its_port_for_a_time_wait(seen: int, family: Family) -> None:
    """The client reused its port: the old reply entry stays, the new flow has another port of ours."""
    new_port = End(7, 40_001)
    request, reply = pair(SYN, 0)
    request = request._replace(to_source=new_port, flags=FlowFlag.SNAT)
    reply = reply._replace(destination=new_port, partner_flags=FlowFlag.SNAT)
    for age, over in ((59.9, False), (60, True)):
        left = pair(0, seen, ages_s=(0, age))[1]._replace(destination=End(7, 40_000), partner_flags=FlowFlag.SNAT)
        judgement = judged([left, request, reply], family=family)
        assert judgement.partner.tolist() == [-1, 2, 1]
        assert judgement.is_idle.tolist() == [over, False, False]
        assert judgement.leads[0]


DSR_STATES: list[tuple[Protocol, int, FlowState, int]] = [
    (Protocol.TCP, SYN, FlowState.UNCONFIRMED, 60),
    (Protocol.TCP, SYN | DATA, FlowState.ESTABLISHED, 86_400),
    (Protocol.TCP, DATA | FIN, FlowState.CLOSED, 60),
    (Protocol.TCP, DATA | RST, FlowState.RESET, 10),
    (Protocol.UDP, DATA, FlowState.REPLIED, 120),
    (Protocol.SCTP, DATA, FlowState.REPLIED, 120),
]


@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize("row", DSR_STATES)
def test_a_dsr_request_stands_for_both_directions(row: tuple[Protocol, int, FlowState, int], family: Family) -> None:
    protocol, seen, state, timeout = row

    def alone(age: float) -> Judgement:
        request = pair(seen, 0, ages_s=(age, age), protocol=protocol)[0]
        return judged([request._replace(flags=FlowFlag.DSR)], family=family)

    assert alone(0).state.tolist() == [state]
    assert alone(0).leads.tolist() == [True]
    assert not alone(timeout - 1 / HZ).is_idle.any()
    assert alone(timeout).is_idle.all()


def test_what_has_moved_leaves_no_backend() -> None:
    """Its flow does, once; counting it here, too, would count it twice."""
    gone = pair(DATA | MOVED, DATA | MOVED, protocol=Protocol.UDP, generation=6)
    assert not judged(gone).is_orphaned.any()


def test_a_dsr_reply_at_the_backends_node_has_a_partner() -> None:
    request, reply = pair(SYN | DATA, 0)
    judgement = judged([request, reply._replace(flags=FlowFlag.REPLY | FlowFlag.DSR)])
    assert judgement.partner.tolist() == [1, 0]
    assert judgement.state.tolist() == [FlowState.UNCONFIRMED] * 2


def test_a_port_that_was_given_to_another_flow_is_not_a_partner() -> None:
    request, reply = pair(SYN | DATA, DATA)
    other = reply._replace(to_destination=End(9, 9))
    assert judged([request, other]).partner.tolist() == [-1, -1]


def test_an_entry_is_not_its_own_partner() -> None:
    echo = Entry(CLIENT, CLIENT, CLIENT, CLIENT, DATA)
    assert judged([echo]).partner.tolist() == [-1]


@pytest.mark.parametrize("now", [0, 5, 2_500])
def test_jiffies_may_wrap_between_the_packet_and_now(now: int) -> None:
    for age, over in ((29, False), (31, True)):
        stamp = (now - age * HZ) & 0xFFFFFFFF
        entries = [entry._replace(last_seen=stamp) for entry in pair(DATA, 0, protocol=Protocol.UDP)]
        assert judged(entries, now=now).is_idle.tolist() == [over, over]


def test_a_stamp_that_is_younger_than_now_is_fresh() -> None:
    entries = [entry._replace(last_seen=NOW + 3) for entry in pair(SYN, 0)]
    assert not judged(entries).is_idle.any()


@pytest.mark.parametrize(
    ("backend_id", "generation", "gone"),
    [(1, 7, False), (2, 8, False), (1, 6, True), (3, 9, True), (0, 0, True), (4, 1, True), (0xFFFFFFFF, 1, True)],
)
def test_udp_flows_end_with_their_backend_and_tcp_flows_do_not(backend_id: int, generation: int, gone: bool) -> None:
    backend: dict[str, Any] = {"backend_id": backend_id, "generation": generation}
    assert judged(pair(DATA, DATA, protocol=Protocol.UDP, **backend)).is_orphaned.tolist() == [gone, gone]
    assert not judged(pair(SYN | DATA, DATA, **backend)).is_orphaned.any()


@pytest.mark.parametrize(
    ("service_id", "backend", "gone"),
    [
        (SERVICE, (1, 7), False),
        (SERVICE, (2, 8), False),
        (TWIN, (2, 8), False),
        (TWIN, (1, 7), True),  # another Service still has it
        (EMPTY, (1, 7), False),  # nowhere better to go
        (EMPTY, (1, 6), True),
        (0xFFFFFFFF, (1, 7), False),
    ],
)
def test_udp_flows_leave_a_backend_that_has_left_their_service(
    service_id: int, backend: tuple[int, int], gone: bool
) -> None:
    fields: dict[str, Any] = {"service_id": service_id, "backend_id": backend[0], "generation": backend[1]}
    tcp = pair(SYN | DATA, DATA, **fields)
    udp = pair(DATA, DATA, protocol=Protocol.UDP, **fields)
    assert judged(tcp + udp).is_orphaned.tolist() == [False, False, gone, gone]


@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize(
    ("owners", "gone"),
    [
        ({}, False),
        ({FRONTEND: SERVICE}, False),
        ({FRONTEND: TWIN}, True),  # a Service made anew has another id
        ({FRONTEND: EMPTY}, False),
        ({End(0, FRONTEND.port): TWIN}, True),  # as a NodePort
        ({End(0, FRONTEND.port): TWIN, FRONTEND: SERVICE}, False),
        ({End(0, FRONTEND.port + 1): TWIN, BACKEND: TWIN, CLIENT: TWIN}, False),
    ],
)
def test_udp_flows_are_judged_by_the_service_that_has_their_frontend_now(
    owners: dict[End, int], gone: bool, family: Family
) -> None:
    udp = pair(DATA, DATA, protocol=Protocol.UDP)
    judgement = judged(udp, family=family, owners=owners)
    assert judgement.is_orphaned.tolist() == [gone, gone]
    assert judgement.is_reply.tolist() == [False, True]
    assert not judged(pair(DATA, DATA), family=family, owners=owners).is_orphaned.any()


@given(
    pairs=st.sets(st.tuples(st.integers(0, 3), st.integers(0, 3))),
    asked=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3))),
)
def test_a_service_has_lost_who_is_no_member_where_others_are(
    pairs: set[tuple[int, int]], asked: list[tuple[int, int]]
) -> None:
    high = 0xFFFFFFFC  # ids are 32 bits wide
    columns = np.array([(high + one, high + other) for one, other in asked], np.uint32).reshape(-1, 2)
    lost = members((high + one, high + other) for one, other in pairs).have_lost(columns[:, 0], columns[:, 1])
    services = {service_id for service_id, _ in pairs}
    have = members((high + one, high + other) for one, other in pairs).have(columns[:, 0], columns[:, 1])
    assert have.tolist() == [each in pairs for each in asked]
    assert lost.tolist() == [each not in pairs and each[0] in services for each in asked]


def test_no_flows_is_no_special_case() -> None:
    assert judged([]).is_idle.tolist() == []


def test_each_flow_is_led_by_one_entry() -> None:
    request, reply = pair(SYN | DATA, DATA)
    orphan = request._replace(source=End(8, 8), to_source=End(8, 8))
    assert judged([reply, orphan, request]).leads.tolist() == [True, True, False]


ENDS = st.builds(End, st.integers(0, 2), st.integers(0, 2))
PROTOCOLS = st.sampled_from([Protocol.TCP, Protocol.UDP])
ENTRIES = st.lists(
    st.tuples(ENDS, ENDS, ENDS, ENDS, PROTOCOLS).map(lambda row: Entry(*row[:4], seen=DATA, protocol=row[4])),
    max_size=60,
    unique_by=lambda entry: (entry.source, entry.destination, entry.protocol),
)


@pytest.mark.parametrize("family", Family)
@given(entries=ENTRIES)
def test_partners_are_those_of_a_search_one_by_one(family: Family, entries: list[Entry]) -> None:
    index = {(entry.source, entry.destination, entry.protocol): row for row, entry in enumerate(entries)}

    def named_by(row: int) -> int:
        entry = entries[row]
        return index.get((entry.to_destination, entry.to_source, entry.protocol), -1)

    expected = [
        other if (other := named_by(row)) not in {-1, row} and named_by(other) == row else -1
        for row in range(len(entries))
    ]
    assert partners(*pack(entries, family)).tolist() == expected
