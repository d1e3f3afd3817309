"""Computes what a node and a cluster need from what was measured of small ones. Pure.

Decides which quantity grows with what. Knows no machine and no way to measure.

    Points --fitted--> Costs; Costs, Cluster --needs_of--> Needs        Costs, Point --errors--> how wrong

Resident memory and a start are taken as linear in Services and endpoints; a change as a constant; the memory of maps as
what the kernel allocates for rows and sizes, from the layouts alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ebpflb.core.abi import SLOTS_PER_LINE, Family
from ebpflb.core.maglev import table_size
from ebpflb.datapath.build import MapSizes
from ebpflb.datapath.layout import layout_of

_HASH_HEADER, _LIST_NODE, _BUCKET, _WORD = 48, 8, 16, 8
"""Of the kernel's hash: header of an entry, its list node when it is allocated alone, a bucket; rounding."""
_ROOM = 1.25
"""So much larger than needed is a map, that changes find room."""
_SECONDS_A_DAY = 86_400


@dataclass(frozen=True, slots=True)
class Point:
    """One agent over one cluster, as measured."""

    services: int
    endpoints: int
    """Of all Services together."""
    resident_bytes: float
    """Peak, at rest and through the changes."""
    start_cpu_s: float
    start_s: float
    map_bytes: float
    """Of all maps that describe Services, at default sizes."""
    change_s: float
    """From the API server's write to the map, one endpoint alone; median."""
    change_cpu_s: float
    """CPU time of the agent for it, above what it uses when nothing changes."""
    burst_event_s: float
    """Time for each event when many come at once."""


@dataclass(frozen=True, slots=True)
class Wire:
    """Bytes of objects as the API server sends them."""

    service: float
    slice: float
    """Without endpoints."""
    endpoint: float


@dataclass(frozen=True, slots=True)
class Costs:
    """What objects cost. Vectors are (fixed, a Service, an endpoint)."""

    resident_bytes: tuple[float, float, float]
    start_cpu_s: tuple[float, float, float]
    start_s: tuple[float, float, float]
    change_s: float
    change_cpu_s: float
    burst_event_s: float
    wire: Wire


@dataclass(frozen=True, slots=True)
class Cluster:
    """What is asked about."""

    nodes: int
    services: int
    endpoints: int
    load_balancers: int = 0
    pod_days: float = 1.0
    """How long an endpoint lives on average."""
    events_a_pod: float = 4.0
    """Of its slice, from its coming to its going: added, ready, terminating, removed."""
    rollout: float = 0.01
    """Part of all endpoints that is exchanged at once: a node of a hundred, a large Deployment."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What it takes."""

    resident_bytes: float
    map_bytes: float
    sizes: Mapping[str, int]
    """Values of ``--map-size``."""
    start_cpu_s: float
    list_bytes: float
    """That an agent reads at its start."""
    events_s: float
    """Events a second that a node hears."""
    node_bytes_s: float
    cluster_bytes_s: float
    cpu: float
    """Part of a core, of churn alone."""
    converge_s: float
    """After a rollout: until the last of its events is in the maps of a node, once the API server has sent it."""
    rollout_bytes: float
    """That all nodes together are sent for it."""


def fitted(points: Sequence[Point], wire: Wire) -> Costs:
    """Return the costs that come nearest to all points, by least squares of the relative error."""
    return Costs(
        resident_bytes=_plane(points, [each.resident_bytes for each in points]),
        start_cpu_s=_plane(points, [each.start_cpu_s for each in points]),
        start_s=_plane(points, [each.start_s for each in points]),
        change_s=float(np.median([each.change_s for each in points])),
        change_cpu_s=float(np.median([each.change_cpu_s for each in points])),
        burst_event_s=float(np.median([each.burst_event_s for each in points])),
        wire=wire,
    )


def errors(costs: Costs, point: Point) -> dict[str, float]:
    """Return by how much of the measured value the model is above it (below: negative)."""
    size = (point.services, point.endpoints)
    modelled = {
        "resident_bytes": _at(costs.resident_bytes, *size),
        "start_cpu_s": _at(costs.start_cpu_s, *size),
        "start_s": _at(costs.start_s, *size),
        "map_bytes": map_bytes(MapSizes(), point.services),
        "change_s": costs.change_s,
        "change_cpu_s": costs.change_cpu_s,
        "burst_event_s": costs.burst_event_s,
    }
    return {name: value / getattr(point, name) - 1 for name, value in modelled.items()}


