"""Laws of compilation: it means what the reference says, never raises, and starts again where it stopped."""

from dataclasses import replace
from ipaddress import ip_network

from hypothesis import given, settings
from hypothesis import strategies as st

from ebpflb.core.abi import Algorithm, BackendFlag, BackendState, Family, FrontendFlag, MemberSet, Protocol
from ebpflb.core.compile import compile_tables
from ebpflb.core.diff import diff
from ebpflb.core.holdings import Limits
from ebpflb.core.ids import Allocation
from ebpflb.core.model import Snapshot
from ebpflb.core.options import DEFAULTS, Options
from ebpflb.core.tables import ELSEWHERE, BackendKey, Frontend, FrontendKey, MemberKey, Range, TableName, Tables
from tests.property.reference import Network, answering, meaning, unwrapping
from tests.property.strategies import ROOMY, families, limits, options, snapshots


def dialled(tables: Tables) -> dict[FrontendKey, Frontend]:
    """The frontends of service ports."""
    return {key: row for key, row in tables.frontends.items() if key.protocol is not Protocol.ANY}


def contents(tables: Tables, where: Range) -> list[int]:
    """The ids of a range; a local prefix lies inside its cluster range."""
    for held, ids in tables.slots.items():
        if held.offset == where.offset and where.length <= held.length:
            return [int(number) for number in ids[: where.length]]
    assert where.length == 0
    return []


def chosen(tables: Tables, where: Range) -> frozenset[BackendKey]:
    return frozenset(tables.backends[number].key for number in contents(tables, where))


@given(snapshots(), families, options)
@settings(max_examples=200)
def test_tables_mean_what_the_reference_says(snapshot: Snapshot, family: Family, configured: Options) -> None:
    tables = compile_tables(snapshot, family, Allocation(), ROOMY, options=configured).tables
    expected = meaning(snapshot, family, configured)
    rows = dialled(tables)
    assert rows.keys() == expected.keys()
    for key, frontend in rows.items():
        want = expected[key]
        assert tables.services[frontend.service_id] == want.owner
        assert frontend.kind is want.kind
        assert bool(frontend.flags & FrontendFlag.HAS_BACKENDS) is want.has_any
        assert bool(frontend.flags & FrontendFlag.LOCAL_POLICY) is (want.local is not None)
        assert bool(frontend.flags & FrontendFlag.DSR) is want.is_direct
        assert chosen(tables, frontend.cluster) == (want.cluster or frozenset())
        assert chosen(tables, frontend.local) == (want.local or frozenset())
        if frontend.algorithm is Algorithm.RANDOM:
            assert frontend.cluster.length == len(want.cluster or ())


@given(snapshots(), families, options)
def test_load_balancer_addresses_are_open_to_whom_the_reference_says(
    snapshot: Snapshot, family: Family, configured: Options
) -> None:
    tables = compile_tables(snapshot, family, Allocation(), ROOMY, options=configured).tables
    expected = meaning(snapshot, family, configured)
    accepted: dict[int, set[Network]] = {}
    for row in tables.source_ranges:
        accepted.setdefault(row.service_id, set()).add(ip_network((row.address, row.prefix_length)))
    for key, frontend in dialled(tables).items():
        clients = expected[key].clients
        assert bool(frontend.flags & FrontendFlag.SOURCE_RANGES) is (clients is not None)
        if clients is not None:
            assert accepted.get(frontend.service_id, set()) == clients
    restricted = {row.service_id for row in tables.frontends.values() if row.flags & FrontendFlag.SOURCE_RANGES}
    assert accepted.keys() <= restricted


@given(snapshots(), families, options)
def test_addresses_and_unwrapping_are_as_the_reference_says(
    snapshot: Snapshot, family: Family, configured: Options
) -> None:
    tables = compile_tables(snapshot, family, Allocation(), ROOMY, options=configured).tables
    expected = meaning(snapshot, family, configured)
    assert answering(expected, snapshot) == {
        key.address: bool(row.flags & FrontendFlag.HAS_BACKENDS)
        for key, row in tables.frontends.items()
        if key.protocol is Protocol.ANY
    }
    unwrapped: dict[str, dict[bytes, BackendKey]] = {}
    for (service_id, address), number in tables.local_backends.items():
        unwrapped.setdefault(tables.services[service_id], {})[address] = tables.backends[number].key
    assert unwrapped == unwrapping(snapshot, expected, family)


