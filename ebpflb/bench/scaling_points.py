"""Measures the points of the scaling model: a real agent over an API server of the bench, at several sizes.

    Scale --lab, ApiServer, agent--> Point          JSON of the bench's objects --> Wire

Decides what is read off an agent. Knows no model.
"""

import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from ebpflb.bench.agent_run import AgentInstance, AgentRun
from ebpflb.bench.apiserver import ApiServer
from ebpflb.bench.apiserver_objects import SERVICE_PORT, Scale, endpoint_addresses, service_address, service_json
from ebpflb.bench.apiserver_objects import slice_json as endpoint_slice_json
from ebpflb.bench.landing import Landing
from ebpflb.bench.map_memory import memory_of_maps, state_bytes
from ebpflb.bench.measure import Progress, RefusedError
from ebpflb.bench.plan import IPV4_ONLY
from ebpflb.bench.scaling_model import Point, Wire
from ebpflb.bench.topology import Lab
from ebpflb.core.abi import Family

SCALES: Final = (Scale(500, 2), Scale(2_000, 10), Scale(5_000, 2), Scale(10_000, 10))
"""That the model is fitted to."""
CHECKS: Final = (Scale(5_000, 10), Scale(20_000, 5))
"""That it is compared with."""
_CHANGES: Final = 40
_PAUSE_S: Final = 0.02
_IDLE_S: Final = 1.0
_TICK_S: Final = 1 / os.sysconf("SC_CLK_TCK")
_BURST: Final = 300
_EVENT_BYTES: Final = len('{"type":"MODIFIED","object":}\n')


def wire() -> Wire:
    """Return the bytes of the bench's objects in a watch."""
    empty, ten = (len(endpoint_slice_json(12_345, count)) for count in (0, 10))
    return Wire(len(service_json(12_345)) + _EVENT_BYTES, empty + _EVENT_BYTES, (ten - empty) / 10)


def measure_points(scales: Sequence[Scale], progress: Progress) -> list[Point]:
    """Run an agent over a cluster of each size. Needs root."""
    with (
        tempfile.TemporaryDirectory(prefix="ebpflb-scaling-") as name,
        Lab("scaling", nodes=1, pods_per_node=1, families=IPV4_ONLY) as lab,
    ):
        bed = _Bed(lab, Path(name))
        (bed.folder / "empty").mkdir()
        try:
            progress("building the programs")
            bed.instance().prepare()
            return [bed.point(scale, progress) for scale in scales]
        finally:
            bed.instance().cleanup()


@dataclass(frozen=True, slots=True)
class _Bed:
    """One node whose agent is run again and again: its programs stay, its maps are emptied in between."""

    lab: Lab
    folder: Path

    def instance(self, *source: str) -> AgentInstance:
        """Return the node's agent, told of a source; without one, of an empty folder of manifests."""
        empty = ("--manifests", str(self.folder / "empty"))
        return AgentInstance(self.lab.node(1), self.lab.id, source or empty, self.folder / "state")

    def point(self, scale: Scale, progress: Progress) -> Point:
        progress(f"{scale.services:,} Services x {scale.endpoints}")
        with ApiServer(self.lab.node(1), scale) as server:
            kubeconfig = server.write_kubeconfig(self.folder / "kubeconfig")
            point = _point(server, self.instance("--kubeconfig", str(kubeconfig)))
        agent = self.instance().start()
        try:
            agent.seconds_to_ready()
        finally:
            agent.stop()
        return point


def _point(server: ApiServer, instance: AgentInstance) -> Point:
    agent = instance.start()
    try:
        start_s, start_cpu_s = agent.seconds_to_ready(), _cpu_s(agent)
        with Landing(instance.pins) as landing:
            changes_s, spent_s, seconds = _changes(server, landing, agent)
            burst_s = _burst(server, landing)
        # Idle is what it is after all this: the last of a start's work goes on while it says that it is ready.
        change_cpu_s = max(spent_s - _idle_cpu(agent) * seconds, _TICK_S) / _CHANGES
        resident = float(agent.own_peak_bytes())
        maps = state_bytes(memory_of_maps(instance.pins.maps(Family.IPV4)))
    finally:
        agent.stop()
    scale = server.scale
    endpoints = scale.services * scale.endpoints
    times = (start_cpu_s, start_s, float(maps), median(changes_s), change_cpu_s, burst_s / _BURST)
    return Point(scale.services, endpoints, resident, *times)


def _changes(server: ApiServer, landing: Landing, agent: AgentRun) -> tuple[list[float], float, float]:
    """Change one Service after another; return the seconds of each, the agent's CPU seconds and those that it took."""
    latencies = []
    began, before = time.monotonic(), _cpu_s(agent)
    for number in range(_CHANGES):
        order = server.order_change(number)
        landed_ns = _await(landing, server.scale, number)
        latencies.append((landed_ns - server.written_ns(order)) / 1e9)
        time.sleep(_PAUSE_S)  # each change shall come alone, as changes do
    return latencies, _cpu_s(agent) - before, time.monotonic() - began


def _idle_cpu(agent: AgentRun) -> float:
    """Return the part of a core that the agent uses when nothing changes."""
    began, before = time.monotonic(), _cpu_s(agent)
    time.sleep(_IDLE_S)
    return (_cpu_s(agent) - before) / (time.monotonic() - began)


def _burst(server: ApiServer, landing: Landing) -> float:
    """Change many Services at once; return the seconds until the last of them is in the map."""
    numbers = range(_CHANGES, _CHANGES + _BURST)
    orders = [server.order_change(number) for number in numbers]
    landed_ns = max(_await(landing, server.scale, number) for number in numbers)
    return (landed_ns - server.written_ns(orders[0])) / 1e9


def _await(landing: Landing, scale: Scale, number: int) -> int:
    wanted = endpoint_addresses(number, scale.endpoints, is_changed=True)
    return landing.await_addresses((service_address(number), SERVICE_PORT), wanted)


def _cpu_s(agent: AgentRun) -> float:
    """Return the CPU time that the process has used."""
    words = Path(f"/proc/{agent.running.pid}/stat").read_text().rpartition(")")[2].split()
    ticks = int(words[11]) + int(words[12])
    if not ticks:
        raise RefusedError("the agent seems to have used no CPU time at all")
    return ticks * _TICK_S
