"""Maps through batch syscalls, against the kernel."""

import errno
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ebpflb.core.abi import Counter, Family
from ebpflb.datapath import libbpf, maps
from ebpflb.datapath.layout import MAP_NAMES, check_layout
from ebpflb.datapath.maps import BpfMap, RowError, Rows
from ebpflb.errors import MapError
from tests.descriptors import open_descriptors
from tests.prog.fixtures_maps import MapFactory, map_factory, session_maps

pytestmark = pytest.mark.root
__all__ = ["map_factory", "session_maps"]


@pytest.fixture(autouse=True)
def no_descriptor_leaks() -> Iterator[None]:
    before = open_descriptors()
    yield
    assert open_descriptors() == before


@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize("name", MAP_NAMES)
def test_the_compiled_maps_have_the_layout_of_this_schema(map_factory: MapFactory, family: Family, name: str) -> None:
    with BpfMap.open(map_factory.template(family) / name) as this:
        check_layout(name, family, this.layout)
        assert this.info.name == name


@pytest.mark.parametrize("count", [0, 1, 3, 1000, 70_000, 150_000])
def test_a_hash_gives_back_what_was_written(map_factory: MapFactory, count: int) -> None:
    pins = map_factory.new_maps(Family.IPV4, {"members": max(count, 1)})
    with BpfMap.open(pins.map(Family.IPV4, "members")) as members:
        keys = np.zeros(count, members.layout.key)
        keys["service_id"], keys["backend_id"] = np.arange(count), np.arange(count)[::-1]
        values = np.zeros(count, members.layout.value)
        values["sets"] = np.arange(count) * 7
        assert members.update(keys, values) == []
        read_keys, read_values = members.read()
        order = np.argsort(read_keys["service_id"])
        assert np.array_equal(read_keys[order], keys)
        assert np.array_equal(read_values[order], values)
        assert members.delete(keys[1:]) == []
        assert len(members.read()[0]) == min(count, 1)


@pytest.fixture
def members(map_factory: MapFactory) -> Iterator[BpfMap]:
    """A hash with room for five."""
    pins = map_factory.new_maps(Family.IPV4, {"members": 5})
    with BpfMap.open(pins.map(Family.IPV4, "members")) as opened:
        yield opened


def rows(this: BpfMap, *numbers: int) -> tuple[Rows, Rows]:
    keys, values = np.zeros(len(numbers), this.layout.key), np.zeros(len(numbers), this.layout.value)
    keys["backend_id"], values["sets"] = numbers, numbers
    return keys, values


def contents(this: BpfMap) -> dict[int, int]:
    keys, values = this.read()
    return dict(zip(keys["backend_id"].tolist(), values["sets"].tolist(), strict=True))


def test_rows_after_a_refused_one_are_written(members: BpfMap) -> None:
    members.update(*rows(members, 1, 2, 3, 4))
    keys, values = rows(members, 5, 6, 7, 1, 8, 2)
    values["sets"] += 100
    errors = members.update(keys, values)
    assert errors == [RowError(index, errno.E2BIG) for index in (1, 2, 4)]
    assert contents(members) == {1: 101, 2: 102, 3: 3, 4: 4, 5: 105}


def test_missing_rows_do_not_stop_a_delete(members: BpfMap) -> None:
    members.update(*rows(members, 1, 2, 3))
    assert members.delete(rows(members, 9, 1, 8, 7, 3, 6)[0]) == []
    assert contents(members) == {2: 2}


def test_one_key_is_looked_up(members: BpfMap) -> None:
    members.update(*rows(members, 3))
    assert members.lookup(rows(members, 3)[0][0])["sets"] == 3
    assert members.lookup((0, 3))["sets"] == 3
    assert members.lookup((0, 4)) is None


def test_many_keys_are_looked_up(members: BpfMap) -> None:
    members.update(*rows(members, 3, 4))
    found, values = members.lookup_rows(rows(members, 4, 9, 3)[0])
    assert found.tolist() == [True, False, True]
    assert values["sets"].tolist() == [4, 0, 3]


@pytest.mark.parametrize("room", [1, 2, 7])
def test_a_read_grows_its_buffer_when_a_bucket_is_fuller(
    map_factory: MapFactory, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    pins = map_factory.new_maps(Family.IPV4, {"members": 500})
    with BpfMap.open(pins.map(Family.IPV4, "members")) as this:
        this.update(*rows(this, *range(500)))
        monkeypatch.setattr(maps, "_CHUNK", room)
        assert contents(this) == {number: number for number in range(500)}


def test_an_array_is_read_whole_and_in_order(map_factory: MapFactory) -> None:
    pins = map_factory.new_maps(Family.IPV6, {"backends": 70_001})
    with BpfMap.open(pins.map(Family.IPV6, "backends")) as backends:
        changed = np.array([0, 3, 70_000], np.uint32)
        values = np.zeros(3, backends.layout.value)
        values["generation"] = [5, 6, 7]
        assert backends.update(changed, values) == []
        assert backends.update(np.array([70_001], np.uint32), values[:1]) == [RowError(0, errno.E2BIG)]
        keys, read = backends.read()
        assert np.array_equal(keys, np.arange(70_001))
        assert np.flatnonzero(read["generation"]).tolist() == changed.tolist()


def test_a_per_cpu_array_has_a_column_for_each_possible_cpu(map_factory: MapFactory) -> None:
    pins = map_factory.new_maps(Family.IPV4)
    with BpfMap.open(pins.map(Family.IPV4, "counters")) as counters:
        keys, values = counters.read()
        assert keys.tolist() == list(range(len(Counter)))
        assert values.shape == (len(Counter), libbpf.possible_cpus())
        assert counters.lookup(Counter.PASSED).tolist() == [0] * libbpf.possible_cpus()
        with pytest.raises(MapError, match="written by programs only"):
            counters.update(keys, values[:, 0])


def test_reading_ends_while_rows_come_and_go(map_factory: MapFactory) -> None:
    pins = map_factory.new_maps(Family.IPV4, {"members": 2_000})
    stop = threading.Event()
    with BpfMap.open(pins.map(Family.IPV4, "members")) as this:
        keys, values = rows(this, *range(2_000))
        this.update(keys[:1_000], values[:1_000])

        def churn() -> None:
            while not stop.is_set():
                this.update(keys[1_000:], values[1_000:])
                this.delete(keys[1_000:])

        thread = threading.Thread(target=churn)
        thread.start()
        try:
            for _ in range(200):
                assert set(contents(this)) >= set(range(1_000))
        finally:
            stop.set()
            thread.join()


def test_a_missing_pin_is_named() -> None:
    with pytest.raises(MapError, match="open pin /sys/fs/bpf/ebpflb-none: No such file"):
        BpfMap.open(Path("/sys/fs/bpf/ebpflb-none"))


def test_a_closed_map_says_so(members: BpfMap) -> None:
    members.close()
    with pytest.raises(MapError, match="closed"):
        members.read()
