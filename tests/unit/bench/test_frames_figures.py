"""What becomes of the bursts' values: figures, curves, or a refusal."""

from collections.abc import Mapping

import pytest

from ebpflb.bench.frame_contenders import DROP, FEW, FORWARDING, LEGACY, MANY, NFT, NFTABLES, SWAP, ours
from ebpflb.bench.frame_lanes import Way, services
from ebpflb.bench.frame_ours import documents
from ebpflb.bench.measure import RefusedError
from ebpflb.bench.measures.frames import check, name_of, results_of, series_of
from ebpflb.bench.rounds import Rounds

NETFILTER = {FORWARDING: 500.0, LEGACY: 900.0, NFT: 1000.0, NFTABLES: 800.0}


def rounds_of(changes: Mapping[tuple[str, Way], float] | None = None) -> Rounds:
    values = {(contender, way): value for contender, value in NETFILTER.items() for way in Way}
    for count in (FEW, MANY):
        values |= {(ours(count), Way.STACK): 400.0, (ours(count), Way.LOCAL): 150.0, (ours(count), Way.REMOTE): 125.0}
    values |= {(SWAP, Way.REMOTE): 100.0, (DROP, Way.REMOTE): 70.0, **(changes or {})}
    return Rounds({name_of(*key): [value, value] for key, value in values.items()})


def test_figures_compare_who_they_say() -> None:
    results = {result.id: result for result in results_of(rounds_of())}
    assert results["P6"].value == pytest.approx(100 / 125)
    assert not results["P6"].met
    assert results["P7"].value == pytest.approx(900 / 400)
    assert results["P7"].met
    assert results["P8"].value == pytest.approx(900 / 150)
    assert results["P8"].detail["remote_ratio"] == pytest.approx(900 / 125)
    assert results["P9c"].value == pytest.approx(1.0)


def test_the_peer_is_the_faster_back_end_of_iptables() -> None:
    results = {result.id: result for result in results_of(rounds_of({(NFT, Way.STACK): 850.0}))}
    assert results["P7"].value == pytest.approx(850 / 400)
    assert "against iptables-nft" in results["P7"].note


def test_without_iptables_there_is_nothing_to_compare_with() -> None:
    values = {name: values for name, values in rounds_of().values.items() if not name.startswith("iptables")}
    results = {result.id: result for result in results_of(Rounds(values))}
    assert (results["P7"].value, results["P8"].met, results["P6"].met) == (None, False, False)
    check(Rounds(values))


def test_growth_is_that_of_the_worst_way() -> None:
    results = {result.id: result for result in results_of(rounds_of({(ours(MANY), Way.LOCAL): 180.0}))}
    assert results["P9c"].value == pytest.approx(1.2)
    assert Way.LOCAL.words in results["P9c"].note


def test_values_that_cannot_be_are_refused() -> None:
    check(rounds_of())
    with pytest.raises(RefusedError, match="iptables-legacy forwards faster"):
        check(rounds_of({(LEGACY, Way.STACK): 499.0}))
    with pytest.raises(RefusedError, match="to drop a frame"):
        check(rounds_of({(DROP, Way.REMOTE): 101.0}))
    with pytest.raises(RefusedError, match="the floor is none"):
        check(rounds_of({(ours(FEW), Way.REMOTE): 90.0}))


def test_a_bar_is_at_its_contenders_place() -> None:
    series = series_of(rounds_of())
    swap = series.labels.index(SWAP)
    (bar,) = [point for point in series.points["remote"] if point.x == swap]
    assert bar.y == pytest.approx(10.0)  # 100 ns
    assert swap not in [point.x for point in series.points["stack"]]


def test_the_ways_services_come_last_and_have_one_backend_each() -> None:
    listed = services(10)
    assert len({service.address for service in listed}) == 10
    assert [service.endpoints for service in listed[-3:]] == [((way.backend, 5353),) for way in Way]
    service, endpoints = documents(listed[-1])
    assert service["spec"]["clusterIP"] == Way.REMOTE.service.address
    assert endpoints["endpoints"] == [{"addresses": [Way.REMOTE.backend]}]
