"""Our own mode by the socket hooks: a real agent on the first node, over a folder of manifests.

Decides how the agent is started and how it is known that Services are served. Knows no measure.

    services --manifests--> folder --agent's watch--> maps: the frontends are counted until all are there

The agent has no --pod-devices, as by default: all clients are below its cgroup, and what they send to backends needs no
packet hook. With --pod-devices every packet between pods passes two of them.
"""

from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import numpy as np

from ebpflb.bench.addresses import node_address, pod_network
from ebpflb.bench.agents import BPFFS, Agents
from ebpflb.bench.rig_services import manifests, node_manifest, service_address
from ebpflb.bench.rulesets import PeerService
from ebpflb.bench.topology import Lab
from ebpflb.core.abi import Family
from ebpflb.core.tables import TableName
from ebpflb.datapath.maps import BpfMap
from ebpflb.datapath.pins import Pins
from ebpflb.datapath.store import open_map
from ebpflb.errors import EbpflbError

MAP_SIZES: Final = {"frontends": 262_144, "services": 131_072}
"""Entries: room for 100,000 Services, whose ClusterIPs take two frontends each."""
_FRONTENDS_A_SERVICE: Final = 2
"""The port, and the address as such."""
_PROGRAMMING_S: Final = 180.0
_LOOK_S: Final = 0.1


class Socket:
    """An agent that serves by socket hooks. A context manager."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        """``folder``: for manifests and state; its owner removes it."""
        self._node = lab.node(1)
        self._node_of = {pod.address: f"node-{pod.node}" for pod in lab.pods}
        self._manifests = folder / "manifests"
        sizes = [word for name, size in MAP_SIZES.items() for word in ("--map-size", f"{name}={size}")]
        self._agents = Agents(lab, self._manifests, folder / "state", sizes, nodes=[self._node], pod_devices="")
        self._written: set[str] = set()

    def __enter__(self) -> Self:
        """Start the agent, which serves nothing yet."""
        self._manifests.mkdir(parents=True)
        for number in (1, 2):
            text = node_manifest(f"node-{number}", node_address(number), pod_network(number))
            (self._manifests / f"node-{number}.json").write_text(text, encoding="utf-8")
        self._agents.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Remove every trace of the instance."""
        self._agents.__exit__(kind, error, traceback)

    def load(self, services: Sequence[PeerService]) -> None:
        """Serve these, too."""
        new = [service for service in services if service.name not in self._written]
        self._written.update(service.name for service in new)
        aside = self._manifests / ".new"
        aside.write_text(manifests(new, self._node_of), encoding="utf-8")
        aside.rename(self._manifests / f"services-{len(services)}.json")
        self._wait_for(len(self._written) * _FRONTENDS_A_SERVICE)

    def fill(self, count: int) -> None:
        """Have as many frontends as so many Services have, all alike, written past the agent.

        In a second where the agent takes minutes. What a program meets in the map is the same; the agent must not be
        told of other Services after it.
        """
        with self._frontends() as table:
            keys, values = table.read()
            addresses = int(ip_address(service_address(0))) + np.arange(count)
            is_port = keys["port"] != 0
            for which in (is_port, ~is_port):
                some = np.repeat(keys[which][:1], count)
                some["address"]["word"][:, 0] = addresses
                failed = table.update(some, np.repeat(values[which][:1], count))
                if failed:
                    raise EbpflbError(f"bench: {len(failed)} of {count} frontends cannot be written")

    def _frontends(self) -> BpfMap:
        return open_map(Pins(BPFFS, self._agents[1].instance), Family.IPV4, TableName.FRONTENDS.value)

    def _wait_for(self, frontends: int) -> None:
        """Wait until the map has so many frontends; they are written last."""
        waited, agent = 0.0, self._agents[1]
        with self._frontends() as table:
            while (found := len(table.read()[0])) < frontends:
                if waited > _PROGRAMMING_S:
                    raise EbpflbError(
                        f"bench: the agent has programmed {found} of {frontends} frontends; its last words:"
                        f" {agent.running.tail()}"
                    )
                agent.running.expect_alive(_LOOK_S)
                waited += _LOOK_S
