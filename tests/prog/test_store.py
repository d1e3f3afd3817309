"""The contract of every ``MapStore``, on BPF maps, and what only real maps can show."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ebpflb.core.abi import SLOTS_PER_LINE, Family, Protocol
from ebpflb.core.tables import FrontendKey, Range, TableName
from ebpflb.datapath import slots
from ebpflb.datapath.pins import Pins
from ebpflb.datapath.store import PinnedMapStore, open_map
from ebpflb.errors import LayoutError, MapError
from tests.contract.map_store import CAPACITIES, SLOT_CAPACITY, MapStoreContract, frontend, row
from tests.descriptors import open_descriptors
from tests.prog.fixtures_maps import MapFactory, copy_map, map_factory, session_maps

pytestmark = pytest.mark.root
__all__ = ["map_factory", "session_maps"]

SIZES = {table.value: size for table, size in CAPACITIES.items()} | {"slots": SLOT_CAPACITY // SLOTS_PER_LINE}


@pytest.fixture(params=Family)
def store(request: pytest.FixtureRequest, map_factory: MapFactory) -> Iterator[PinnedMapStore]:
    with PinnedMapStore(map_factory.new_maps(request.param, SIZES), request.param) as opened:
        yield opened


class TestPinnedMapStore(MapStoreContract):
    """Every test of the contract."""


@pytest.fixture
def pins(map_factory: MapFactory) -> Pins:
    return map_factory.new_maps(Family.IPV4, SIZES)


def test_a_second_store_reads_what_the_first_wrote(pins: Pins) -> None:
    key, value = FrontendKey(b"\x0a\0\0\1", 80, Protocol.TCP), frontend(1, Range(16, 2))
    with PinnedMapStore(pins, Family.IPV4) as first:
        first.write_slots({Range(16, 2): np.array([5, 6], np.uint32)})
        first.put(TableName.FRONTENDS, {key: value})
    with PinnedMapStore(pins, Family.IPV4) as second:
        tables = second.read()
    assert tables.frontends == {key: value}
    assert tables.slots[Range(16, 2)].tolist() == [5, 6]


def test_programs_see_slots_as_lines_of_sixteen(pins: Pins) -> None:
    with PinnedMapStore(pins, Family.IPV4) as store, open_map(pins, Family.IPV4, "slots") as slots:
        store.write_slots({Range(15, 3): np.array([7, 8, 9], np.uint32)})
        assert slots.lookup(0)["backend_id"].tolist() == [0] * 15 + [7]
        assert slots.lookup(1)["backend_id"].tolist() == [8, 9] + [0] * 14


def test_slots_far_apart_are_reached_page_by_page(map_factory: MapFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A range may lie in two pages, or be longer than a window."""
    monkeypatch.setattr(slots, "_WINDOW_SLOTS", 1024)
    pins = map_factory.new_maps(Family.IPV4, {**SIZES, "slots": 1024})
    spans = [Range(16, 3), Range(1008, 33), Range(1056, 16), Range(4096, 4001), Range(16_383, 1)]
    ranges = {span: np.arange(span.offset, span.offset + span.length, dtype=np.uint32) for span in spans}
    rows = {
        FrontendKey(bytes(4), port, Protocol.TCP): frontend(port, span) for port, span in enumerate(reversed(spans), 1)
    }
    with PinnedMapStore(pins, Family.IPV4) as store, open_map(pins, Family.IPV4, "slots") as opened:
        store.write_slots(ranges)
        store.put(TableName.FRONTENDS, rows)
        held = opened.read()[1]["backend_id"].ravel()
        tables = store.read()
    assert {span: ids.tolist() for span, ids in tables.slots.items()} == {
        span: ids.tolist() for span, ids in ranges.items()
    }
    named = np.zeros(16_384, np.bool_)
    for span in spans:
        named[span.offset : span.offset + span.length] = True
    assert held.tolist() == np.where(named, np.arange(16_384), 0).tolist(), "and nothing else was written"


