"""P10 to P12 as arithmetic: what is divided by what, and what is said of a peer that was smaller than ours."""

import pytest

from ebpflb.bench.apiserver_objects import Scale
from ebpflb.bench.figures import Result
from ebpflb.bench.measures.control_peers import PeerTimes
from ebpflb.bench.measures.control_plane import middle, up_to
from ebpflb.bench.measures.control_results import FULL, OurRuns, OurTimes, conclude, draw

LEAST = OurTimes(Scale(100, 10), 1.0, (0.001,), 50_000_000)
CHANGES = tuple(number / 1000 for number in range(1, 102))


def run(services: int, seconds: float, endpoints: int = 5) -> OurTimes:
    return OurTimes(Scale(services, endpoints), seconds, (), 0)


def results(peer: PeerTimes, note: str = "") -> dict[str, Result]:
    full = (
        OurTimes(FULL, 3.0, CHANGES, 100_000_000),
        OurTimes(FULL, 5.0, (), 110_000_000),
        OurTimes(FULL, 4.0, (), 90_000_000),
    )
    ours = OurRuns((LEAST, full[0]), (LEAST, run(2_100, 2.0), run(10_100, 5.0)), full, note)
    return {each.id: each for each in conclude(ours, peer)}


def test_ours_is_divided_by_a_peer_of_the_same_size() -> None:
    found = results(PeerTimes(FULL, 80.0, (0.2, 0.1, 0.4)))
    assert found["P10"].value == pytest.approx(4.0 / 80.0)
    assert found["P10"].peer == 80.0
    assert "nft -f had" not in found["P10"].note
    assert found["P11"].value == pytest.approx(0.051 / 0.2)
    assert found["P11b"].value == pytest.approx(0.100 / 0.2)


def test_a_smaller_peer_is_taken_in_proportion_and_named() -> None:
    found = results(PeerTimes(Scale(2_500, 10), 8.0, (0.2,)))
    assert found["P10"].value == pytest.approx(4.0 / 32.0)
    assert "2,500" in found["P10"].note
    assert found["P11"].value == pytest.approx(0.051 / 0.2), "a change is never scaled"


def test_growth_leaves_out_what_any_start_takes() -> None:
    found = results(PeerTimes(FULL, 80.0, (0.2,)))
    assert found["P10b"].value == pytest.approx((4.0 / 10_000) / (1.0 / 2_000))


def test_growth_is_that_of_the_runs_in_the_middle() -> None:
    runs = [run(10, seconds) for seconds in (1.9, 1.2, 1.3)]
    assert [middle(runs), middle(runs[:1])] == [runs[2], runs[0]]


def test_every_figure_says_what_was_not_as_it_should_be() -> None:
    notes = [found.note for found in results(PeerTimes(FULL, 80.0, (0.2,)), note="of a cluster").values()]
    assert len(notes) == 5
    assert all("of a cluster" in note for note in notes)


def test_memory_is_the_worst_of_the_runs() -> None:
    assert results(PeerTimes(FULL, 80.0, (0.2,)))["P12"].value == pytest.approx(110.0)


def test_curves_have_every_mode_at_its_sizes() -> None:
    peers = {"nftables": [PeerTimes(Scale(10, 10), 0.1, (0.02, 0.04)), PeerTimes(Scale(100, 10), 0.5, (0.03,))]}
    whole, change = draw([LEAST], peers)
    assert [point.x for point in whole.points["nftables"]] == [10, 100]
    assert whole.points["ebpflb"][0].y == 1.0
    assert change.points["nftables"][0].y == pytest.approx(0.03)


def test_a_peer_has_as_many_services_as_ours_if_it_may() -> None:
    scales = (Scale(100, 10), Scale(1_000, 10), Scale(3_000, 10))
    assert [each.services for each in up_to(scales, 50)] == [50]
    assert [each.services for each in up_to(scales, 1_000)] == [100, 1_000]
    assert [each.services for each in up_to(scales, 10_000)] == [100, 1_000, 3_000]
