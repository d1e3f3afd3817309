"""A lab whose uplinks XDP can serve, two Services on it, and how to see that it was XDP who served them.

node-1: the agent, pod-1 (backend of ``near``, which keeps the client's address, and of ``hiding``, which does not)
node-2: no agent, pod-1 (backend of ``far``)      client: outside

The uplinks are veths. Two things that a cable between cards does by itself have to be arranged: the far ends take
frames from XDP (they run an XDP program, too), and whoever sends through an uplink finishes its checksums (tx).

XDP resolves no neighbour, and keeps none alive: the kernel forgets one that no packet of its own has used for a minute,
once the machine's namespaces have more than 128 together. Nor may node-1 learn of node-2 by what that one asks.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ebpflb.bench.addresses import join_port
from ebpflb.bench.control import measure, start_server
from ebpflb.bench.namespaces import namespace_path
from ebpflb.bench.plan import DUAL_STACK, UPLINK
from ebpflb.bench.report import Report
from ebpflb.bench.topology import Lab, Place, Pod
from ebpflb.core.abi import Counter, Family
from ebpflb.datapath.store import open_map
from tests.kube.objects import make_service, make_slice
from tests.kube.store import Object
from tests.netns.host_helpers import device_stats, inside, run, set_offload, xdp_program
from tests.netns.life_helpers import NAMESPACE, LifeAgent
from tests.netns.traffic.settled import settled

SERVICES = {"near": 1, "far": 2, "hiding": 3}
LOCAL_POLICY = {"near"}
_FRONT_PORTS = {"tcp": 80, "udp": 53}
_NODE_PORTS = {"tcp": 30080, "udp": 31080}
_PODS_PORTS = {"tcp": 8080, "udp": 5353}
_EXTERNAL = {Family.IPV4: "203.0.113.{}", Family.IPV6: "2001:db8:113::{}"}
_BALANCER = {Family.IPV4: "198.51.100.{}", Family.IPV6: "2001:db8:100::{}"}
_CLUSTER = {Family.IPV4: "10.96.7.{}", Family.IPV6: "fd00:10:96::7{}"}
_OUTSIDE_NETWORKS = ("203.0.113.0/24", "198.51.100.0/24", "2001:db8:113::/64", "2001:db8:100::/64")


@contextmanager
def xdp_lab(name: str) -> Iterator[Lab]:
    """Build the lab, with its backends."""
    with Lab(name, nodes=2, pods_per_node=1, families=DUAL_STACK) as lab, xdp_program("bystander") as passing:
        for place in (*lab.nodes, lab.client):
            let_uplink_finish_checksums(place)
        for place in (lab.node(2), lab.client):
            know_neighbour(place, lab.node(1), "permanent")
        set_far_end(lab, lab.node(1), "pinned", str(passing))
        for network in _OUTSIDE_NETWORKS:
            family = Family.IPV6 if ":" in network else Family.IPV4
            lab.client.run(["ip", "route", "add", network, "via", lab.node(1).address_of(family)])
        for pod in lab.pods:
            start_server(pod, tcp=[_PODS_PORTS["tcp"]], udp=[_PODS_PORTS["udp"]])
        yield lab


def let_uplink_finish_checksums(place: Place) -> None:
    with inside(namespace_path(place.netns)):
        set_offload(UPLINK, "tx", on=False)


def know_neighbour(place: Place, other: Place, state: str) -> None:
    """Tell a place of another one at its uplink, without a question on the wire."""
    (link,) = json.loads(other.run(["ip", "-j", "link", "show", UPLINK]).stdout)
    for address in other.addresses:
        place.run(["ip", "neigh", "replace", address, "lladdr", link["address"], "dev", UPLINK, "nud", state])


def set_far_end(lab: Lab, place: Place, *program: str) -> None:
    """Give the switch's end of an uplink an XDP program, or take it ``off``: then it loses frames that XDP sends."""
    with inside(namespace_path(f"{lab.id}-switch")):  # `ip -n` would hide bpffs
        run("ip", "link", "set", "dev", place.name, "xdpdrv", *program)


def service_objects(lab: Lab) -> list[Object]:
    """Return the Services, and the slices of both families."""
    backends = {"near": lab.pod(1, 1), "far": lab.pod(2, 1), "hiding": lab.pod(1, 1)}
    return [each for name, pod in backends.items() for each in _objects(name, pod)]


