"""What kube-proxy's ways of loading rules take: everything at once, and one endpoint's change.

    sizes, endpoints --measure_mode--> PeerTimes of each size

Each size is loaded into a namespace of its own, which goes with its rules.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ebpflb.bench.apiserver_objects import Scale, peer_service, peer_services
from ebpflb.bench.measure import Progress
from ebpflb.bench.netfilter_load import ProxyMode, load_rules
from ebpflb.bench.topology import Lab


@dataclass(frozen=True, slots=True)
class PeerTimes:
    """One mode at one size."""

    scale: Scale
    whole_s: float
    changes_s: tuple[float, ...]
    """One endpoint's change each, of Services all over the cluster."""


def measure_mode(mode: ProxyMode, scales: Sequence[Scale], changes: int, progress: Progress) -> list[PeerTimes]:
    """Return the times of a mode at each size."""
    return [_measure(mode, scale, changes, progress) for scale in scales]


def _measure(mode: ProxyMode, scale: Scale, changes: int, progress: Progress) -> PeerTimes:
    progress(f"{mode.name}, {scale.services:,} Services x {scale.endpoints}")
    services = list(peer_services(scale))
    with Lab("rules", nodes=1, pods_per_node=1) as lab:
        place = lab.node(1)
        whole_s = load_rules(place, mode, mode.whole(services))
        changed = [
            peer_service(number * scale.services // changes, scale.endpoints, is_changed=True)
            for number in range(changes)
        ]
        texts = [mode.change(services, service) for service in changed]
        return PeerTimes(scale, whole_s, tuple(load_rules(place, mode, text) for text in texts))
