"""The measure of map memory, on real maps: what it adds up is what the kernel says, entries cost what they are."""

import pytest

from ebpflb.bench.map_memory import FLOW_MAPS, MapFolder
from ebpflb.bench.measure import Effort
from ebpflb.bench.measures import memory
from ebpflb.bench.scaling_model import map_bytes
from ebpflb.bench.state_cluster import Cluster
from ebpflb.core.abi import Family
from ebpflb.core.tables import TableName
from ebpflb.datapath.build import MapSizes
from ebpflb.datapath.layout import MAP_NAMES

pytestmark = pytest.mark.root


def test_a_quick_run_has_both_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "CLUSTER", Cluster(200, 10, 2))
    monkeypatch.setattr(memory, "FLOWS", 1_000)
    measured = memory.measure(Effort(is_quick=True), lambda _line: None)
    state, flow = measured.results
    assert (state.id, flow.id) == ("P13", "P13b")
    maps = {name: size for name, size in state.detail.items() if not name.endswith("_state_bytes")}
    counted = sum(size for name, size in maps.items() if name[5:-6] not in FLOW_MAPS)
    assert state.value == pytest.approx(counted / 1e6)
    assert {f"ipv4_{name}_bytes" for name in MAP_NAMES} <= maps.keys()
    assert maps["ipv4_slots_bytes"] >= 4 * MapSizes().slots
    modelled = map_bytes(MapSizes(), 200, 2) / 1e6
    assert state.value == pytest.approx(modelled, rel=0.03), "what docs/scaling.md computes without a kernel"
    assert flow.value is not None
    assert 48 <= flow.value <= 112, "key and value of 48 bytes, and the kernel's header"


def test_what_the_agent_writes_counts_as_state_of_services() -> None:
    assert not FLOW_MAPS & {"slots", *TableName}


def test_the_folder_leaves_nothing() -> None:
    with MapFolder(Family.IPV6, MapSizes(flows=4_096, slots=1_024)) as maps:
        found = maps.memory()
        root = maps.root
        assert root.exists()
    assert found.keys() >= {"flows", "pending", "affinity", "counters"}
    assert found["slots"].max_entries == 64
    assert not root.exists()
