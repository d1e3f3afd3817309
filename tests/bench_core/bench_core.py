"""What the pure half of the control plane costs: compiling, comparing, Maglev tables. Figures, not tests.

Not collected by `make test`: `python -m pytest tests/bench_core -o python_files='bench_*.py'` runs it; with
`--benchmark-autosave` and `--benchmark-compare` the figures of two versions stand beside each other.
"""

from collections.abc import Callable
from functools import cache
from typing import ParamSpec, TypeVar, cast

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from ebpflb.bench.measures.maglev import LARGE, MANY, Shape, numpy_tables, plain_table, sets_of
from ebpflb.bench.state_cluster import Cluster
from ebpflb.core.abi import Family
from ebpflb.core.compile import Compiled, compile_tables
from ebpflb.core.diff import diff
from ebpflb.core.holdings import Limits
from ebpflb.core.ids import Allocation
from ebpflb.core.maglev import maglev_table, table_size
from ebpflb.core.tables import Tables

SMALL, FULL = Cluster(100, 10, 1), Cluster(10_000, 10, 100)
CLUSTERS = pytest.mark.parametrize("cluster", [SMALL, FULL], ids=lambda each: f"{each.services}x{each.endpoints}")
LIMITS = Limits(
    frontends=1 << 16,
    backends=1 << 17,
    services=1 << 16,
    slots=1 << 20,
    members=1 << 17,
    local_backends=1 << 14,
    source_ranges=1 << 16,
)

P = ParamSpec("P")
R = TypeVar("R")


def timed(benchmark: BenchmarkFixture, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Time a few runs of what takes long, and return the last one's result."""
    pedantic = cast("Callable[..., R]", benchmark.pedantic)
    return pedantic(function, args, kwargs, rounds=5, warmup_rounds=1)


@cache
def compiled(cluster: Cluster) -> Compiled:
    """Return the rows of a cluster that is seen for the first time."""
    return compile_tables(cluster.snapshot(Family.IPV4), Family.IPV4, Allocation(), LIMITS)


@CLUSTERS
def test_compile_from_nothing(benchmark: BenchmarkFixture, cluster: Cluster) -> None:
    """The first snapshot after a start on an empty machine."""
    snapshot = cluster.snapshot(Family.IPV4)
    result = timed(benchmark, compile_tables, snapshot, Family.IPV4, Allocation(), LIMITS)
    assert not result.refused


@CLUSTERS
def test_compile_again(benchmark: BenchmarkFixture, cluster: Cluster) -> None:
    """A full comparison: all ids and ranges are known."""
    snapshot, before = cluster.snapshot(Family.IPV4), compiled(cluster)
    result = timed(benchmark, compile_tables, snapshot, Family.IPV4, before.allocation, LIMITS)
    assert not diff(result.tables, before.tables)


@CLUSTERS
def test_diff_from_nothing(benchmark: BenchmarkFixture, cluster: Cluster) -> None:
    """All rows are new."""
    assert benchmark(diff, compiled(cluster).tables, Tables(Family.IPV4))


@CLUSTERS
def test_diff_of_equals(benchmark: BenchmarkFixture, cluster: Cluster) -> None:
    """Nothing to do is the answer, after all rows were compared."""
    again = compile_tables(cluster.snapshot(Family.IPV4), Family.IPV4, compiled(cluster).allocation, LIMITS)
    assert not benchmark(diff, again.tables, compiled(cluster).tables)


@pytest.mark.parametrize("backends", [3, 10, 100, 1_000])
def test_maglev_table(benchmark: BenchmarkFixture, backends: int) -> None:
    """One table of the size that so many backends get."""
    (identities,) = sets_of(Shape(1, backends, 0))
    size = table_size(backends)
    assert len(benchmark(maglev_table, identities, [1] * backends, size)) == size


@pytest.mark.parametrize("shape", [MANY, LARGE], ids=["many", "large"])
@pytest.mark.parametrize("way", ["numpy", "loop"])
def test_maglev_against_the_loop(benchmark: BenchmarkFixture, shape: Shape, way: str) -> None:
    """What P14 and P14b compare."""
    sets = sets_of(shape)
    if way == "numpy":
        timed(benchmark, numpy_tables, sets, shape.size)
    else:
        timed(benchmark, lambda: [plain_table(each, shape.size) for each in sets])
