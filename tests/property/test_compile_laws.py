"""Laws of compilation: it means what the reference says, never raises, and starts again where it stopped."""

from hypothesis import given, settings
from hypothesis import strategies as st

from ebpflb.core.abi import Algorithm, BackendFlag, BackendState, Family, FrontendFlag, MemberSet, Protocol
from ebpflb.core.compile import compile_tables
from ebpflb.core.diff import diff
from ebpflb.core.holdings import Limits
from ebpflb.core.ids import Allocation
from ebpflb.core.model import Snapshot
from ebpflb.core.tables import BackendKey, MemberKey, Range, Tables
from tests.property.reference import meaning
from tests.property.strategies import ROOMY, families, limits, snapshots


def contents(tables: Tables, where: Range) -> list[int]:
    """The ids of a range; a local prefix lies inside its cluster range."""
    for held, ids in tables.slots.items():
        if held.offset == where.offset and where.length <= held.length:
            return [int(number) for number in ids[: where.length]]
    assert where.length == 0
    return []


def chosen(tables: Tables, where: Range) -> frozenset[BackendKey]:
    return frozenset(tables.backends[number].key for number in contents(tables, where))


@given(snapshots(), families)
@settings(max_examples=200)
def test_tables_mean_what_the_reference_says(snapshot: Snapshot, family: Family) -> None:
    tables = compile_tables(snapshot, family, Allocation(), ROOMY).tables
    expected = meaning(snapshot, family)
    assert tables.frontends.keys() == expected.keys()
    for key, frontend in tables.frontends.items():
        want = expected[key]
        assert tables.services[frontend.service_id] == want.owner
        assert frontend.kind is want.kind
        assert bool(frontend.flags & FrontendFlag.HAS_BACKENDS) is want.has_any
        assert bool(frontend.flags & FrontendFlag.LOCAL_POLICY) is (want.local is not None)
        assert chosen(tables, frontend.cluster) == (want.cluster or frozenset())
        assert chosen(tables, frontend.local) == (want.local or frozenset())
        if frontend.algorithm is Algorithm.RANDOM:
            assert frontend.cluster.length == len(want.cluster or ())


@given(snapshots(), families)
def test_rows_agree_with_each_other(snapshot: Snapshot, family: Family) -> None:
    tables = compile_tables(snapshot, family, Allocation(), ROOMY).tables
    named = {int(number) for ids in tables.slots.values() for number in ids}
    assert named == {number for number, backend in tables.backends.items() if backend.state is BackendState.ACTIVE}
    assert {frontend.service_id for frontend in tables.frontends.values()} == tables.services.keys()
    assert 0 not in tables.backends
    assert 0 not in tables.services
    for frontend in tables.frontends.values():
        for number in contents(tables, frontend.local):
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
    wanted = meaning(snapshot, family)
    expected: dict[MemberKey, MemberSet] = {}
    for key, frontend in tables.frontends.items():
        if not frontend.affinity_timeout_s and key.protocol is not Protocol.UDP:
            continue
        named = {number for number, row in tables.backends.items() if row.key in wanted[key].staying}
        for bit, numbers in (
            (MemberSet.CLUSTER, contents(tables, frontend.cluster)),
            (MemberSet.LOCAL, contents(tables, frontend.local)),
            (MemberSet.SERVING, named),
        ):
            for number in numbers:
                member = MemberKey(frontend.service_id, number)
                expected[member] = expected.get(member, MemberSet(0)) | bit
    assert tables.members == expected


@given(snapshots(), families, limits)
def test_limits_are_kept_and_refusals_are_whole(snapshot: Snapshot, family: Family, tight: Limits) -> None:
    compiled = compile_tables(snapshot, family, Allocation(), tight)
    tables = compiled.tables
    assert len(tables.frontends) <= tight.frontends
    assert all(number < tight.backends for number in tables.backends)
    assert all(number < tight.services for number in tables.services)
    assert all(where.offset + where.length <= tight.slots for where in tables.slots)
    roomy = compile_tables(snapshot, family, Allocation(), ROOMY)
    refused = {refusal.service for refusal in compiled.refused if "map" in refusal.reason}
    full = meaning(snapshot, family)
    assert roomy.tables.frontends.keys() == full.keys()
    assert tables.frontends.keys() == {
        key for key, want in full.items() if want.owner.rpartition("/")[0].partition(":")[0] not in refused
    }


@given(snapshots(), families, limits | st.just(ROOMY))
def test_a_restart_changes_nothing(snapshot: Snapshot, family: Family, any_limits: Limits) -> None:
    first = compile_tables(snapshot, family, Allocation(), any_limits)
    restored = Allocation.from_tables(first.tables, first.allocation.max_generation)
    second = compile_tables(snapshot, family, restored, any_limits)
    assert not diff(second.tables, first.tables)
    # The same Services are refused; which of several full maps is named may depend on the order.
    assert {each.service for each in second.refused} == {each.service for each in first.refused}
    again = compile_tables(snapshot, family, first.allocation, any_limits)
    assert not diff(again.tables, first.tables)


@given(snapshots(), families)
def test_order_of_arrival_is_irrelevant(snapshot: Snapshot, family: Family) -> None:
    turned = Snapshot(
        node=snapshot.node,
        services=dict(reversed(list(snapshot.services.items()))),
        slices=dict(reversed(list(snapshot.slices.items()))),
        host=snapshot.host,
    )
    one = compile_tables(snapshot, family, Allocation(), ROOMY)
    other = compile_tables(turned, family, Allocation(), ROOMY)
    assert not diff(one.tables, other.tables)
    assert one.refused == other.refused
