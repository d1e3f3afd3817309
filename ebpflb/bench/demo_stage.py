"""Sets the demo's stage: the lab, a backend in every pod, three agents on a copy of the examples.

examples/, Lab, Agents -> Stage -> scenes (demo_scenes.py)
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ebpflb.bench.addresses import join_port
from ebpflb.bench.agents import Agents
from ebpflb.bench.control import measure, start_server
from ebpflb.bench.demo_manifests import Manifests
from ebpflb.bench.demo_screen import Screen
from ebpflb.bench.plan import DUAL_STACK, Underlay
from ebpflb.bench.report import Report
from ebpflb.bench.topology import Lab, Place, Pod
from ebpflb.core.abi import Family
from ebpflb.errors import EbpflbError

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
PODS_PER_NODE = (2, 2, 2)
SELF_CALLER = (3, 1)
"""The pod that calls itself. No socket hook sees it, so the packet hooks must turn its packets around."""
CALLER = (3, 2)
TCP_PORTS = (8080,)
UDP_PORTS = (5353,)
SETTLE_TRIES = 40
SAMPLE = 60

# What the scenes call; the Services stand in examples/.
WEB_SERVICE = "demo/web"
WEB = {Family.IPV4: "10.96.0.10:80", Family.IPV6: "[fd00:10:96::10]:80"}
NODE_PORT = 30080
DNS = {Family.IPV4: "10.96.0.53:53", Family.IPV6: "[fd00:10:96::53]:53"}
STICKY = {Family.IPV4: "10.96.0.20:80", Family.IPV6: "[fd00:10:96::20]:80"}
SELFIE = {Family.IPV4: "10.96.0.30:80", Family.IPV6: "[fd00:10:96::30]:80"}
NAMES = {Family.IPV4: "IPv4", Family.IPV6: "IPv6"}


@dataclass(frozen=True, slots=True)
class Settings:
    """What a viewer may choose."""

    underlay: Underlay = Underlay.ROUTED
    forwarding: str = ""
    """For the agents' ``--forwarding``; empty: their own default."""

    @property
    def agent_flags(self) -> tuple[str, ...]:
        """Flags for every agent."""
        return ("--forwarding", self.forwarding) if self.forwarding else ()

    @property
    def answers_directly(self) -> bool:
        """Whether backends on other nodes answer outside TCP clients themselves."""
        return self.forwarding in {"dsr", "hybrid"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a scene has to show."""

    bars: Mapping[str, int] = field(default_factory=dict)
    """Requests by family and backend."""
    notes: tuple[str, ...] = ()
    excerpt: str = ""


@dataclass(frozen=True, slots=True)
class Stage:
    """What scenes play on."""

    lab: Lab
    agents: Agents
    manifests: Manifests
    settings: Settings

    @property
    def caller(self) -> Pod:
        """The pod that calls Services; it backs none that are shown as spread."""
        return self.lab.pod(*CALLER)

    @property
    def self_caller(self) -> Pod:
        """The pod that is its own Service's only backend."""
        return self.lab.pod(*SELF_CALLER)

    @property
    def families(self) -> tuple[Family, ...]:
        """Each scene plays in all of them."""
        return self.lab.plan.families

    def pods_of(self, service: str) -> list[Pod]:
        """Return the pods behind a Service."""
        addresses = self.manifests.backends(service)
        return [pod for pod in self.lab.pods if set(pod.addresses) <= set(addresses)]

    def names(self, service: str) -> set[str]:
        """Return the names of the pods behind a Service."""
        return {pod.name for pod in self.pods_of(service)}

    def scale(self, service: str, pods: Sequence[Pod]) -> None:
        """Let the Service have these backends."""
        nodes = {address: f"node-{pod.node}" for pod in pods for address in pod.addresses}
        self.manifests.set_backends(service, nodes)

    def settle_everywhere(self) -> dict[str, int]:
        """Wait until the web Service is answered by exactly its backends, from a pod and from outside; return bars."""
        expected = self.names(WEB_SERVICE)
        bars: dict[str, int] = {}
        for family in self.families:
            for node in self.lab.nodes:
                self._settle(self.lab.client, join_port(node.address_of(family), NODE_PORT), expected)
            bars |= bars_of(family, self._settle(self.caller, WEB[family], expected))
        return bars

    def _settle(self, place: Place, target: str, expected: set[str]) -> Report:
        for _ in range(SETTLE_TRIES):
            report = measure(place, "tcp", target, "--count", str(SAMPLE))
            check_no_failure(report, f"{target} from {place.name}")
            if set(report.by_backend) == expected:
                return report
        raise EbpflbError(
            f"{target} from {place.name} is still answered by {', '.join(sorted(report.by_backend))}"
            f" and not by {', '.join(sorted(expected))}"
        )


def bars_of(family: Family, report: Report) -> dict[str, int]:
    """Return who answered, as bars of one family."""
    return {f"{NAMES[family]}  {name}": count for name, count in report.by_backend.items()}


def check(truth: bool, complaint: str) -> None:
    """Fail the demo with the complaint unless it is true."""
    if not truth:
        raise EbpflbError(complaint)


def check_no_failure(report: Report, what: str) -> None:
    """Fail the demo if a request failed, a connection broke, or nothing was tried."""
    check(report.requests > 0, f"{what}: no request was made")
    check(report.failed == 0, f"{what}: {report.failed} of {report.requests} requests failed: {report.failures}")
    check(report.breaks == 0, f"{what}: {report.breaks} connections broke")


@contextmanager
def staged(screen: Screen, settings: Settings) -> Iterator[Stage]:
    """Set the stage, step by step, and clear it again however the block ends."""
    with ExitStack() as undo:
        folder = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="ebpflb-demo-")))
        manifests = Manifests(EXAMPLES, folder / "manifests")
        pods = sum(PODS_PER_NODE)
        with screen.step(f"three nodes, {pods} pods and an outside client, as network namespaces, in IPv4 and IPv6"):
            lab = undo.enter_context(
                Lab(
                    "demo",
                    pods_per_node=PODS_PER_NODE,
                    uncovered=[SELF_CALLER],
                    families=DUAL_STACK,
                    underlay=settings.underlay,
                )
            )
        with screen.step("a small server in every pod"):
            for pod in lab.pods:
                start_server(pod, TCP_PORTS, UDP_PORTS)
        with screen.step("an ebpflb agent on every node: compile, load, attach, program"):
            agents = undo.enter_context(Agents(lab, manifests.folder, folder / "state", settings.agent_flags))
        yield Stage(lab, agents, manifests, settings)
        undo.enter_context(screen.step("everything removed"))
