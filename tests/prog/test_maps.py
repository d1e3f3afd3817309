"""Maps through batch syscalls, against the kernel."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ebpflb.core.abi import Family
from ebpflb.datapath.layout import MAP_NAMES, check_layout
from ebpflb.datapath.maps import BpfMap
from tests.prog.fixtures_maps import MapFactory, map_factory, session_maps

pytestmark = pytest.mark.root
__all__ = ["map_factory", "session_maps"]


@pytest.fixture(autouse=True)
def no_descriptor_leaks() -> Iterator[None]:
    before = len(list(Path("/proc/self/fd").iterdir()))
    yield
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize("name", MAP_NAMES)
def test_the_compiled_maps_have_the_layout_of_this_schema(map_factory: MapFactory, family: Family, name: str) -> None:
    with BpfMap.open(map_factory.template(family) / name) as this:
        check_layout(name, family, this.layout)
        assert this.info.name == name


def u32(*numbers: int) -> np.ndarray[tuple[int], np.dtype[np.uint32]]:
    return np.array(numbers, dtype=np.uint32)


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