@given(snapshots(), families)
def test_rows_agree_with_each_other(snapshot: Snapshot, family: Family) -> None:
    tables = compile_tables(snapshot, family, Allocation(), ROOMY).tables
    named = {int(number) for ids in tables.slots.values() for number in ids}
    assert named == {number for number, backend in tables.backends.items() if backend.state is BackendState.ACTIVE}
    assert {frontend.service_id for frontend in dialled(tables).values()} == tables.services.keys()
    assert 0 not in tables.backends
    assert 0 not in tables.services
    for frontend in tables.frontends.values():
        for number in contents(tables, frontend.local):
            assert tables.backends[number].flags is BackendFlag.LOCAL
    for number in tables.local_backends.values():
        assert tables.backends[number].flags is BackendFlag.LOCAL
    ends = 16
    for where, ids in sorted(tables.slots.items()):
        assert where.offset % 16 == 0
        assert where.offset >= ends
        assert where.length == len(ids) > 0
        ends = where.offset + where.length


@given(snapshots(), families)
def test_members_are_those_who_may_keep_a_client(snapshot: Snapshot, family: Family) -> None:
    tables = compile_tables(snapshot, family, Allocation(), ROOMY).tables
    wanted = meaning(snapshot, family, DEFAULTS)
    expected: dict[MemberKey, MemberSet] = {}
    for key, frontend in dialled(tables).items():
        if not frontend.affinity_timeout_s and key.protocol is not Protocol.UDP:
            continue
        named = {number for number, row in tables.backends.items() if row.key in wanted[key].staying}
        if wanted[key].staying and not named:
            named = {ELSEWHERE}
        for bit, numbers in (
            (MemberSet.CLUSTER, contents(tables, frontend.cluster)),
            (MemberSet.LOCAL, contents(tables, frontend.local)),
            (MemberSet.SERVING, named),
        ):
            for number in numbers:
                member = MemberKey(frontend.service_id, number)
                expected[member] = expected.get(member, MemberSet(0)) | bit
    assert tables.members == expected


@given(snapshots(), families, limits, options)
def test_limits_are_kept_and_refusals_are_whole(
    snapshot: Snapshot, family: Family, tight: Limits, configured: Options
) -> None:
    compiled = compile_tables(snapshot, family, Allocation(), tight, options=configured)
    tables = compiled.tables
    for table in (TableName.FRONTENDS, TableName.MEMBERS, TableName.LOCAL_BACKENDS, TableName.SOURCE_RANGES):
        assert len(tables.rows(table)) <= getattr(tight, table)
    assert all(number < tight.backends for number in tables.backends)
    assert all(number < tight.services for number in tables.services)
    assert all(where.offset + where.length <= tight.slots for where in tables.slots)
    refused = {refusal.service for refusal in compiled.refused if "has room for" in refusal.reason}
    full = meaning(snapshot, family, configured)
    assert dialled(tables).keys() == {
        key for key, want in full.items() if want.owner.rpartition("/")[0].partition(":")[0] not in refused
    }


@given(snapshots(), families, limits | st.just(ROOMY), options)
def test_a_restart_changes_nothing(snapshot: Snapshot, family: Family, any_limits: Limits, configured: Options) -> None:
    first = compile_tables(snapshot, family, Allocation(), any_limits, options=configured)
    restored = Allocation.from_tables(first.tables, first.allocation.max_generation)
    second = compile_tables(snapshot, family, restored, any_limits, options=configured)
    assert not diff(second.tables, first.tables)
    # The same Services are refused; which of several full maps is named may depend on the order.
    assert {each.service for each in second.refused} == {each.service for each in first.refused}
    again = compile_tables(snapshot, family, first.allocation, any_limits, options=configured)
    assert not diff(again.tables, first.tables)


@given(snapshots(), families)
def test_order_of_arrival_is_irrelevant(snapshot: Snapshot, family: Family) -> None:
    turned = replace(
        snapshot,
        services=dict(reversed(list(snapshot.services.items()))),
        slices=dict(reversed(list(snapshot.slices.items()))),
        service_cidrs=dict(reversed(list(snapshot.service_cidrs.items()))),
    )
    one = compile_tables(snapshot, family, Allocation(), ROOMY)
    other = compile_tables(turned, family, Allocation(), ROOMY)
    assert not diff(one.tables, other.tables)
    assert one.refused == other.refused
