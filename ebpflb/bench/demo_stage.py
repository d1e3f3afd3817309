"""Sets the demo's stage: the lab, a backend in every pod, three agents on a copy of the examples.

examples/, Lab, Agents -> Stage -> scenes (demo_scenes.py)
"""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ebpflb.bench.agents import Agents
from ebpflb.bench.control import measure, start_server
from ebpflb.bench.demo_manifests import Manifests
from ebpflb.bench.demo_screen import Screen
from ebpflb.bench.process import Running
from ebpflb.bench.report import Report
from ebpflb.bench.topology import Lab, Place, Pod
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
WEB = "10.96.0.10:80"
NODE_PORT = 30080
DNS = "10.96.0.53:53"
STICKY = "10.96.0.20:80"
SELFIE = "10.96.0.30:80"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a scene has to show."""

    bars: Mapping[str, int] = field(default_factory=dict)
    """Requests by backend."""
    notes: tuple[str, ...] = ()
    excerpt: str = ""


@dataclass(frozen=True, slots=True)
class Stage:
    """What scenes play on."""

    lab: Lab
    agents: Agents
    manifests: Manifests
    servers: dict[str, Running]
    """By pod address."""

    @property
    def caller(self) -> Pod:
        """The pod that calls Services; it backs none that are shown as spread."""
        return self.lab.pod(*CALLER)

    @property
    def self_caller(self) -> Pod:
        """The pod that is its own Service's only backend."""
        return self.lab.pod(*SELF_CALLER)

    def pod_at(self, address: str) -> Pod:
        """Return the pod with an address."""
        return next(pod for pod in self.lab.pods if pod.address == address)

    def names(self, service: str) -> set[str]:
        """Return the names of the pods behind a Service."""
        return {self.pod_at(address).name for address in self.manifests.backends(service)}

    def scale(self, service: str, addresses: list[str]) -> None:
        """Let the Service have these backends."""
        nodes = {address: f"node-{self.pod_at(address).node}" for address in addresses}
        self.manifests.set_backends(service, nodes)

    def settle_everywhere(self) -> Report:
        """Wait until the web Service is answered by exactly its backends, from a pod and from outside."""
        expected = self.names(WEB_SERVICE)
        for node in self.lab.nodes:
            self._settle(self.lab.client, f"{node.address}:{NODE_PORT}", expected)
        return self._settle(self.caller, WEB, expected)

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
def staged(screen: Screen) -> Iterator[Stage]:
    """Set the stage, step by step, and clear it again however the block ends."""
    with ExitStack() as undo:
        folder = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="ebpflb-demo-")))
        manifests = Manifests(EXAMPLES, folder / "manifests")
        with screen.step(f"three nodes, {sum(PODS_PER_NODE)} pods and an outside client, as network namespaces"):
            lab = undo.enter_context(Lab("demo", pods_per_node=PODS_PER_NODE, uncovered=[SELF_CALLER]))
        with screen.step("a small server in every pod"):
            servers = {pod.address: start_server(pod, TCP_PORTS, UDP_PORTS) for pod in lab.pods}
        with screen.step("an ebpflb agent on every node: compile, load, attach, program"):
            agents = undo.enter_context(Agents(lab, manifests.folder, folder / "state"))
        yield Stage(lab, agents, manifests, servers)
        undo.enter_context(screen.step("everything removed"))
