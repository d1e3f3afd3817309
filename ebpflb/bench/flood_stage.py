"""Sets the stage of the flood: two nodes, an agent on each, three Services, and clients at work.

    Lab, Agents, Services -> FloodStage -> Calls by name -> flood.py

node-1: the NodePorts and the load-balancer IP are dialled here; pod-1 is the local backend
node-2: pod-1 the remote backend, pod-2 answers the forged datagrams: what its socket loses is no client's
"""

import json
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ebpflb.bench.addresses import join_port
from ebpflb.bench.agents import BPFFS, Agents
from ebpflb.bench.control import Load, start_server
from ebpflb.bench.flood_kernel import count_entries
from ebpflb.bench.namespaces import entered
from ebpflb.bench.topology import Lab, Pod
from ebpflb.core.abi import Family, Protocol
from ebpflb.errors import EbpflbError

NAMESPACE = "flood"
BALANCER = {Family.IPV4: "203.0.113.10", Family.IPV6: "2001:db8:113::10"}
_SERVICE_IPS = {Family.IPV4: "10.96.0.{}", Family.IPV6: "fd00:10:96::{}"}
_FLOW_MAPS = ("flows", "pending")
_TIMEOUT_SECONDS = 3.0
"""Of one request: a lost SYN is sent again after one second."""


@dataclass(frozen=True, slots=True)
class Call:
    """A way in that clients take."""

    name: str
    protocol: Protocol
    target: str

    def arguments(self, *more: str) -> list[str]:
        """Return the load tool's arguments."""
        connected = ["--connected"] if self.protocol is Protocol.UDP else []
        mode = self.protocol.name.lower()
        return [mode, self.target, "--timeout", str(_TIMEOUT_SECONDS), *connected, *more]


@dataclass(frozen=True, slots=True)
class FloodStage:
    """What the flood is played on."""

    lab: Lab
    agents: Agents
    family: Family

    @property
    def calls(self) -> tuple[Call, ...]:
        """The ways in: masqueraded to a remote backend, translated to a local one."""
        node, balancer = self.lab.node(1).address, BALANCER[self.family]
        return (
            Call("NodePort, remote backend", Protocol.TCP, join_port(node, 30080)),
            Call("NodePort, remote backend", Protocol.UDP, join_port(node, 30053)),
            Call("LoadBalancer IP, local backend", Protocol.TCP, join_port(balancer, 80)),
            Call("LoadBalancer IP, local backend", Protocol.UDP, join_port(balancer, 53)),
        )

    def flooded(self, protocol: Protocol) -> str:
        """Return what is flooded: of TCP a NodePort that clients use, too."""
        return join_port(self.lab.node(1).address, 30080 if protocol is Protocol.TCP else 30054)

    def keep_asking(self, call: Call, rate: float) -> Load:
        """Return a load on one connection for as long as it runs."""
        return Load(self.lab.client, *call.arguments("--keep", "--rate", str(rate)))

    def keep_connecting(self, call: Call, rate: float) -> Load:
        """Return a load that connects anew for each request."""
        return Load(self.lab.client, *call.arguments("--rate", str(rate)))

    def counters(self) -> dict[str, int]:
        """Return node-1's counters."""
        document = json.loads(self.agents[1].command("dump-maps", "counters", "-o", "json"))
        rows = document["families"][f"ipv{self.family.value}"]["counters"]
        return {row["counter"]: row["value"] for row in rows}

    def fill(self) -> dict[str, tuple[int, int]]:
        """Return the entries and the size of node-1's flow maps, by name."""
        folder = BPFFS / "ebpflb" / self.agents[1].instance
        found = {name: list(folder.glob(f"*/ipv{self.family.value}/maps/{name}")) for name in _FLOW_MAPS}
        missing = [name for name, pins in found.items() if len(pins) != 1]
        if missing:
            raise EbpflbError(f"flood: instance {self.agents[1].instance} has no map {missing[0]}")
        return {name: count_entries(pin) for name, (pin,) in found.items()}


@contextmanager
def staged(family: Family, flags: Sequence[str]) -> Iterator[FloodStage]:
    """Set the stage, with more flags for the agents if given, and clear it again."""
    with ExitStack() as undo:
        folder = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="ebpflb-flood-")))
        lab = undo.enter_context(Lab("flood", nodes=2, pods_per_node=(1, 2), families=[family]))
        for pod in lab.pods:
            start_server(pod, tcp=[8080], udp=[5353])
        _let_live_frames_in(lab)
        lab.client.run(["ip", "route", "add", BALANCER[family], "via", lab.node(1).address])
        manifests = folder / "manifests"
        _write_services(manifests, lab, family)
        yield FloodStage(lab, undo.enter_context(Agents(lab, manifests, folder / "state", flags)), family)


def _let_live_frames_in(lab: Lab) -> None:
    """Turn GRO on at the other end of the client's cable: a veth takes live frames by NAPI, else it loses them."""
    command = entered(f"{lab.id}-switch", None, ["ethtool", "-K", "client", "gro", "on"])
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise EbpflbError(
            f"flood: GRO cannot be turned on ({(done.stderr or done.stdout).strip()})",
            remedy="install ethtool: apt-get install ethtool",
        )


def _write_services(folder: Path, lab: Lab, family: Family) -> None:
    folder.mkdir()
    remote, answering, local = lab.pod(2, 1), lab.pod(2, 2), lab.pod(1, 1)
    documents = [
        *_service(1, "web", remote, family, {"tcp": 30080, "udp": 30053}),
        *_service(2, "questions", answering, family, {"udp": 30054}),
        *_service(3, "local", local, family, {"tcp": 30081, "udp": 30055}, balancer=BALANCER[family]),
    ]
    text = "\n---\n".join(json.dumps(document) for document in documents)
    (folder / "services.yaml").write_text(text, encoding="utf-8")


def _service(
    number: int, name: str, backend: Pod, family: Family, node_ports: Mapping[str, int], *, balancer: str = ""
) -> Iterator[dict[str, Any]]:
    """Return a Service of TCP port 80 and UDP port 53, or one of them, and its EndpointSlice."""
    ports = {"tcp": (80, 8080), "udp": (53, 5353)}
    address = _SERVICE_IPS[family].format(number)
    yield {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"namespace": NAMESPACE, "name": name},
        "spec": {
            "type": "LoadBalancer" if balancer else "NodePort",
            "clusterIP": address,
            "clusterIPs": [address],
            "ipFamilies": [f"IPv{family.value}"],
            "ports": [
                {"name": each, "protocol": each.upper(), "port": ports[each][0], "nodePort": node_port}
                for each, node_port in node_ports.items()
            ],
        },
        "status": {"loadBalancer": {"ingress": [{"ip": balancer}] if balancer else []}},
    }
    yield {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "namespace": NAMESPACE,
            "name": f"{name}-1",
            "labels": {"kubernetes.io/service-name": name},
        },
        "addressType": f"IPv{family.value}",
        "ports": [{"name": each, "protocol": each.upper(), "port": ports[each][1]} for each in node_ports],
        "endpoints": [{"addresses": [backend.address], "nodeName": f"node-{backend.node}"}],
    }
