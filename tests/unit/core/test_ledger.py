"""What a change of one Service does to others, and when it cannot be told without looking at all."""

from copy import deepcopy
from dataclasses import replace

import pytest

from ebpflb.core.abi import Family, FrontendFlag, MemberSet, Protocol
from ebpflb.core.changes import changes_between
from ebpflb.core.compile import compile_tables
from ebpflb.core.delta import Delta
from ebpflb.core.holdings import Limits
from ebpflb.core.ids import Allocation
from ebpflb.core.ledger import Ledger, NotLocalError
from ebpflb.core.model import Host, Service, Snapshot
from ebpflb.core.options import DEFAULTS
from ebpflb.core.tables import FrontendKey, MemberKey, TableName
from tests.unit.core.factories import ROOMY, endpoint, endpoint_slice, service, snapshot

V4 = Family.IPV4
WEB, API = service("web"), service("api", ip="10.96.0.9", affinity_timeout_s=60)


def followed(before: Snapshot, now: Snapshot, limits: Limits = ROOMY) -> Delta:
    """Return what a ledger makes of a change, if it is what a compilation of everything would."""
    first = compile_tables(before, V4, Allocation(), limits)
    assert first.basis is not None
    own = replace(first, allocation=deepcopy(first.allocation))
    ledger = Ledger(own, first.basis, before, limits, DEFAULTS)
    delta = ledger.update(changes_between(before, now), now, first.tables)
    whole = compile_tables(now, V4, first.allocation, limits)
    for table in TableName:
        rows = dict(first.tables.rows(table))
        for key in delta.gone.get(table, ()):
            del rows[key]
        assert {**rows, **delta.changed.get(table, {})} == whole.tables.rows(table)
    assert ledger.allocation == whole.allocation
    assert ledger.slots_used == whole.allocation.slots_used
    return delta


def test_only_what_changed_is_in_it() -> None:
    others = [service(f"s{number}", ip=f"10.97.0.{number}") for number in range(1, 9)]
    listed = [endpoint_slice(endpoint(f"10.1.0.{n}"), of=f"s{n}", name=f"s{n}-1") for n in range(1, 9)]
    before = snapshot(WEB, *others, *listed, endpoint_slice(endpoint("10.0.0.1")))
    delta = followed(before, snapshot(WEB, *others, *listed, endpoint_slice(endpoint("10.0.0.2"))))
    assert {table: len(rows) for table, rows in delta.changed.items()} == {
        TableName.FRONTENDS: 1,
        TableName.BACKENDS: 1,
    }
    assert {table: len(keys) for table, keys in delta.gone.items()} == {TableName.BACKENDS: 1}
    assert (len(delta.written), len(delta.unnamed)) == (1, 1)


def test_a_row_that_comes_for_one_service_makes_a_member_of_another() -> None:
    """Its endpoint serves, and hints keep it from this node: there was no row that a flow could lead to."""
    far = replace(endpoint("10.0.0.2"), for_zones=("z2",))
    hinted = endpoint_slice(replace(endpoint("10.0.0.1"), for_zones=("z1",)), far, of="api", name="api-1")
    node = replace(snapshot().node, zone="z1")
    before = snapshot(WEB, API, hinted, endpoint_slice(endpoint("10.0.0.1")), node=node)
    now = snapshot(WEB, API, hinted, endpoint_slice(endpoint("10.0.0.1"), endpoint("10.0.0.2")), node=node)
    came = followed(before, now).changed[TableName.MEMBERS]
    assert list(came.values()) == [MemberSet.SERVING]
    later = snapshot(API, hinted, node=node)
    delta = followed(now, later)
    assert TableName.MEMBERS not in delta.gone, "it stays for the flows that it has, as long as it is listed"
    assert all(isinstance(key, MemberKey) for key in came)


def test_a_backend_of_two_services_goes_with_the_second() -> None:
    shared = endpoint_slice(endpoint("10.0.0.1"), of="api", name="api-1")
    both = snapshot(WEB, API, shared, endpoint_slice(endpoint("10.0.0.1")))
    one = snapshot(WEB, API, shared)
    assert TableName.BACKENDS not in followed(both, one).gone
    assert len(followed(one, snapshot(WEB, API)).gone[TableName.BACKENDS]) == 1


def test_an_address_of_this_node_answers_for_itself() -> None:
    host = Host(frozenset({bytes([203, 0, 113, 1])}))
    owned = service("web", external_ips=(bytes([203, 0, 113, 1]),))
    delta = followed(snapshot(host=host), snapshot(owned, endpoint_slice(endpoint("10.0.0.1")), host=host))
    flags = {key.address: row.flags for key, row in delta.changed[TableName.FRONTENDS].items() if not key.port}
    assert flags == {
        bytes([10, 96, 0, 1]): FrontendFlag.HAS_BACKENDS | FrontendFlag.CLUSTER_ADDRESS,
        bytes([203, 0, 113, 1]): FrontendFlag(0),
    }


@pytest.mark.parametrize(("gone", "middle"), [(WEB, "10.96.0.8"), (API, "10.96.0.2")])
def test_the_guard_follows_the_outermost_cluster_ips(gone: Service, middle: str) -> None:
    services = [WEB, API, service("mid", ip=middle)]
    before = snapshot(*services)
    left = snapshot(*(each for each in services if each is not gone))
    assert TableName.CONFIG in followed(before, left).changed
    assert TableName.CONFIG not in followed(before, snapshot(WEB, API)).changed


@pytest.mark.parametrize(
    "limits",
    [
        replace(ROOMY, frontends=3),
        replace(ROOMY, backends=2),
        replace(ROOMY, services=2),
        replace(ROOMY, slots=32),
        replace(ROOMY, members=1),
    ],
)
def test_without_room_all_must_be_looked_at(limits: Limits) -> None:
    before = snapshot(WEB, endpoint_slice(endpoint("10.0.0.1")))
    more = endpoint_slice(endpoint("10.0.0.2"), endpoint("10.0.0.3"), of="api", name="api-1")
    now = snapshot(WEB, API, more, endpoint_slice(endpoint("10.0.0.1")))
    with pytest.raises(NotLocalError):
        followed(before, now, limits)


def test_a_frontend_may_change_hands_within_one_batch() -> None:
    heir = service("heir")
    delta = followed(snapshot(WEB), snapshot(heir))
    key = FrontendKey(bytes([10, 96, 0, 1]), 80, Protocol.TCP)
    assert delta.changed[TableName.FRONTENDS].keys() == {key}
    with pytest.raises(NotLocalError):
        followed(snapshot(WEB), snapshot(WEB, heir))
