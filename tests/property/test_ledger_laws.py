"""Laws of following changes: a ledger told what changed gives what compiling everything would, id by id."""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from typing import Any

from hypothesis import event, given, settings
from hypothesis import strategies as st

from ebpflb.core.abi import Family
from ebpflb.core.changes import changes_between
from ebpflb.core.compile import Compiled, compile_tables
from ebpflb.core.diff import plan_of
from ebpflb.core.holdings import Limits
from ebpflb.core.ids import Allocation
from ebpflb.core.ledger import Ledger, NotLocalError
from ebpflb.core.model import EndpointSlice, Service, Snapshot
from ebpflb.core.options import Options
from ebpflb.core.tables import TableName, Tables
from tests.property.kernel import Maps
from tests.property.strategies import (
    NAMES,
    NAMESPACES,
    ROOMY,
    endpoints,
    families,
    limits,
    mostly,
    nearly_always,
    options,
    services,
    slices,
    snapshots,
)

KEYS = [(namespace, name) for namespace in NAMESPACES for name in NAMES]


def apart(service: Service) -> Service:
    """The Service with addresses and node ports that no other one has: its claims meet nobody's."""
    number = KEYS.index(service.key)

    def own(address: bytes) -> bytes:
        return address[:-2] + bytes([number + 1, address[-1]])

    return replace(
        service,
        cluster_ips=tuple(own(address) for address in service.cluster_ips),
        external_ips=tuple(own(address) for address in service.external_ips),
        load_balancer_ips=tuple(own(address) for address in service.load_balancer_ips),
        ports=tuple(
            replace(port, port=port.port + at, node_port=port.node_port and port.node_port + 10 * number + 100 * at)
            for at, port in enumerate(service.ports)
        ),
    )


@st.composite
def stories(draw: st.DrawFn) -> list[Snapshot]:
    """A cluster of Services that share backends, in which few objects change at a time; now and then claims collide."""
    now = draw(snapshots())
    separate = draw(nearly_always)
    now = replace(now, services={key: apart(each) if separate else each for key, each in now.services.items()})
    story = [now]
    for number in range(draw(st.integers(3, 8))):
        for _ in range(draw(st.sampled_from((1, 1, 1, 2, 3)))):
            now = draw(followers(now, number, separate))
        story.append(now)
        if not draw(mostly):
            now = draw(st.sampled_from(story))
            story.append(now)
    return story


@st.composite
def followers(draw: st.DrawFn, before: Snapshot, number: int, separate: bool) -> Snapshot:
    what = draw(st.sampled_from(("endpoints", "endpoints", "endpoints", "slice", "service", "gone", "node", "moment")))
    owners = tuple(before.services.values())
    if what == "endpoints" and before.slices:
        each = before.slices[draw(st.sampled_from(sorted(before.slices)))]
        return replace(before, slices={**before.slices, each.key: draw(turned(each))})
    if what == "slice" and owners:
        each = draw(slices(draw(st.integers(0, 9)), owners))
        return replace(before, slices={**before.slices, each.key: each})
    if what == "service":
        service = draw(services(*draw(st.sampled_from(KEYS))))
        service = apart(service) if separate and draw(nearly_always) else service
        return replace(before, services={**before.services, service.key: service})
    if what == "gone":
        keys = [*before.services, *before.slices]
        lost = draw(st.sampled_from(sorted(keys))) if keys else None
        return replace(
            before,
            services={key: each for key, each in before.services.items() if key != lost},
            slices={key: each for key, each in before.slices.items() if key != lost},
        )
    if what == "node":
        other = draw(snapshots())
        touched: dict[str, Any] = draw(
            st.sampled_from(
                (
                    {"service_cidrs": other.service_cidrs},
                    {"host": replace(before.host, devices=other.host.devices, opt_outs=other.host.opt_outs)},
                    {"host": other.host},
                    {"node": replace(before.node, zone=other.node.zone)},
                )
            )
        )
        return replace(before, **touched)
    return replace(before, slices={key: replace(each, triggered_at=str(number)) for key, each in before.slices.items()})


