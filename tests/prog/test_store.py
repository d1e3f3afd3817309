"""The contract of every ``MapStore``, on BPF maps, and what only real maps can show."""

from collections.abc import Iterator

import pytest

from ebpflb.core.abi import SLOTS_PER_LINE, Family
from ebpflb.datapath.store import PinnedMapStore
from tests.contract.map_store import CAPACITIES, SLOT_CAPACITY, MapStoreContract
from tests.prog.fixtures_maps import MapFactory, map_factory, session_maps

pytestmark = pytest.mark.root
__all__ = ["map_factory", "session_maps"]

SIZES = {table.value: size for table, size in CAPACITIES.items()} | {"slots": SLOT_CAPACITY // SLOTS_PER_LINE}


@pytest.fixture(params=Family)
def store(request: pytest.FixtureRequest, map_factory: MapFactory) -> Iterator[PinnedMapStore]:
    with PinnedMapStore(map_factory.new_maps(request.param, SIZES), request.param) as opened:
        yield opened


class TestPinnedMapStore(MapStoreContract):
    """Every test of the contract."""
