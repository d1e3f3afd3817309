"""Puts the product on a rig's node: its agent as a process, over a folder of manifests, told what a user would tell it.

Decides which Services there are and which flags the agent gets. Knows no frame.

    Rig, PeerService... -> serving -> `ebpflb run` on the node, ready        -> `ebpflb cleanup`
"""

import json
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from ebpflb.bench import cgroups
from ebpflb.bench.agents import BPFFS, READY, READY_SECONDS
from ebpflb.bench.frame_rig import UPLINKS, Rig
from ebpflb.bench.namespaces import entered
from ebpflb.bench.process import Running
from ebpflb.bench.rulesets import POD_NETWORK, PeerService

_NODE: Final = "node-1"


class Ours:
    """The agent of one rig."""

    def __init__(self, rig: Rig, folder: Path) -> None:
        self._rig = rig
        self._folder = folder
        self._cgroup = cgroups.find_mount() / rig.id
        self._running: Running | None = None

    def start(self, services: Iterable[PeerService]) -> None:
        """Write the manifests and start the agent; ``wait_ready`` says when it has programmed the node."""
        manifests = self._folder / "manifests"
        manifests.mkdir()
        items = [each for service in services for each in documents(service)]
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
        (manifests / "services.json").write_text(text, encoding="utf-8")
        self._cgroup.mkdir()
        arguments = ["run", "--manifests", str(manifests), "--node-name", _NODE, "--ip-family", "ipv4"]
        arguments += ["--uplink-devices", ",".join(UPLINKS), "--pod-devices", "pod*", "--cgroup", str(self._cgroup)]
        arguments += ["--acceleration", "native", "--cluster-cidr", POD_NETWORK, *self._scope()]
        argv = entered(self._rig.node, self._cgroup, [sys.executable, "-m", "ebpflb", *arguments])
        self._running = Running(f"the agent of {self._rig.id}", argv)

    def wait_ready(self) -> None:
        """Wait until the agent says that its first snapshot is in the maps."""
        assert self._running is not None, "start() comes first"
        self._running.wait_for_line(lambda line: READY.search(line) is not None, READY_SECONDS)

    def remove(self) -> None:
        """End the agent, and take away what it leaves."""
        if self._running is not None:
            self._running.stop()
            self._rig.run(self._rig.node, [sys.executable, "-m", "ebpflb", "cleanup", *self._scope()])
        cgroups.remove_tree(self._cgroup)

    def _scope(self) -> list[str]:
        return ["--bpffs", str(BPFFS), "--instance", self._rig.id, "--state-dir", str(self._folder / "state")]


@contextmanager
def serving(rigs: Sequence[tuple[Rig, Sequence[PeerService]]]) -> Iterator[None]:
    """Have an agent on each rig's node, all started at once, and take them away again."""
    with ExitStack() as undo:
        agents = []
        for rig, services in rigs:
            folder = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="ebpflb-frames-")))
            agent = Ours(rig, folder)
            undo.callback(agent.remove)
            agent.start(services)
            agents.append(agent)
        for agent in agents:
            agent.wait_ready()
        yield


def documents(service: PeerService) -> Iterator[dict[str, Any]]:
    """Return the Service and its EndpointSlice."""
    namespace, _, rest = service.name.partition("/")
    name, _, port_name = rest.partition(":")
    protocol = service.protocol.upper()
    yield {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {
            "type": "ClusterIP",
            "clusterIP": service.address,
            "clusterIPs": [service.address],
            "ipFamilies": ["IPv4"],
            "ports": [{"name": port_name, "protocol": protocol, "port": service.port}],
        },
    }
    ((_, port), *_) = service.endpoints
    yield {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "namespace": namespace,
            "name": f"{name}-1",
            "labels": {"kubernetes.io/service-name": name},
        },
        "addressType": "IPv4",
        "ports": [{"name": port_name, "protocol": protocol, "port": port}],
        "endpoints": [{"addresses": [address]} for address, _ in service.endpoints],
    }
