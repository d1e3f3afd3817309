"""How samples of requests become curves."""

from ebpflb.bench.generator.driver import Timing
from ebpflb.bench.measures.requests import Sample, all_series
from ebpflb.bench.modes import DIRECT, SOCKET


def sample(elapsed: int) -> Sample:
    return Sample(
        Timing(operations=1000, elapsed=elapsed, cpu=elapsed // 2, least=1, median=2000, p99=3000, p999=4000),
        elapsed // 2,
    )


def test_every_plot_has_every_mode() -> None:
    samples = {DIRECT: [sample(10_000_000)], SOCKET: [sample(20_000_000), sample(20_000_000)]}
    plots = {series.id: series for series in all_series(samples, samples, samples)}
    assert set(plots) == {"request_rate", "request_latency", "request_cpu", "bulk"}
    assert all(series.labels == [DIRECT, SOCKET] for series in plots.values())
    assert [point.y for point in plots["request_rate"].points["on a connection"]] == [100_000, 50_000]
    assert [point.y for point in plots["request_cpu"].points["on a connection"]] == [10, 20]
    assert {name: points[0].y for name, points in plots["request_latency"].points.items()} == {
        "p50": 2,
        "p99": 3,
        "p99.9": 4,
    }
    assert [point.y for point in plots["bulk"].points["one connection"]] == [800, 400]
