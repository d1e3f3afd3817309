"""The demo's scenes at rest: each keeps one promise before the viewer's eyes; a broken promise raises.

Stage -> Scene.play -> Outcome (bars, notes, an excerpt) for the screen, or EbpflbError
"""

from collections.abc import Callable
from dataclasses import dataclass

from ebpflb.bench.control import measure
from ebpflb.bench.demo_changes import kill_an_agent, scale_under_load
from ebpflb.bench.demo_stage import (
    DNS,
    NODE_PORT,
    SELFIE,
    STICKY,
    WEB,
    WEB_SERVICE,
    Outcome,
    Stage,
    check,
    check_no_failure,
)

REQUESTS = 300
FEW_REQUESTS = 30
EXCERPT_LINES = 17


@dataclass(frozen=True, slots=True)
class Scene:
    """One step of the demo."""

    title: str
    play: Callable[[Stage], Outcome]


def cluster_ip(stage: Stage) -> Outcome:
    """Let a pod call a ClusterIP: all backends share the requests, and each side sees true addresses."""
    report = measure(stage.caller, "tcp", WEB, "--count", str(REQUESTS))
    check_no_failure(report, WEB)
    expected = stage.names(WEB_SERVICE)
    check(set(report.by_backend) == expected, f"{WEB} was answered by {report.by_backend}, not by {sorted(expected)}")
    check(report.peers == [WEB], f"getpeername() says {report.peers}, not the Service's address {WEB}")
    check(report.clients == [stage.caller.address], f"the servers saw {report.clients}, not {stage.caller.address}")
    return Outcome(
        bars=report.by_backend,
        notes=(f"the caller sees {WEB} as its peer, the servers see {stage.caller.address}: nothing is masqueraded",),
    )


def dns(stage: Stage) -> Outcome:
    """Let a pod ask over UDP, from an unconnected socket: answers come from the address that was asked."""
    report = measure(stage.caller, "udp", DNS, "--count", str(FEW_REQUESTS))
    check_no_failure(report, DNS)
    check(report.peers == [DNS], f"recvfrom() says {report.peers}, not the Service's address {DNS}")
    return Outcome(bars=report.by_backend, notes=(f"recvfrom() names {DNS}, which is what a resolver insists on",))


def node_port(stage: Stage) -> Outcome:
    """Let the outside client call a NodePort on a node that has no local backend."""
    node = stage.lab.node(3)
    target = f"{node.address}:{NODE_PORT}"
    backends = stage.manifests.backends(WEB_SERVICE)
    local = [address for address in backends if stage.pod_at(address).node == node.number]
    check(not local, f"the examples give {node.name} a local backend: {local}")
    report = measure(stage.lab.client, "tcp", target, "--count", str(REQUESTS))
    check_no_failure(report, target)
    check(set(report.by_backend) == stage.names(WEB_SERVICE), f"{target} was answered by {report.by_backend} only")
    return Outcome(
        bars=report.by_backend,
        notes=(f"{node.name} has no such pod: it forwards as {', '.join(report.clients)}, and the replies come back",),
    )


def hairpin(stage: Stage) -> Outcome:
    """Let a pod call the Service whose only backend it is, without any socket hook."""
    pod = stage.self_caller
    report = measure(pod, "tcp", SELFIE, "--count", str(FEW_REQUESTS))
    check_no_failure(report, SELFIE)
    check(set(report.by_backend) == {pod.name}, f"{SELFIE} was answered by {report.by_backend}, not by {pod.name}")
    check(pod.address not in report.clients, f"{pod.name} was seen under its own address {pod.address}")
    return Outcome(notes=(f"{pod.name} answered itself {report.answered} times, as {', '.join(report.clients)}",))


def affinity(stage: Stage) -> Outcome:
    """Let a client call a Service with ClientIP affinity: one backend answers every time."""
    report = measure(stage.caller, "tcp", STICKY, "--count", str(FEW_REQUESTS))
    check_no_failure(report, STICKY)
    check(len(report.by_backend) == 1, f"{STICKY} has ClientIP affinity, yet several answered: {report.by_backend}")
    return Outcome(bars=report.by_backend)


def dump_maps(stage: Stage) -> Outcome:
    """Read the kernel's maps back in words."""
    printed = stage.agents[1].command("dump-maps", "--service", WEB_SERVICE)
    check(WEB.split(":")[0] in printed, f"`ebpflb dump-maps --service {WEB_SERVICE}` does not name {WEB}:\n{printed}")
    return Outcome(excerpt="\n".join(printed.splitlines()[:EXCERPT_LINES]))


SCENES = (
    Scene(f"a pod calls a ClusterIP, {REQUESTS} times", cluster_ip),
    Scene("a pod asks a UDP Service from an unconnected socket", dns),
    Scene(f"the outside calls a NodePort on a node without a local pod, {REQUESTS} times", node_port),
    Scene("a pod reaches itself through its Service", hairpin),
    Scene("ClientIP affinity keeps a client on one pod", affinity),
    Scene("a Service is scaled down and up under load", scale_under_load),
    Scene("an agent is killed with SIGKILL under load, and restarted", kill_an_agent),
    Scene(f"ebpflb dump-maps --service {WEB_SERVICE}", dump_maps),
)
