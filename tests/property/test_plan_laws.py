"""Laws of plans over a node's life: each turns what is there into what should be there, safe after every step."""

from hypothesis import given, settings
from hypothesis import strategies as st

from ebpflb.core.abi import Family
from ebpflb.core.compile import Compiled, compile_tables
from ebpflb.core.diff import diff
from ebpflb.core.holdings import Limits
from ebpflb.core.ids import Allocation
from ebpflb.core.model import Snapshot
from ebpflb.core.options import Options
from ebpflb.core.tables import Plan, Range, TableName, Tables
from tests.property.kernel import Maps
from tests.property.strategies import ROOMY, families, limits, lives, options, snapshots

SLOTS = ROOMY.slots
afterwards = st.lists(st.sampled_from(("keep", "keep", "release", "restart", "crash")), min_size=6, max_size=6)


@given(lives(), afterwards, families, limits | st.just(ROOMY) | st.just(ROOMY), options)
@settings(max_examples=120)
def test_every_step_of_a_life_is_safe(
    life: list[Snapshot], events: list[str], family: Family, any_limits: Limits, configured: Options
) -> None:
    maps = Maps(family, SLOTS)
    allocation = Allocation()
    for snapshot, then in zip(life, events, strict=False):
        before = maps.read()
        compiled = compile_tables(snapshot, family, allocation, any_limits, options=configured)
        assert_nothing_reused(allocation, compiled, before)
        plan = diff(compiled.tables, before)
        if then == "crash":
            plan = Plan(plan.steps[: len(plan.steps) // 2])
        maps.apply(plan)
        allocation = compiled.allocation
        if then == "release":
            allocation = allocation.release(allocation.epoch)
        if then in {"restart", "crash"}:
            allocation = Allocation.from_tables(maps.read(), allocation.max_generation)
        if then != "crash":
            assert_holds(maps, compiled.tables)


def assert_holds(maps: Maps, tables: Tables) -> None:
    for table in TableName:
        assert maps.rows[table] == tables.rows(table)
    for where, ids in tables.slots.items():
        assert maps.at(where).tolist() == ids.tolist()
    assert not diff(tables, maps.read())


def assert_nothing_reused(allocation: Allocation, compiled: Compiled, before: Tables) -> None:
    """What is named or retired keeps its meaning."""
    now = compiled.allocation
    for name, service_id in now.services.items():
        if allocation.services.get(name) != service_id:
            assert service_id not in allocation.services.values()
            assert service_id not in allocation.retired_services
            assert service_id not in before.services
    in_use = {place.backend_id for place in allocation.backends.values()} | allocation.retired_backends.keys()
    generations = set()
    for key, place in now.backends.items():
        if allocation.backends.get(key) != place:
            assert place.backend_id not in in_use
            assert place.backend_id not in before.backends
            assert place.generation > allocation.max_generation
            generations.add(place.generation)
    assert len(generations) == len(now.backends.keys() - allocation.backends.keys())
    assert now.max_generation >= max(generations, default=allocation.max_generation)
    for where, ids in compiled.tables.slots.items():
        for held, contents in before.slots.items():
            if overlap(where, held):
                shared = min(where.length, held.length)
                assert where.offset == held.offset
                assert ids[:shared].tolist() == contents[:shared].tolist()
        for retired in allocation.retired_ranges:
            assert where == retired or not overlap(where, retired)


def overlap(one: Range, other: Range) -> bool:
    return one.offset < other.offset + other.length and other.offset < one.offset + one.length


@given(snapshots(), snapshots(), families)
def test_a_plan_turns_one_set_of_rows_into_any_other(old: Snapshot, new: Snapshot, family: Family) -> None:
    actual = compile_tables(old, family, Allocation(), ROOMY).tables
    desired = compile_tables(new, family, Allocation(), ROOMY).tables
    maps = Maps(family, SLOTS)
    for step in diff(actual, Tables(family)).steps:
        maps.step(step)
    for step in diff(desired, actual).steps:
        maps.step(step)
    for table in TableName:
        assert maps.rows[table] == desired.rows(table)
    for where, ids in desired.slots.items():
        assert maps.at(where).tolist() == ids.tolist()
    assert diff(desired, desired) == Plan()