def _objects(name: str, pod: Pod) -> Iterator[Object]:
    number = SERVICES[name]
    ports: list[dict[str, Any]] = [
        {"name": kind, "protocol": kind.upper(), "port": port, "nodePort": _NODE_PORTS[kind] + number}
        for kind, port in _FRONT_PORTS.items()
    ]
    addresses = {family: _CLUSTER[family].format(number) for family in DUAL_STACK}
    service = make_service(
        name,
        NAMESPACE,
        type="LoadBalancer",
        externalTrafficPolicy="Local" if name in LOCAL_POLICY else "Cluster",
        clusterIP=addresses[Family.IPV4],
        clusterIPs=list(addresses.values()),
        ipFamilies=["IPv4", "IPv6"],
        ipFamilyPolicy="RequireDualStack",
        externalIPs=[_EXTERNAL[family].format(number) for family in DUAL_STACK],
        ports=ports,
    )
    ingress = [{"ip": _BALANCER[family].format(number)} for family in DUAL_STACK]
    yield {**service, "status": {"loadBalancer": {"ingress": ingress}}}
    for family in DUAL_STACK:
        yield make_slice(
            f"{name}-{family.value}",
            NAMESPACE,
            service=name,
            addressType=f"IPv{family.value}",
            ports=[{"name": kind, "protocol": kind.upper(), "port": port} for kind, port in _PODS_PORTS.items()],
            endpoints=[{"addresses": [pod.address_of(family)], "nodeName": f"node-{pod.node}"}],
        )


def frontend(lab: Lab, service: str, kind: str, protocol: str, family: Family) -> str:
    """Return address and port of a frontend: of kind NodePort, external IP or balancer IP."""
    number = SERVICES[service]
    if kind == "NodePort":
        return join_port(lab.node(1).address_of(family), _NODE_PORTS[protocol] + number)
    address = {"external IP": _EXTERNAL, "balancer IP": _BALANCER}[kind][family].format(number)
    return join_port(address, _FRONT_PORTS[protocol])


def call(lab: Lab, target: str, protocol: str = "tcp", count: int = 5) -> Report:
    """Ask from outside, each time on a new socket."""
    return measure(lab.client, protocol, target, "--count", str(count), "--timeout", "10")


def transmitted(lab: Lab) -> int:
    """Return how many frames XDP has sent back out of node-1's uplink."""
    with inside(namespace_path(lab.node(1).netns)):
        stats = device_stats(UPLINK)
    return sum(value for name, value in stats.items() if name.endswith("_xdp_tx"))


def counters(agent: LifeAgent, family: Family) -> dict[Counter, int]:
    """Return node-1's counters, summed over CPUs."""
    with open_map(agent.pins, family, "counters") as opened:
        keys, values = opened.read()
    return {Counter(key): int(value.sum()) for key, value in zip(keys.tolist(), values, strict=True)}


@dataclass(frozen=True)
class Traffic:
    """What node-1 has done up to one moment."""

    counters: dict[Family, dict[Counter, int]]
    transmitted: int
    """Frames that XDP has sent back out of the uplink."""

    @property
    def forwarded(self) -> int:
        """Packets of both families, by whichever hook."""
        return sum(counters[Counter.FORWARDED] for counters in self.counters.values())


def traffic(agent: LifeAgent, lab: Lab) -> Traffic:
    """Return what node-1 has done when it does nothing more, as far as can be seen."""
    return settled(lambda: Traffic({family: counters(agent, family) for family in Family}, transmitted(lab)))


def xdp_on(place: Place, device: str = UPLINK) -> tuple[str, str] | None:
    """Return mode and name of the program that `ip` and `bpftool` see on a device."""
    (link,) = json.loads(place.run(["ip", "-j", "-d", "link", "show", device]).stdout)
    if "xdp" not in link:
        return None
    shown = place.run(["bpftool", "--json", "prog", "show", "id", str(link["xdp"]["prog"]["id"])]).stdout
    return {1: "native", 2: "generic"}[link["xdp"]["mode"]], json.loads(shown)["name"]


def write_services(folder: Path, lab: Lab) -> Path:
    """Write the Services' manifests."""
    folder.mkdir()
    text = "\n---\n".join(json.dumps(each) for each in service_objects(lab))
    (folder / "services.yaml").write_text(text, encoding="utf-8")
    return folder