def test_many_rows_go_in_parts(pins: Pins, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ebpflb.datapath.store._MOST_ROWS", 2)
    rows = dict(row(Family.IPV4, TableName.BACKENDS, number) for number in range(1, 6))
    bad = max(rows) + 1
    with PinnedMapStore(pins, Family.IPV4) as store:
        failures = store.put(TableName.BACKENDS, {**rows, bad: rows[max(rows)]._replace(generation=-1)})
        assert [failure.key for failure in failures] == [bad]
        assert store.read().backends == rows


def test_the_highest_generation_follows_what_is_written(pins: Pins) -> None:
    key, backend = row(Family.IPV4, TableName.BACKENDS, 1)
    with PinnedMapStore(pins, Family.IPV4) as store:
        store.put(TableName.BACKENDS, {key: backend._replace(generation=7)})
        assert store.max_generation() == 7, "asked for before anything was read"
        store.put(TableName.BACKENDS, {key: backend._replace(generation=9)})
        store.put(TableName.BACKENDS, {key: backend._replace(generation=8)})
        assert store.max_generation() == 9
        store.read()
        assert store.max_generation() == 8, "as a restarted agent finds it"


def test_backends_are_read_as_far_as_ids_were_handed_out(pins: Pins, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that were removed are no end, for their ids were handed out; behind rows that were never written is one."""
    monkeypatch.setattr("ebpflb.datapath.maps._READ_CHUNK", 4)
    rows = dict(row(Family.IPV4, TableName.BACKENDS, number) for number in range(1, 18))
    with PinnedMapStore(pins, Family.IPV4) as store:
        store.put(TableName.BACKENDS, rows)
        store.delete(TableName.BACKENDS, range(2, 17))
        assert store.read().backends == {number: rows[number] for number in (1, 17)}
        unheard = CAPACITIES[TableName.BACKENDS] - 1
        store.put(TableName.BACKENDS, dict([row(Family.IPV4, TableName.BACKENDS, unheard)]))
        assert unheard not in store.read().backends, "an id that nobody hands out before those below it"


def test_one_bad_range_keeps_the_others_from_being_written(pins: Pins) -> None:
    good, bad = Range(0, 1), Range(SLOT_CAPACITY, 1)
    with PinnedMapStore(pins, Family.IPV4) as store:
        store.put(TableName.FRONTENDS, {FrontendKey(bytes(4), 1, Protocol.TCP): frontend(1, good)})
        with pytest.raises(MapError, match=f"write slots {SLOT_CAPACITY}"):
            store.write_slots({good: np.array([3], np.uint32), bad: np.array([3], np.uint32)})
        assert store.read().slots[good].tolist() == [0]


def test_a_range_outside_the_map_is_read_as_no_contents(pins: Pins) -> None:
    row = {FrontendKey(bytes(4), 1, Protocol.TCP): frontend(1, Range(SLOT_CAPACITY - 1, 2))}
    with PinnedMapStore(pins, Family.IPV4) as store:
        store.put(TableName.FRONTENDS, row)
        tables = store.read()
    assert tables.frontends == row
    assert tables.slots == {}


def test_keys_that_do_not_fit_fail_alone(pins: Pins) -> None:
    with PinnedMapStore(pins, Family.IPV4) as store:
        store.put(TableName.NODE_ADDRS, {bytes(4): 0})
        assert [failure.key for failure in store.delete(TableName.NODE_ADDRS, [bytes(16), bytes(4)])] == [bytes(16)]
        assert store.read().node_addrs == {}


def test_failures_name_the_row_in_words(pins: Pins) -> None:
    with PinnedMapStore(pins, Family.IPV4) as store:
        keys = [FrontendKey(b"\x0a\0\0\1", port, Protocol.TCP) for port in range(CAPACITIES[TableName.FRONTENDS] + 1)]
        (failure,) = store.put(TableName.FRONTENDS, dict.fromkeys(keys, frontend()))
    assert str(failure.error).startswith("put frontends 10.0.0.1:64/TCP: the map has no room for another entry; ")
    assert "--map-size NAME=ENTRIES" in str(failure.error)


def test_a_map_of_another_layout_is_not_opened(map_factory: MapFactory, pins: Pins) -> None:
    pin = pins.map(Family.IPV4, "members")
    pin.unlink()
    copy_map(map_factory.template(Family.IPV4) / "devices", pin)
    with pytest.raises(LayoutError, match="map members"):
        PinnedMapStore(pins, Family.IPV4)


def test_a_map_that_is_missing_is_named(pins: Pins) -> None:
    pins.map(Family.IPV4, "slots").unlink()
    with pytest.raises(MapError, match="maps/slots"):
        PinnedMapStore(pins, Family.IPV4)


def test_a_closed_store_leaves_nothing_open(pins: Pins) -> None:
    def resources() -> tuple[int, int]:
        descriptors = open_descriptors()
        mappings = [line for line in Path("/proc/self/maps").read_text().splitlines() if "bpf-map" in line]
        return descriptors, len(mappings)

    before = resources()
    with PinnedMapStore(pins, Family.IPV4):
        assert resources() > before
    assert resources() == before
    pins.map(Family.IPV4, "devices").unlink()
    with pytest.raises(MapError):
        PinnedMapStore(pins, Family.IPV4)
    assert resources() == before
