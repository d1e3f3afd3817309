"""The demo's scenes under load: something changes or dies, and no request may fail.

steady load from a pod and from outside + a change -> Reports -> Outcome, or EbpflbError
"""

from collections.abc import Iterator
from contextlib import contextmanager

from ebpflb.bench.control import Load
from ebpflb.bench.demo_stage import NODE_PORT, WEB, WEB_SERVICE, Outcome, Stage, check, check_no_failure
from ebpflb.bench.report import Report

RATE = ("--rate", "200")
FLOW_SECONDS = 2.0
LEAVING = "10.244.2.12"
JOINING = "10.244.1.12"
KILLED_NODE = 3


@contextmanager
def _load_from_everywhere(stage: Stage) -> Iterator[dict[str, Load]]:
    """Call the web Service from a pod and from outside: new connections from both, a kept one from the pod."""
    through_node = f"{stage.lab.node(KILLED_NODE).address}:{NODE_PORT}"
    with (
        Load(stage.caller, "tcp", WEB, *RATE) as inside,
        Load(stage.caller, "tcp", WEB, *RATE, "--keep") as kept,
        Load(stage.lab.client, "tcp", through_node, *RATE) as outside,
        Load(stage.lab.client, "tcp", through_node, *RATE, "--keep") as kept_outside,
    ):
        yield {
            "new connections from a pod": inside,
            "one kept connection from a pod": kept,
            "new connections from outside": outside,
            "one kept connection from outside": kept_outside,
        }


def _without_a_failure(loads: dict[str, Load]) -> tuple[str, ...]:
    """Stop all loads; fail the demo if one saw a failure."""
    reports: dict[str, Report] = {what: load.stop() for what, load in loads.items()}
    for what, report in reports.items():
        check_no_failure(report, what)
    return tuple(f"{what}: {report.requests} requests, 0 failed" for what, report in reports.items())


def scale_under_load(stage: Stage) -> Outcome:
    """Take a backend away, then bring it back with another; new connections follow, kept ones stay, none fails."""
    before = stage.manifests.backends(WEB_SERVICE)
    fewer = [address for address in before if address != LEAVING]
    check(fewer != before, f"the examples do not list {LEAVING} behind {WEB_SERVICE}")
    more = [*before, JOINING]
    with _load_from_everywhere(stage) as loads:
        for addresses in (fewer, more):
            stage.scale(WEB_SERVICE, addresses)
            spread = stage.settle_everywhere()
        notes = _without_a_failure(loads)
    scaled = f"{len(before)} pods, then {len(fewer)}, then {len(more)}"
    return Outcome(bars=spread.by_backend, notes=(scaled, *notes))


def kill_an_agent(stage: Stage) -> Outcome:
    """Kill the agent that the load passes through, let traffic run without it, start it again."""
    agent = stage.agents[KILLED_NODE]
    with _load_from_everywhere(stage) as loads:
        agent.kill()
        loads["new connections from outside"].flow(FLOW_SECONDS)
        agent.start()
        agent.wait_ready()
        adopted = [line for line in agent.running.lines() if "event=build_adopted" in line]
        notes = _without_a_failure(loads)
    check(bool(adopted), f"the agent of node-{KILLED_NODE} did not adopt its programs:\n{agent.running.tail()}")
    return Outcome(notes=(*notes, f"the restarted agent says: {adopted[0].partition('event=')[2]}"))
