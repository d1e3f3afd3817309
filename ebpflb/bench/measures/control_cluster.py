"""P10 to P12 over a cluster of the user's: in a namespace of the run's own, which goes at its end.

    kubeconfig --Relay, Cluster--> Services, step by step --Rig.run--> OurRuns, what the cluster has beside

The agent is in its node's namespace, where it has nothing but the relay; programs and maps are the lab's. It sees the
whole cluster, as any agent does: what that has of its own is told beside the figures. A change counts from the moment
at which its PATCH is sent: what the API server takes to store it and to tell of it is in the figure.
"""

import re
from dataclasses import replace
from pathlib import Path
from typing import Final

from ebpflb.bench.cluster import Cluster
from ebpflb.bench.measure import Effort, Progress, RefusedError
from ebpflb.bench.measures.control_results import FULL, OurRuns, OurTimes
from ebpflb.bench.measures.control_rig import Changing, Rig
from ebpflb.bench.relay import NO_EXCEPTIONS, Relay

_QUICK_SERVICES: Final = 1_000
_STEPS: Final = (50, 5, 1)
"""Sizes of the runs: the full number of Services, divided."""
_SERVED: Final = re.compile(r"\bservices=(\d+)")


def measure_cluster(
    rig: Rig, effort: Effort, changing: Changing, rounds: int, progress: Progress
) -> tuple[OurRuns, dict[str, str]]:
    """Run the agent over a cluster at several sizes; return the runs, and what is to be said of the cluster.

    Raises ``EbpflbError`` where the cluster refuses something, and where something is left in it.
    """
    original = Path(effort.kubeconfig)
    services = effort.services or (_QUICK_SERVICES if effort.is_quick else FULL.services)
    with Relay(rig.lab.node(1)) as relay, Cluster(original, FULL.endpoints) as cluster:
        # No Node has this name: an agent must not take the place of one that is there.
        there = replace(rig, node_name=cluster.namespace, environment=NO_EXCEPTIONS)
        kubeconfig = relay.write_kubeconfig(original, rig.folder / "kubeconfig")
        few = Changing(changing.most // 10, changing.seconds)
        plan = [(size, changing if size == services else few) for size in sizes(services)]
        plan += [(services, Changing())] * (rounds - 1)
        runs: list[OurTimes] = []
        for size, each in plan:
            cluster.grow(size, progress)
            if runs:
                rig.empty()
            times, ready = there.run(cluster, kubeconfig, progress, each)
            runs.append(times)
        progress(f"deleting the namespace {cluster.namespace}")
    least, small, *full = runs
    note = f"a cluster with {services:,} Services of the run's and {_served(ready) - services:,} others"
    facts = {"cluster": f"{note}; an API event is counted from its request"}
    return OurRuns((least, small, full[0]), (least, small, full[0]), tuple(full), note), facts


def sizes(services: int) -> list[int]:
    """Return how many Services the runs have, from the smallest to the largest."""
    return [max(1, services // step) for step in _STEPS]


def _served(ready: str) -> int:
    """Return how many Services an agent served when it said that it was ready. Raises ``RefusedError``."""
    found = _SERVED.search(ready)
    if not found:
        raise RefusedError(f"the agent does not say how many Services it serves: {ready}")
    return int(found[1])