def needs_of(costs: Costs, cluster: Cluster) -> Needs:
    """Return what a cluster needs, on each node and in all."""
    size = (cluster.services, cluster.endpoints)
    slice_bytes = costs.wire.slice + costs.wire.endpoint * cluster.endpoints / cluster.services
    events_s = cluster.endpoints * cluster.events_a_pod / (cluster.pod_days * _SECONDS_A_DAY)
    rollout_events = cluster.endpoints * cluster.rollout * cluster.events_a_pod
    sizes = sizes_for(cluster)
    return Needs(
        resident_bytes=_at(costs.resident_bytes, *size),
        map_bytes=map_bytes(sizes, cluster.services, cluster.load_balancers),
        sizes={
            name: getattr(sizes, name)
            for name in ("frontends", "services", "backends", "slots", "members")
            if getattr(sizes, name) != getattr(MapSizes(), name)
        },
        start_cpu_s=_at(costs.start_cpu_s, *size),
        list_bytes=cluster.services * (costs.wire.service + slice_bytes),
        events_s=events_s,
        node_bytes_s=events_s * slice_bytes,
        cluster_bytes_s=events_s * slice_bytes * cluster.nodes,
        cpu=events_s * costs.change_cpu_s,
        converge_s=costs.change_s + rollout_events * costs.burst_event_s,
        rollout_bytes=rollout_events * slice_bytes * cluster.nodes,
    )


def sizes_for(cluster: Cluster) -> MapSizes:
    """Return map sizes that such a cluster of TCP Services fits into, powers of two, the defaults at least."""
    lines = -(-cluster.endpoints // cluster.services // SLOTS_PER_LINE) * cluster.services
    lines += cluster.load_balancers * _maglev_lines(cluster.endpoints / cluster.services)
    least = MapSizes()
    return MapSizes(
        frontends=_power(2 * cluster.services + 3 * cluster.load_balancers, least.frontends),
        services=_power(cluster.services, least.services),
        backends=_power(cluster.endpoints, least.backends),
        slots=_power(lines * SLOTS_PER_LINE, least.slots),
    )


def map_bytes(sizes: MapSizes, services: int, load_balancers: int = 0) -> float:
    """Return what the kernel allocates for the maps of IPv4 that describe Services: one port each, TCP.

    Endpoints count by the sizes alone: slots and backends are arrays, allocated for all that fit.
    """
    rows = {"frontends": 2 * services + 3 * load_balancers, "services": services}
    hashes = ("frontends", "services", "members", "local_backends", "node_addrs", "devices", "opt_outs")
    total = float(sum(_hash_bytes(name, getattr(sizes, name), rows.get(name, 0)) for name in hashes))
    return total + _value_bytes("backends") * sizes.backends + 4 * sizes.slots


def _hash_bytes(name: str, capacity: int, rows: int) -> int:
    layout = layout_of(name, Family.IPV4)
    entry = _HASH_HEADER + _rounded(layout.key.itemsize) + _rounded(layout.value.itemsize) + _LIST_NODE
    return _BUCKET * _power_above(capacity) + entry * rows


def _value_bytes(name: str) -> int:
    return _rounded(layout_of(name, Family.IPV4).value.itemsize)


def _maglev_lines(backends: float) -> int:
    return -(-table_size(round(backends)) // SLOTS_PER_LINE)


def _power(rows: float, least: int) -> int:
    return max(_power_above(int(rows * _ROOM)), least)


def _power_above(number: int) -> int:
    return 1 << max(number - 1, 0).bit_length()


def _rounded(size: int) -> int:
    return -(-size // _WORD) * _WORD


def _plane(points: Sequence[Point], values: Sequence[float]) -> tuple[float, float, float]:
    """Return the best plane whose costs are none below zero: nothing gets cheaper by more objects."""
    places = np.array([(1, each.services, each.endpoints) for each in points], dtype=float) / np.array(values)[:, None]
    used = [0, 1, 2]
    while True:
        found = np.linalg.lstsq(places[:, used], np.ones(len(points)), rcond=None)[0]
        if found.min() >= 0:
            break
        del used[int(found.argmin())]
    fixed, service, endpoint = (dict(zip(used, found.tolist(), strict=True)).get(column, 0.0) for column in range(3))
    return fixed, service, endpoint


def _at(plane: tuple[float, float, float], services: int, endpoints: int) -> float:
    fixed, service, endpoint = plane
    return fixed + service * services + endpoint * endpoints
