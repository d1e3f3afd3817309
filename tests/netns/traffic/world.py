"""A lab with agents, Services and callers, shared by the traffic tests of a session; each looks at one family of it.

Lab, Manifests, Agents -> World -> callers by name, target() of a call, put(spec) until every node has it, counters

node-1: pod-1 covered, pod-2 uncovered, pod-3 a local backend      node-2: pod-1, pod-2 remote backends
node-3: no pods                                                     client: outside, routes Services by node-1
"""

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path

from ebpflb.bench.addresses import PLANS, underlay_prefix
from ebpflb.bench.agents import BPFFS, Agents
from ebpflb.bench.control import start_server
from ebpflb.bench.load import parse_target
from ebpflb.bench.namespaces import run_ip
from ebpflb.bench.plan import DUAL_STACK, UPLINK, PodNetwork, Underlay
from ebpflb.bench.topology import Lab, Place, Pod
from ebpflb.cli.pinned import read_tables
from ebpflb.cli.state import status_file
from ebpflb.core.abi import Counter, Family, Protocol
from ebpflb.datapath.pins import Pins
from ebpflb.datapath.store import open_map
from tests.netns.lab_agents import serve_everywhere
from tests.netns.services import BALANCER_NETWORKS, EXTERNAL_NETWORKS, Manifests, Spec, host_in, standing_specs
from tests.netns.traffic.callers import Caller
from tests.netns.traffic.flows import forget_datagrams, leads_to
from tests.netns.traffic.paths import SECOND_NODE_ADDRESS, target

SETTLE_SECONDS = 60.0
"""For what will come, however long the machine has other things to do."""
SWEEP_SECONDS = 240.0
"""After a sweep that took long the agent rests four times as long: where it is starved of CPU, for a minute."""
PODS_PER_NODE = (3, 2, 0)
DETECTOR = ("--cluster-cidr", ",".join(PLANS[family].pods for family in DUAL_STACK))
"""Agents know the pods of the cluster by their addresses, as kubeadm's do."""
OWN_TCP_PORT, OWN_UDP_PORT = 8081, 5354
"""Served by every pod too: for a Service whose backends no other Service has."""
CLIENTS = {family: [host_in(PLANS[family].underlay, number) for number in range(101, 165)] for family in Family}
"""More addresses of the outside client: so many that each of three backends gets some, but for once in 10^10 times."""


@dataclass
class World:
    """Everything a traffic test acts on."""

    lab: Lab
    agents: Agents
    manifests: Manifests
    state: Path
    specs: dict[str, Spec]
    """The Services that are there from the start, by name."""
    family: Family
    """Whose addresses a test dials, and whose counters it reads."""
    _callers: dict[str, Caller] = field(default_factory=dict)

    def speaking(self, family: Family) -> "World":
        """Return the same world, seen in a family."""
        return replace(self, family=family)

    def target(self, spec: Spec, destination: str, kind: str) -> str:
        """Return address:port of one of a Service's frontends, by the names of ``paths.py``."""
        return target(spec, destination, kind, self.family)

    def address(self, place: Place) -> str:
        """Return a place's address."""
        return place.address_of(self.family)

    @property
    def local(self) -> Pod:
        """The backend on node-1, where the callers are."""
        return self.lab.pod(1, 3)

    @property
    def remote(self) -> tuple[Pod, Pod]:
        """The backends on node-2."""
        return self.lab.pod(2, 1), self.lab.pod(2, 2)

    def place(self, name: str) -> Place:
        """Return where a caller of this name sits."""
        node = self.lab.node(1)
        places: dict[str, Place] = {
            "covered": self.lab.pod(1, 1),
            "uncovered": self.lab.pod(1, 2),
            "host": node,
            "hostNetwork": Place(
                "hostNetwork", node.addresses, node.netns, node.cgroup / "host-pod", self.lab.pod(1, 1).started
            ),
            "outside": self.lab.client,
            "neighbour": self.lab.pod(2, 2),
            "uncovered host": Place(
                "uncovered host", node.addresses, node.netns, self.lab.cgroup / "outside" / "host", node.started
            ),
        }
        return places[name]

    def caller(self, name: str) -> Caller:
        """Return the process that calls from a place, started when first asked for."""
        if name not in self._callers:
            place = self.place(name)
            place.cgroup.mkdir(parents=True, exist_ok=True)
            self._callers[name] = Caller(place)
        return self._callers[name]

    def configure(self, *flags: str) -> None:
        """Let node-1's agent run with these flags; it goes on if it does already."""
        if self.agents[1].flags != flags:
            self.agents[1].restart(*flags)
            self.forget_datagrams()

    def forget_datagrams(self) -> None:
        """Have no UDP flow of earlier calls met by whoever gets their ports next."""
        for agent in self.agents:
            forget_datagrams(Pins(BPFFS, agent.instance), self.lab.plan.families)

    def wait_for_sweep(self, dialled: str, kind: str, pods: Iterable[Pod]) -> None:
        """Wait until no flow of node-1 leads what is sent to a frontend to any of these pods, which have left it.

        The maps change, then the sweep ends what stands; a port's next user could meet a flow before that.
        """
        pins = Pins(BPFFS, self.agents[1].instance)
        protocol, addresses = Protocol[kind.partition("-")[0].upper()], [self.address(pod) for pod in pods]
        until(
            lambda: not leads_to(pins, self.family, protocol, parse_target(dialled), addresses),
            "flows still lead to who has left",
            SWEEP_SECONDS,
        )

    def put(self, spec: Spec) -> None:
        """Write a Service and wait until every node has it."""
        self.settle(lambda: self.manifests.put(spec))

    def remove(self, spec: Spec) -> None:
        """Remove a Service and wait until no node has it."""
        self.settle(lambda: self.manifests.remove(spec))

    @contextmanager
    def service(self, spec: Spec) -> Iterator[Spec]:
        """Have a Service for the length of the block."""
        self.put(spec)
        try:
            yield spec
        finally:
            self.remove(spec)
            self.forget_datagrams()

    def knows_own(self, address: str) -> bool:
        """Say whether node-1's agent takes this address for the node's."""
        tables = read_tables(Pins(BPFFS, self.agents[1].instance), self.family)
        return ip_address(address).packed in tables.node_addrs

    def counters(self, node: int) -> dict[Counter, int]:
        """Return a node's counters, summed over CPUs."""
        with open_map(Pins(BPFFS, self.agents[node].instance), self.family, "counters") as opened:
            keys, values = opened.read()
        return {Counter(key): int(value.sum()) for key, value in zip(keys.tolist(), values, strict=True)}

    def settle(self, change: Callable[[], None]) -> None:
        """Change objects and wait until every agent's maps have them."""
        since = datetime.now(UTC)
        change()
        for agent in self.agents:
            file = status_file(self.state, agent.instance)

            def has_it() -> bool:
                status = file.read()  # noqa: B023 - called before the loop goes on
                received, applied = status.last_change_received_at, status.last_change_applied_at
                return None not in {received, applied} and status.healthy and since <= received <= applied  # type: ignore[operator]

            until(has_it, f"{agent.node.name} has not programmed the change")