@st.composite
def turned(draw: st.DrawFn, each: EndpointSlice) -> EndpointSlice:
    """The slice with one endpoint more, less, or in another condition."""
    listed = list(each.endpoints)
    if draw(st.booleans()) and listed:
        place = draw(st.integers(0, len(listed) - 1))
        one = listed.pop(place)
        if draw(mostly):
            ready, serving, terminating = draw(
                st.sampled_from(((True, True, False), (False, True, True), (False, False, False), (False, True, False)))
            )
            listed.insert(place, replace(one, ready=ready, serving=serving, terminating=terminating))
    else:
        listed.append(draw(endpoints(each.family)))
    return replace(each, endpoints=tuple(listed))


def assert_equal(tables: Tables, expected: Tables) -> None:
    for table in TableName:
        assert tables.rows(table) == expected.rows(table), table
    assert {where: ids.tolist() for where, ids in tables.slots.items()} == {
        where: ids.tolist() for where, ids in expected.slots.items()
    }


class Follower:
    """A family that follows a story by a ledger where it can, and starts again where it cannot."""

    def __init__(self, family: Family, any_limits: Limits, configured: Options) -> None:
        self.family, self.limits, self.options = family, any_limits, configured
        self.maps = Maps(family, 1 << 18)
        self.tables = Tables(family)
        self.allocation = Allocation()
        self.ledger: Ledger | None = None
        self.followed = 0

    def take(self, before: Snapshot, now: Snapshot) -> None:
        known = deepcopy(self.allocation)
        full = compile_tables(now, self.family, known, self.limits, options=self.options)
        if self.ledger is None or not self._follow(self.ledger, before, now, full):
            self.tables, self.allocation = full.tables, full.allocation
            self.maps.rows = {table: dict(full.tables.rows(table)) for table in TableName}
            for where, ids in full.tables.slots.items():
                self.maps.slots[where.offset : where.offset + where.length] = ids
            own = replace(full, allocation=deepcopy(full.allocation))
            self.ledger = Ledger(own, full.basis, now, self.limits, self.options) if full.basis is not None else None

    def _follow(self, ledger: Ledger, before: Snapshot, now: Snapshot, full: Compiled) -> bool:
        try:
            delta = ledger.update(changes_between(before, now), now, self.tables)
        except NotLocalError:
            was = ledger.allocation
            assert (was.services, was.backends, was.ranges) == (
                self.allocation.services,
                self.allocation.backends,
                self.allocation.ranges,
            )
            return False
        self.followed += 1
        self.maps.apply(plan_of(delta, self.tables.backends))
        slots = {where: ids for where, ids in self.tables.slots.items() if where not in delta.unnamed}
        self.tables = Tables(self.family, **self._rows(), slots={**slots, **delta.written})
        self.allocation = ledger.allocation
        assert_equal(self.tables, full.tables)
        for where, ids in full.tables.slots.items():
            assert self.maps.at(where).tolist() == ids.tolist()
        assert self.allocation == full.allocation
        assert ledger.refused == full.refused
        return True

    def _rows(self) -> dict[str, Any]:
        return {table.value: dict(self.maps.rows[table]) for table in TableName}

    def release(self) -> None:
        epoch = self.allocation.epoch
        if self.ledger is None:
            self.allocation = self.allocation.release(epoch)
        else:
            self.ledger.release(epoch)
            self.allocation = self.ledger.allocation


def told(follower: Follower, story: list[Snapshot], releases: Iterator[bool]) -> None:
    before = Snapshot(story[0].node)
    for now in story:
        follower.take(before, now)
        before = now
        if next(releases):
            follower.release()


@given(stories(), families, limits | st.just(ROOMY) | st.just(ROOMY), options, st.lists(st.booleans(), min_size=20))
@settings(max_examples=150)
def test_a_ledger_gives_what_a_whole_compilation_gives(
    story: list[Snapshot], family: Family, any_limits: Limits, configured: Options, releases: list[bool]
) -> None:
    follower = Follower(family, any_limits, configured)
    told(follower, story, iter(releases))
    event(f"followed {follower.followed} of {len(story) - 1}")
