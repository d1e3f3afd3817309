"""P13: what the kernel has allocated for the state of Services and of the node. P13b: what an entry of ``flows`` takes.

    cluster --compile_tables--> rows --> maps as the agent makes them --fdinfo--> bytes a map

Memory is what the kernel charges for a map (``memlock`` of fdinfo), whether rows use it or not: of an array all of it,
of a hash its buckets and its entries. Programs' own maps (flows, affinity, sockets, fragments) do not count as state
of Services; they stand in the details.
"""

from collections.abc import Mapping
from typing import Final

from ebpflb.bench.figures import Result, judge, unmeasured
from ebpflb.bench.map_memory import MapFolder, MapMemory, state_bytes
from ebpflb.bench.measure import Effort, Measured, Point, Progress, RefusedError, Series
from ebpflb.bench.state_cluster import Cluster
from ebpflb.core.abi import Algorithm, Family
from ebpflb.core.compile import compile_tables
from ebpflb.core.ids import Allocation
from ebpflb.core.tables import Tables
from ebpflb.reconcile.limits import limits_of

CLUSTER: Final = Cluster(services=10_000, endpoints=10, load_balancers=100)
GROWTH: Final = (0, 1_000, 5_000)
"""Services of the curve, besides ``CLUSTER``'s."""
FLOWS: Final = 1 << 16
_MB: Final = 1e6
_BUCKET_BYTES: Final = 16
_MAGLEV_SLOTS: Final = 1_021


def measure(effort: Effort, progress: Progress) -> Measured:
    """Measure P13 and P13b in IPv4; in a whole run IPv6 stands beside them."""
    families = (Family.IPV4,) if effort.is_quick else tuple(Family)
    memory = {family: _state(family, CLUSTER, progress) for family in families}
    flows = {family: _flow_bytes(family, FLOWS, progress) for family in families}
    points = [] if effort.is_quick else [_point(services, progress) for services in GROWTH]
    points.append(Point(CLUSTER.services, state_bytes(memory[Family.IPV4]) / _MB))
    curve = Series(
        id="map_memory",
        title="Memory of the maps that describe Services",
        x="Services of 10 endpoints, 1 % of type LoadBalancer",
        y="MB",
        points={"ebpflb": points},
    )
    return Measured((_state_result(memory), _flow_result(flows)), (curve,) if len(points) > 1 else ())


def _state(family: Family, cluster: Cluster, progress: Progress) -> Mapping[str, MapMemory]:
    """Return the memory of each map with a cluster's rows in them."""
    progress(f"{family.name}, {cluster.services:,} Services")
    with MapFolder(family) as maps:
        snapshot = cluster.snapshot(family)
        compiled = compile_tables(snapshot, family, Allocation(), limits_of(maps.store))
        if compiled.refused:
            raise RefusedError(f"the cluster does not fit the maps' default sizes: {compiled.refused[0]}")
        maps.write(compiled.tables)
        check_rows(compiled.tables, maps.store.read(), cluster)
        return maps.memory()


def check_rows(written: Tables, read: Tables, cluster: Cluster) -> None:
    """Raise ``RefusedError`` unless the maps have what the figure speaks of."""
    tables = {row.cluster for row in read.frontends.values() if row.algorithm is Algorithm.MAGLEV}
    tables = {where for where in tables if where.length >= _MAGLEV_SLOTS}
    if len(tables) != cluster.load_balancers and cluster.endpoints > 1:
        raise RefusedError(f"the maps have {len(tables)} Maglev tables, {cluster.load_balancers} were meant")
    if len(read.backends) != cluster.services * cluster.endpoints:
        raise RefusedError(f"the maps have {len(read.backends)} backends")
    if read.frontends != written.frontends or read.services != written.services:
        raise RefusedError("the maps do not have the rows that were written")


def _point(services: int, progress: Progress) -> Point:
    cluster = Cluster(services, CLUSTER.endpoints, services // 100)
    return Point(services, state_bytes(_state(Family.IPV4, cluster, progress)) / _MB)


def _state_result(memory: Mapping[Family, Mapping[str, MapMemory]]) -> Result:
    detail: dict[str, float] = {}
    for family, maps in memory.items():
        prefix = family.name.lower()
        detail[f"{prefix}_service_state_bytes"] = state_bytes(maps)
        detail[f"{prefix}_flow_state_bytes"] = sum(each.bytes for each in maps.values()) - state_bytes(maps)
        detail |= {f"{prefix}_{name}_bytes": each.bytes for name, each in maps.items()}
    return judge(
        "P13",
        state_bytes(memory[Family.IPV4]) / _MB,
        detail=detail,
        note="all maps but those that programs write about traffic, at their default sizes; IPv4",
    )


def _flow_bytes(family: Family, count: int, progress: Progress) -> Mapping[str, float]:
    """Return what entries of ``flows`` take, by what is counted."""
    progress(f"{family.name}, {count:,} flow entries")
    with MapFolder(family) as maps:
        before = maps.memory()["flows"]
        maps.add_flows(count)
        after = maps.memory()["flows"]
    buckets = _BUCKET_BYTES * (1 << (after.max_entries - 1).bit_length()) / after.max_entries
    return {"entry": (after.bytes - before.bytes) / count, "bucket": buckets}


def _flow_result(flows: Mapping[Family, Mapping[str, float]]) -> Result:
    detail = {
        f"{family.name.lower()}_{name}_bytes": value for family, parts in flows.items() for name, value in parts.items()
    }
    entry = flows[Family.IPV4]["entry"]
    if entry <= 0:
        return unmeasured("P13b", "this kernel charges a hash for all its entries at once (Linux before 6.4)")
    return judge(
        "P13b",
        entry,
        detail=detail,
        note="key, value and the kernel's header; the bucket of a full table is beside it. A flow has two entries",
    )