def until(is_so: Callable[[], bool], otherwise: str, seconds: float = SETTLE_SECONDS) -> None:
    """Wait for something that announces itself to nobody in this process."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.01)


@contextmanager
def world_on(
    network: PodNetwork,
    underlay: Underlay = Underlay.ROUTED,
    *,
    name: str = "",
    pods_per_node: Sequence[int] = PODS_PER_NODE,
    served: Sequence[int] = (),
    mtu: int = 1500,
) -> Iterator[World]:
    """Build it all, in both families; nothing remains after. ``served``: numbers of nodes with an agent; empty: all."""
    with ExitStack() as stack:
        lab = stack.enter_context(
            Lab(
                name or ("vxlan" if underlay is Underlay.VXLAN else network.value),
                nodes=len(pods_per_node),
                pods_per_node=pods_per_node,
                pod_network=network,
                mtu=mtu,
                route_services=True,
                uncovered=[(1, 2)],
                families=DUAL_STACK,
                underlay=underlay,
            )
        )
        add_addresses(lab)
        serve_everywhere(lab)
        for pod in lab.pods:
            start_server(pod, tcp=[OWN_TCP_PORT], udp=[OWN_UDP_PORT])
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ebpflb-traffic-")))
        (folder / "manifests").mkdir()
        manifests = Manifests(folder / "manifests", lab)
        specs = standing_specs(lab)
        for spec in specs.values():
            manifests.put(spec)
        nodes = [lab.node(number) for number in served]
        agents = stack.enter_context(Agents(lab, manifests.folder, folder / "state", DETECTOR, nodes=nodes))
        yield World(lab, agents, manifests, folder / "state", specs, lab.plan.families[0])


def add_addresses(lab: Lab) -> None:
    """Give node-1 and the client more addresses, and the client the routes to what node-1 serves."""
    node = lab.node(1)
    # Not on lo: what the node sends to a routed pod would have it as its source.
    node.run(["ip", "link", "add", "other0", "up", "type", "bridge"])
    for family in lab.plan.families:
        second = SECOND_NODE_ADDRESS[family]
        node.run(["ip", "address", "add", second, "dev", "other0"])
        # Deprecated: of several addresses of one subnet, IPv6 would call with the one that came last.
        flags = "preferred_lft 0" if family is Family.IPV6 else ""
        prefix = underlay_prefix(family)
        run_ip([f"address add {each}/{prefix} dev {UPLINK} {flags}" for each in CLIENTS[family]], lab.client.netns)
        for network in (second, EXTERNAL_NETWORKS[family], BALANCER_NETWORKS[family]):
            lab.client.run(["ip", "route", "add", network, "via", node.address_of(family)])
