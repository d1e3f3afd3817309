"""The scaling model: what is linear is found again, what is multiplied is, and the program prints all of it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest

from ebpflb.bench import scaling
from ebpflb.bench.apiserver_objects import Scale
from ebpflb.bench.measure import Progress
from ebpflb.bench.scaling_model import (
    Cluster,
    Costs,
    Point,
    Wire,
    errors,
    fitted,
    map_bytes,
    needs_of,
    sizes_for,
)
from ebpflb.bench.scaling_points import CHECKS, SCALES
from ebpflb.bench.scaling_record import rounded
from ebpflb.datapath.build import MapSizes
from ebpflb.errors import EbpflbError

WIRE = Wire(service=1_000, slice=2_000, endpoint=250)
LARGE = Cluster(nodes=1_000, services=100_000, endpoints=1_000_000, load_balancers=1_000)


def point(services: int, each: int) -> Point:
    endpoints = services * each
    return Point(
        services=services,
        endpoints=endpoints,
        resident_bytes=50e6 + 1_000 * services + 200 * endpoints,
        start_cpu_s=1.0 + 1e-4 * services + 1e-5 * endpoints,
        start_s=2.0 + 1e-4 * services + 1e-5 * endpoints,
        map_bytes=map_bytes(MapSizes(), services),
        change_s=0.002,
        change_cpu_s=0.001,
        burst_event_s=0.0005,
    )


POINTS = [point(500, 2), point(2_000, 10), point(5_000, 2), point(10_000, 10)]
COSTS: Costs = fitted(POINTS, WIRE)


def test_what_is_linear_is_found_again() -> None:
    assert COSTS.resident_bytes == pytest.approx((50e6, 1_000, 200))
    assert COSTS.start_s == pytest.approx((2.0, 1e-4, 1e-5))
    assert errors(COSTS, point(20_000, 5)) == pytest.approx(dict.fromkeys(errors(COSTS, POINTS[0]), 0.0), abs=1e-9)


def test_nothing_gets_cheaper_by_more_objects() -> None:
    odd = [replace(each, start_s=3.0 - 1e-5 * each.services) for each in POINTS]
    assert min(fitted(odd, WIRE).start_s) == 0.0


def test_an_error_is_how_much_the_model_is_above_what_was_measured() -> None:
    measured = replace(point(5_000, 10), resident_bytes=2 * point(5_000, 10).resident_bytes, change_s=0.001)
    found = errors(COSTS, measured)
    assert found["resident_bytes"] == pytest.approx(-0.5)
    assert found["change_s"] == pytest.approx(1.0)


def test_what_a_cluster_needs_follows_from_objects_and_rates() -> None:
    needs = needs_of(COSTS, LARGE)
    slice_bytes = 2_000 + 10 * 250
    assert needs.events_s == pytest.approx(1_000_000 * 4 / 86_400)
    assert needs.node_bytes_s == pytest.approx(needs.events_s * slice_bytes)
    assert needs.cluster_bytes_s == pytest.approx(1_000 * needs.node_bytes_s)
    assert needs.list_bytes == 100_000 * (1_000 + slice_bytes)
    assert needs.resident_bytes == pytest.approx(50e6 + 100e6 + 200e6)
    assert needs.converge_s == pytest.approx(0.002 + 10_000 * 4 * 0.0005)
    assert needs.rollout_bytes == pytest.approx(10_000 * 4 * slice_bytes * 1_000)
    assert needs.cpu == pytest.approx(needs.events_s * 0.001)


def test_pods_that_live_longer_make_fewer_events() -> None:
    slow = needs_of(COSTS, replace(LARGE, pod_days=10.0))
    assert slow.events_s == pytest.approx(needs_of(COSTS, LARGE).events_s / 10)


def test_maps_are_as_large_as_the_cluster_asks() -> None:
    sizes = sizes_for(LARGE)
    assert sizes.frontends >= 200_000 + 3_000
    assert sizes.services >= 100_000
    assert sizes.backends >= 1_000_000
    assert sizes.slots >= 100_000 * 16 + 1_000 * 1_021
    assert set(needs_of(COSTS, LARGE).sizes) == {"frontends", "services", "backends", "slots"}
    assert sizes_for(Cluster(100, 1_000, 10_000)) == MapSizes()
    assert not needs_of(COSTS, Cluster(100, 1_000, 10_000)).sizes


def test_a_row_costs_what_the_kernel_takes_for_it() -> None:
    one = map_bytes(MapSizes(), 1) - map_bytes(MapSizes(), 0)
    assert one == 2 * (48 + 8 + 32 + 8) + (48 + 8 + 200 + 8), "a frontend, its address, a name"
    assert map_bytes(MapSizes(slots=2_097_152), 0) - map_bytes(MapSizes(), 0) == 4 * 1_048_576


def test_the_program_prints_points_costs_errors_and_needs(capsys: pytest.CaptureFixture[str]) -> None:
    assert scaling.main(["--nodes", "7", "--nodes", "70", "--services", "1000", "--endpoints", "5000"]) == 0
    out = capsys.readouterr().out
    assert "| | 7 nodes | 70 nodes |" in out
    assert "Map sizes: the defaults" in out
    for words in ("| fitted |", "| checked |", "| model's error |", "| watch, all nodes |"):
        assert words in out
    assert scaling.main([]) == 0
    assert "Map sizes: `--map-size frontends=" in capsys.readouterr().out


def test_measured_points_take_the_place_of_recorded_ones(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Scale] = []

    def measured(scales: Sequence[Scale], progress: Progress) -> list[Point]:
        asked.extend(scales)
        progress("a cluster")
        return [point(scale.services, scale.endpoints) for scale in scales]

    monkeypatch.setattr(scaling, "measure_points", measured)
    assert scaling.main(["--measure"]) == 0
    printed = capsys.readouterr()
    assert asked == [*SCALES, *CHECKS]
    assert "| resident_bytes | +0.0% | +0.0% |" in printed.out.replace("-0.0%", "+0.0%")
    assert printed.err == "scaling: a cluster\n"


def test_a_record_is_kept_in_the_repository_and_its_page(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    page, record = tmp_path / "scaling.md", tmp_path / "scaling_recorded.py"
    page.write_text(Path("docs/scaling.md").read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(scaling, "RECORD", record)
    monkeypatch.setattr(scaling, "measure_points", lambda scales, _: [point(*scale_of(each)) for each in scales])
    assert scaling.main(["--measure", "--record", str(page)]) == 0
    printed, text = capsys.readouterr().out.splitlines(), page.read_text(encoding="utf-8")
    assert not set(printed) - set(text.splitlines())
    assert text.count("| fitted |") == len(SCALES)
    names: dict[str, object] = {}
    exec(record.read_text(encoding="utf-8"), names)
    assert names["FITTED"] == tuple(rounded(point(*scale_of(each))) for each in SCALES)


def scale_of(scale: Scale) -> tuple[int, int]:
    return scale.services, scale.endpoints


def test_a_page_without_the_tables_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    page, record = tmp_path / "page.md", tmp_path / "scaling_recorded.py"
    page.write_text("# Another page\n", encoding="utf-8")
    monkeypatch.setattr(scaling, "RECORD", record)
    assert scaling.main(["--record", str(page)]) == 2
    assert "the page has 0 paragraphs that begin with '| measured" in capsys.readouterr().err
    assert scaling.main(["--record", str(tmp_path / "none.md")]) == 1
    assert (page.read_text(encoding="utf-8"), record.exists()) == ("# Another page\n", False)


def test_an_interrupted_or_failed_measurement_prints_no_tables(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for error, code in ((KeyboardInterrupt(), 130), (EbpflbError("no root"), 1)):
        monkeypatch.setattr(scaling, "measure_points", Mock(side_effect=error))
        assert scaling.main(["--measure"]) == code
        assert not capsys.readouterr().out


@pytest.mark.parametrize("words", [["--nodes", "0"], ["--services", "-3"], ["--endpoints", "x"]])
def test_impossible_numbers_are_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        scaling.main(words)
    assert caught.value.code == 2
    assert words[0] in capsys.readouterr().err


def test_the_page_shows_what_the_program_prints(capsys: pytest.CaptureFixture[str]) -> None:
    assert scaling.main([]) == 0
    page = Path("docs/scaling.md").read_text(encoding="utf-8").splitlines()
    missing = [line for line in capsys.readouterr().out.splitlines() if line not in page]
    assert not missing, "docs/scaling.md shows other points than scaling_recorded.py has"
