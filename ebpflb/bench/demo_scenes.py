"""The demo's scenes at rest: each keeps one promise before the viewer's eyes; a broken promise raises.

Stage -> Scene.play -> Outcome (bars, notes, an excerpt) for the screen, or EbpflbError
"""

from collections.abc import Callable
from dataclasses import dataclass

from ebpflb.bench.addresses import join_port
from ebpflb.bench.control import measure
from ebpflb.bench.demo_changes import KILLED_NODE, kill_an_agent, scale_under_load
from ebpflb.bench.demo_stage import (
    DNS,
    NODE_PORT,
    SELFIE,
    STICKY,
    WEB,
    WEB_SERVICE,
    Outcome,
    Stage,
    bars_of,
    check,
    check_no_failure,
)
from ebpflb.core.abi import Family

REQUESTS = 300
FEW_REQUESTS = 30
WRONG_PORT = 81


@dataclass(frozen=True, slots=True)
class Scene:
    """One step of the demo."""

    title: str
    play: Callable[[Stage], Outcome]


def cluster_ip(stage: Stage, family: Family) -> Outcome:
    """Let a pod call a ClusterIP: all backends share the requests, and each side sees true addresses."""
    target, own = WEB[family], stage.caller.address_of(family)
    report = measure(stage.caller, "tcp", target, "--count", str(REQUESTS))
    check_no_failure(report, target)
    expected = stage.names(WEB_SERVICE)
    check(
        set(report.by_backend) == expected, f"{target} was answered by {report.by_backend}, not by {sorted(expected)}"
    )
    check(report.peers == [target], f"getpeername() says {report.peers}, not the Service's address {target}")
    check(report.clients == [own], f"the servers saw {report.clients}, not {own}")
    seen = f"the caller sees {target} as its peer, the servers see {own}: nothing is masqueraded"
    return Outcome(bars_of(family, report), notes=(seen,))


def dns(stage: Stage, family: Family) -> Outcome:
    """Let a pod ask over UDP, from an unconnected socket: answers come from the address that was asked."""
    target = DNS[family]
    report = measure(stage.caller, "udp", target, "--count", str(FEW_REQUESTS))
    check_no_failure(report, target)
    check(report.peers == [target], f"recvfrom() says {report.peers}, not the Service's address {target}")
    return Outcome(bars_of(family, report), notes=(f"recvfrom() names {target}, which is what a resolver insists on",))


def node_port(stage: Stage, family: Family) -> Outcome:
    """Let the outside client call a NodePort on a node that has no local backend."""
    node = stage.lab.node(3)
    target = join_port(node.address_of(family), NODE_PORT)
    local = [pod.name for pod in stage.pods_of(WEB_SERVICE) if pod.node == node.number]
    check(not local, f"the examples give {node.name} a local backend: {local}")
    report = measure(stage.lab.client, "tcp", target, "--count", str(REQUESTS))
    check_no_failure(report, target)
    check(set(report.by_backend) == stage.names(WEB_SERVICE), f"{target} was answered by {report.by_backend} only")
    client = stage.lab.client.address_of(family)
    direct = stage.settings.answers_directly
    check((report.clients == [client]) == direct, f"the backends saw the client {client} as {report.clients}")
    how = (
        f"the backends see the client, {client}, and answer it directly"
        if direct
        else f"it forwards as {', '.join(report.clients)}, and the replies come back"
    )
    return Outcome(bars_of(family, report), notes=(f"{node.name} has no such pod: {how}",))


def hairpin(stage: Stage, family: Family) -> Outcome:
    """Let a pod call the Service whose only backend it is, without any socket hook."""
    pod, target = stage.self_caller, SELFIE[family]
    report = measure(pod, "tcp", target, "--count", str(FEW_REQUESTS))
    check_no_failure(report, target)
    check(set(report.by_backend) == {pod.name}, f"{target} was answered by {report.by_backend}, not by {pod.name}")
    own = pod.address_of(family)
    check(own not in report.clients, f"{pod.name} was seen under its own address {own}")
    return Outcome(notes=(f"{pod.name} answered itself {report.answered} times, as {', '.join(report.clients)}",))


def affinity(stage: Stage, family: Family) -> Outcome:
    """Let a client call a Service with ClientIP affinity: one backend answers every time."""
    target = STICKY[family]
    report = measure(stage.caller, "tcp", target, "--count", str(FEW_REQUESTS))
    check_no_failure(report, target)
    check(len(report.by_backend) == 1, f"{target} has ClientIP affinity, yet several answered: {report.by_backend}")
    return Outcome(bars_of(family, report))


def wrong_port(stage: Stage, family: Family) -> Outcome:
    """Call a port of a ClusterIP that its Service does not have: refused at once, to a socket and on the wire."""
    address = WEB[family].rpartition(":")[0]
    target = f"{address}:{WRONG_PORT}"
    refusals = []
    for pod in (stage.caller, stage.self_caller):
        report = measure(pod, "tcp", target, "--count", str(FEW_REQUESTS))
        check(
            report.failures == {"ECONNREFUSED": FEW_REQUESTS}, f"{target} should refuse {pod.name}: {report.failures}"
        )
        refusals.append(f"{report.failed} times to {pod.name}")
    return Outcome(notes=(f"{target}: connection refused {', '.join(refusals)}",))


def in_each_family(play: Callable[[Stage, Family], Outcome]) -> Callable[[Stage], Outcome]:
    """Return a scene that is played in one family after the other."""

    def play_all(stage: Stage) -> Outcome:
        outcomes = [play(stage, family) for family in stage.families]
        bars = {name: count for outcome in outcomes for name, count in outcome.bars.items()}
        return Outcome(bars, tuple(note for outcome in outcomes for note in outcome.notes))

    return play_all


def dump_maps(stage: Stage) -> Outcome:
    """Read the kernel's maps back in words."""
    printed = stage.agents[1].command("dump-maps", "frontends", "--service", WEB_SERVICE)
    for target in WEB.values():
        check(
            target in printed,
            f"`ebpflb dump-maps frontends --service {WEB_SERVICE}` does not name {target}:\n{printed}",
        )
    return Outcome(excerpt=printed)


def explain(stage: Stage) -> Outcome:
    """Let an agent's maps say what becomes of a packet, and why."""
    family = stage.families[0]
    node = stage.lab.node(KILLED_NODE)
    client, target = stage.lab.client.address_of(family), join_port(node.address_of(family), NODE_PORT)
    printed = stage.agents[node.number].command("explain", "--from", client, "--to", target)
    for word in (WEB_SERVICE, "FORWARD"):
        check(word in printed, f"`ebpflb explain --from {client} --to {target}` does not say {word}:\n{printed}")
    return Outcome(excerpt=printed)


SCENES = (
    Scene(f"a pod calls a ClusterIP, {REQUESTS} times", in_each_family(cluster_ip)),
    Scene("a pod asks a UDP Service from an unconnected socket", in_each_family(dns)),
    Scene(f"the outside calls a NodePort on a node without a local pod, {REQUESTS} times", in_each_family(node_port)),
    Scene("a pod reaches itself through its Service", in_each_family(hairpin)),
    Scene("a port that a ClusterIP does not have is refused at once", in_each_family(wrong_port)),
    Scene("ClientIP affinity keeps a client on one pod", in_each_family(affinity)),
    Scene("a Service is scaled down and up under load", scale_under_load),
    Scene("an agent is killed with SIGKILL under load, and restarted", kill_an_agent),
    Scene(f"ebpflb dump-maps frontends --service {WEB_SERVICE}", dump_maps),
    Scene("ebpflb explain: why a packet from outside goes where it goes", explain),
)
