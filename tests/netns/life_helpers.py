"""What the tests of an agent's life share: one agent on one node of a lab, and how to see what it left in the kernel.

node, source flags -> LifeAgent -> start, kill, stop -> tables(), flows(), filters(), status() -> cleanup()
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ebpflb.agent.config import status_path
from ebpflb.bench.agents import BPFFS, READY, READY_SECONDS, ip_family
from ebpflb.bench.control import Load
from ebpflb.bench.namespaces import namespace_path
from ebpflb.bench.process import Running
from ebpflb.bench.report import Report
from ebpflb.bench.topology import Node, Place
from ebpflb.cli.pinned import decode_maps, read_tables
from ebpflb.core.abi import Family
from ebpflb.core.tables import Tables
from ebpflb.datapath.pins import Pins
from ebpflb.host.namespaces import in_each
from ebpflb.host.tc import Attached, list_ours
from ebpflb.reconcile.status import Status, StatusFile
from tests.kube.objects import make_service, make_slice
from tests.kube.store import Object
from tests.netns.lab_agents import UNHURRIED, write_manifests

T = TypeVar("T")

EBPFLB = (sys.executable, "-m", "ebpflb")
SOON_S = 60.0
"""Within this a lone change is in the maps, and a new device has its programs. That takes a fraction of a second, if
nobody else has the machine. It may be long, as an ``UNHURRIED`` agent has to be told of either."""
POLL_S = 0.02
NAMESPACE = "life"

_OTHER_HAIRPIN = """
import socket
import ebpflb.agent.run as run
from ebpflb.core.abi import Family
run.HAIRPIN_ADDRESSES[Family.IPV4] = socket.inet_aton({address!r})
from ebpflb.cli import main
main()
"""


def addressed_otherwise(hairpin_address: str) -> str:
    """Return the command line of another version: one constant of its programs differs, and so does its build."""
    return _OTHER_HAIRPIN.format(address=hairpin_address)


def until(check: Callable[[], T], seconds: float = SOON_S) -> T:
    """Return the first answer that is true, and fail with the last one when time is over."""
    deadline = time.monotonic() + seconds
    while not (answer := check()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s; the last answer was {answer!r}")
        time.sleep(POLL_S)
    return answer


def bpftool(*arguments: str) -> Any:
    """Return what bpftool shows, decoded; of nothing it shows an empty line."""
    done = subprocess.run(["bpftool", "--json", *arguments], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.strip() or "[]")


def tcp_service(name: str, cluster_ip: str, node_port: int = 0, **spec: Any) -> Object:
    """Return a Service of TCP port 80; with a NodePort if one is given."""
    port: Object = {"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}
    return _service(name, cluster_ip, port, node_port, spec)


def udp_service(name: str, cluster_ip: str, node_port: int = 0, **spec: Any) -> Object:
    """Return a Service of UDP port 53."""
    port: Object = {"name": "dns", "port": 53, "targetPort": 5353, "protocol": "UDP"}
    return _service(name, cluster_ip, port, node_port, spec)


def _service(name: str, cluster_ip: str, port: Object, node_port: int, spec: Object) -> Object:
    if node_port:
        port |= {"nodePort": node_port}
        spec = {"type": "NodePort", **spec}
    families = {"clusterIPs": [cluster_ip], "ipFamilies": ["IPv4"]}
    return make_service(name, NAMESPACE, clusterIP=cluster_ip, ports=[port], **families, **spec)


def slice_of(service: str, *backends: Place, udp: bool = False) -> Object:
    """Return the EndpointSlice of a Service with these pods."""
    port = {"name": "dns", "port": 5353, "protocol": "UDP"} if udp else {"name": "http", "port": 8080}
    endpoints = [{"addresses": [pod.address], "nodeName": pod.name.partition("-pod-")[0]} for pod in backends]
    return make_slice(f"{service}-1", NAMESPACE, service=service, ports=[port], endpoints=endpoints)


def write_objects(folder: Path, **files: Sequence[Object]) -> None:
    """Write each list of objects into the file of that name, replacing it in one step."""
    for name, objects in files.items():
        write_manifests(folder, {f"{name}.yaml": "\n---\n".join(json.dumps(each) for each in objects)})


@dataclass
class LifeAgent:
    """The agent of one node: a process that comes and goes, an instance that stays until ``cleanup``."""

    node: Node
    instance: str
    state: Path
    source: tuple[str, ...]
    """The flags that name its source."""
    running: Running | None = None

    @property
    def pins(self) -> Pins:
        return Pins(BPFFS, self.instance)

    @property
    def process(self) -> Running:
        assert self.running is not None, "start() first"
        return self.running

    def start(self, program: Sequence[str] = UNHURRIED, *, pod_devices: str = "pod*") -> None:
        devices = ["--uplink-devices", ",".join(self.node.uplinks), "--pod-devices", pod_devices]
        where = ["--node-name", self.node.name, "--cgroup", str(self.node.cgroup)]
        families = ["--ip-family", ip_family(self.node)]  # of two, the later one counts: the source's flags may differ
        self.running = self.node.popen([*program, "run", *families, *self.source, *devices, *where, *self.scope()])

    def wait_ready(self) -> None:
        self.process.wait_for_line(lambda line: READY.search(line) is not None, READY_SECONDS)

    def restart(self, program: Sequence[str] = UNHURRIED, *, pod_devices: str = "pod*") -> None:
        """Start again after a kill or stop, and wait until it is ready."""
        self.start(program, pod_devices=pod_devices)
        self.wait_ready()

    def kill(self) -> None:
        self.process.kill()

    def logged(self, words: str) -> list[str]:
        return [line for line in self.process.lines() if words in line]

    def ebpflb(self, verb: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a verb for this instance, at its node; nothing is checked."""
        flags = {"dump-maps": self.scope()[:4], "status": self.scope()[2:]}
        scope = flags.get(verb, self.scope())
        return self.node.run([*EBPFLB, verb, *scope, *arguments], check=False)

    def cleanup(self) -> None:
        """End the process, and remove every trace of the instance."""
        if self.running is not None and self.running.is_running:
            self.running.stop()
        done = self.ebpflb("cleanup")
        assert done.returncode == 0, done.stderr

    def tables(self) -> Tables:
        """Read the service maps."""
        return read_tables(self.pins, Family.IPV4)

    def rows(self, name: str) -> list[dict[str, Any]]:
        """Read one map as ``ebpflb dump-maps`` shows it."""
        return decode_maps(self.pins, self.tables(), [name], None)[name]

    def cluster_ips(self) -> set[str]:
        """Return what ClusterIPs are in the maps."""
        return {row["address"] for row in self.rows("frontends") if row["kind"] == "ClusterIP"}

    def node_addresses(self) -> set[str]:
        """Return what the maps have for addresses of the node."""
        return {row["address"] for row in self.rows("node_addrs")}

    def backends_of(self, cluster_ip: str) -> list[str]:
        """Return where the frontend of a ClusterIP leads."""
        return self._backends_where("address", cluster_ip)

    def backends_of_kind(self, kind: str) -> list[str]:
        """Return where all frontends of a kind lead; a backend of two comes twice."""
        return self._backends_where("kind", kind)

    def _backends_where(self, column: str, value: str) -> list[str]:
        rows = [row for row in self.rows("frontends") if row[column] == value]
        # While the agent writes, a slot may be seen before its backend is.
        return sorted(str(backend) for row in rows for backend in row["cluster"]["backends"])

    def status(self) -> Status:
        """Read what the agent says of itself."""
        return StatusFile(status_path(self.state, self.instance)).read()

    def filters(self) -> list[Attached]:
        """Return this instance's tc filters in the node's namespace."""
        return next(in_each([namespace_path(self.node.netns)], lambda: list_ours(self.instance)))

    def filters_on(self, device: str) -> list[tuple[str, str]]:
        return sorted((found.hook.value, found.program) for found in self.filters() if found.device == device)

    def socket_programs(self) -> list[dict[str, Any]]:
        """Return the programs on the node's cgroup."""
        shown: list[dict[str, Any]] = bpftool("cgroup", "show", str(self.node.cgroup))
        return shown

    def qdiscs_on(self, device: str) -> str:
        return self.node.run(["tc", "qdisc", "show", "dev", device]).stdout

    def scope(self) -> list[str]:
        """Return the flags that name the instance."""
        return ["--bpffs", str(BPFFS), "--instance", self.instance, "--state-dir", str(self.state)]


@contextmanager
def agent_on(node: Node, *source: str, program: Sequence[str] = UNHURRIED, name: str = "") -> Iterator[LifeAgent]:
    """Run a ready agent on a node for the length of the block, and clean up after."""
    with tempfile.TemporaryDirectory(prefix="ebpflb-state-") as state:
        agent = LifeAgent(node, name or node.netns, Path(state), source)
        try:
            agent.start(program)
            agent.wait_ready()
            yield agent
        finally:
            try:
                agent.cleanup()
            finally:
                agent.pins.remove()  # also of an agent whose own cleanup fails


@contextmanager
def loads(*each: Load) -> Iterator[list[Report]]:
    """Let loads run for the length of the block; their reports are there after it."""
    reports: list[Report] = []
    running: list[Load] = []
    try:
        running += [load.__enter__() for load in each]
        yield reports
        reports += [load.stop() for load in running]
    finally:
        for load in running:
            load.__exit__(None, None, None)


def assert_no_failure(reports: Sequence[Report]) -> None:
    """Each load was answered, always, and lost no connection."""
    assert reports
    assert [(report.failures, report.breaks) for report in reports] == [({}, 0)] * len(reports)
    assert all(report.answered > 0 for report in reports)
