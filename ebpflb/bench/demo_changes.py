"""The demo's scenes under load: something changes or dies, and no request may fail.

steady load from a pod and from outside + a change -> Reports -> Outcome, or EbpflbError
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from ebpflb.bench.addresses import join_port
from ebpflb.bench.control import Load
from ebpflb.bench.demo_stage import NAMES, NODE_PORT, WEB, WEB_SERVICE, Outcome, Stage, check, check_no_failure
from ebpflb.bench.report import Report

RATE = ("--rate", "100")
FLOW_SECONDS = 2.0
LEAVING = (2, 2)
JOINING = (1, 2)
"""Node and pod."""
KILLED_NODE = 3
NEW = "new connections"
OUTSIDE = "outside"


@contextmanager
def _load_from_everywhere(stage: Stage) -> Iterator[dict[str, Load]]:
    """Call the web Service from a pod and from outside, on new connections and on a kept one, in each family."""
    with ExitStack() as running:
        loads = {}
        for family in stage.families:
            through_node = join_port(stage.lab.node(KILLED_NODE).address_of(family), NODE_PORT)
            for where, place, target in (
                ("a pod", stage.caller, WEB[family]),
                (OUTSIDE, stage.lab.client, through_node),
            ):
                for what, flags in ((NEW, ()), ("one kept connection", ("--keep",))):
                    load = running.enter_context(Load(place, "tcp", target, *RATE, *flags))
                    loads[f"{NAMES[family]}: {what} from {where}"] = load
        yield loads


def _without_a_failure(loads: dict[str, Load]) -> tuple[str, ...]:
    """Stop all loads; fail the demo if one saw a failure."""
    reports: dict[str, Report] = {what: load.stop() for what, load in loads.items()}
    for what, report in reports.items():
        check_no_failure(report, what)
    return tuple(f"{what}: {report.requests} requests, 0 failed" for what, report in reports.items())


def scale_under_load(stage: Stage) -> Outcome:
    """Take a backend away, then bring it back with another; new connections follow, kept ones stay, none fails."""
    before = stage.pods_of(WEB_SERVICE)
    leaving, joining = stage.lab.pod(*LEAVING), stage.lab.pod(*JOINING)
    check(leaving in before, f"the examples do not list {leaving.name} behind {WEB_SERVICE}")
    fewer = [pod for pod in before if pod != leaving]
    more = [*before, joining]
    with _load_from_everywhere(stage) as loads:
        for pods in (fewer, more):
            stage.scale(WEB_SERVICE, pods)
            bars = stage.settle_everywhere()
        notes = _without_a_failure(loads)
    scaled = f"{len(before)} pods, then {len(fewer)}, then {len(more)}"
    return Outcome(bars=bars, notes=(scaled, *notes))


def kill_an_agent(stage: Stage) -> Outcome:
    """Kill the agent that the load passes through, let traffic run without it, start it again."""
    agent = stage.agents[KILLED_NODE]
    with _load_from_everywhere(stage) as loads:
        agent.kill()
        loads[f"{NAMES[stage.families[0]]}: {NEW} from {OUTSIDE}"].flow(FLOW_SECONDS)
        agent.start()
        agent.wait_ready()
        adopted = [line for line in agent.running.lines() if "event=build_adopted" in line]
        notes = _without_a_failure(loads)
    check(bool(adopted), f"the agent of node-{KILLED_NODE} did not adopt its programs:\n{agent.running.tail()}")
    says = (f"the restarted agent says: {line.partition('event=')[2]}" for line in adopted)
    return Outcome(notes=(*notes, *says))
