"""An agent dies, is stopped, is upgraded: traffic goes on, and what it left in the kernel is taken over as it is."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

import pytest

from ebpflb.bench.agents import READY_SECONDS
from ebpflb.bench.control import Load, measure, start_server
from ebpflb.bench.report import Report
from ebpflb.bench.topology import Lab, Pod
from ebpflb.core.abi import Family
from ebpflb.datapath.programs import SOCKET_PROGRAMS, programs_of
from tests.netns.lab_agents import UNHURRIED
from tests.netns.life_helpers import (
    SOON_S,
    LifeAgent,
    addressed_otherwise,
    agent_on,
    assert_no_failure,
    bpftool,
    loads,
    slice_of,
    tcp_service,
    udp_service,
    until,
    write_objects,
)

pytestmark = pytest.mark.root

WEB = "10.96.0.10:80"
DNS = "10.96.0.53:53"
LATE = "10.96.0.11:80"
WEB_PORT = 30080
DNS_PORT = 30053
PATIENCE = ("--timeout", "10")
"""What is refused or broken is seen at once: this is for what is late because the machine is busy."""
RATE = ("--rate", "100", *PATIENCE)
SOCKET_HOOKS = len(programs_of(Family.IPV4, SOCKET_PROGRAMS))
OTHER_BUILD = (sys.executable, "-c", addressed_otherwise("169.254.77.2"))
THIRD_BUILD = (sys.executable, "-c", addressed_otherwise("169.254.77.3"))
NEVER_SWEEPS = (sys.executable, "-c", f"import ebpflb.agent.sweeping as s; s.PERIOD_S = 3600\n{UNHURRIED[2]}")
FOURTH_BUILD = (sys.executable, "-c", addressed_otherwise("169.254.77.4"))


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Only node-1 has an agent; the backends are on node-2, so what comes from outside is sent on."""
    with Lab("life", nodes=2, pods_per_node=(1, 2)) as built:
        for pod in built.node(2).pods:
            start_server(pod, udp=[5353])
        yield built


@pytest.fixture(scope="module")
def manifests(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("manifests")
    pods = lab.node(2).pods
    web = [tcp_service("web", "10.96.0.10", WEB_PORT), slice_of("web", *pods)]
    write_objects(folder, web=web)
    serve_dns(folder, *pods)
    return folder


@pytest.fixture(scope="module")
def agent(lab: Lab, manifests: Path) -> Iterator[LifeAgent]:
    with agent_on(lab.node(1), "--manifests", str(manifests)) as running:
        yield running


def load_from_everywhere(lab: Lab) -> AbstractContextManager[list[Report]]:
    """New connections, and a kept one, from a pod and from outside."""
    pod, outside = lab.pod(1, 1), f"{lab.node(1).address}:{WEB_PORT}"
    return loads(
        Load(pod, "tcp", WEB, *RATE),
        Load(pod, "tcp", WEB, *RATE, "--keep"),
        Load(lab.client, "tcp", outside, *RATE),
        Load(lab.client, "tcp", outside, *RATE, "--keep"),
    )


def some_traffic(lab: Lab) -> None:
    """Let enough requests pass that whatever is wrong now has shown."""
    for place, target in ((lab.pod(1, 1), WEB), (lab.client, f"{lab.node(1).address}:{WEB_PORT}")):
        report = measure(place, "tcp", target, "--count", "30", *PATIENCE)
        assert (report.answered, report.failures) == (30, {})


def kept_flows(agent: LifeAgent) -> set[tuple[str, str, str]]:
    return {
        (row["source"], row["destination"], row["to_destination"])
        for row in agent.rows("flows")
        if row["state"] == "established"
    }


def flows_to(agent: LifeAgent, pod: Pod) -> list[dict[str, Any]]:
    return [row for row in agent.rows("flows") if row["backend"] == f"{pod.address}:5353/UDP"]


def sockets_to(agent: LifeAgent, pod: Pod) -> list[dict[str, Any]]:
    """Return what is remembered of sockets that the socket hooks gave this backend of the UDP Service."""
    backend = f"{pod.address}:5353/UDP"
    return [row for row in agent.rows("sock_origins") if (row["frontend"], row["backend"]) == (f"{DNS}/UDP", backend)]


def serve_dns(manifests: Path, *pods: Pod) -> None:
    write_objects(manifests, dns=[udp_service("dns", "10.96.0.53", DNS_PORT), slice_of("dns", *pods, udp=True)])


def is_compiling(agent: LifeAgent) -> bool:
    """Say whether a child of the agent, of any of its threads, has got as far as the compiler's library."""
    with suppress(FileNotFoundError, ProcessLookupError):  # of a thread, or a child, that has just ended
        tasks = Path(f"/proc/{agent.process.pid}/task").glob("*/children")
        children = [child for task in tasks for child in task.read_text().split()]
        return any("libbcc" in Path(f"/proc/{child}/maps").read_text() for child in children)
    return False


def programs_on_hooks(agent: LifeAgent) -> dict[tuple[str, str, str], int]:
    """Return the program at each hook, of tc and of the cgroup; two of ours at one hook are a failure."""
    found = {(each.device, each.hook.value, each.program): each.program_id for each in agent.filters()}
    assert len(found) == len(agent.filters())
    sockets = agent.socket_programs()
    assert len(sockets) == len({(each["attach_type"], each["name"]) for each in sockets})
    return found | {("cgroup", each["attach_type"], each["name"]): each["id"] for each in sockets}


def builds(agent: LifeAgent) -> list[str]:
    return sorted({pin.parent.name for pin in agent.pins.list() if pin.parent.parent.name == "progs"})


def test_bpftool_shows_our_names(agent: LifeAgent) -> None:
    shown = [bpftool("prog", "show", "id", str(number))["name"] for number in programs_on_hooks(agent).values()]
    sockets = [program.name(Family.IPV4) for program in programs_of(Family.IPV4, SOCKET_PROGRAMS)]
    assert sorted(shown) == sorted([*sockets, "lb_uplink_in4", "lb_out4", "lb_pod_in4", "lb_out4"])
    pinned = {pin.name: str(pin) for pin in agent.pins.list() if pin.parent.name == "maps"}
    assert {"frontends", "slots", "backends", "flows", "affinity", "sock_origins", "counters"} <= pinned.keys()
    for name, pin in pinned.items():
        assert bpftool("map", "show", "pinned", pin)["name"] == name


def test_sigkill_and_restart_under_load(lab: Lab, agent: LifeAgent) -> None:
    some_traffic(lab)
    tables, hooks = agent.tables(), programs_on_hooks(agent)
    with load_from_everywhere(lab) as reports:
        flows = until(lambda: kept_flows(agent))
        agent.kill()
        some_traffic(lab)
        agent.restart()
        some_traffic(lab)
        assert flows & kept_flows(agent)
    assert_no_failure(reports)
    after = agent.tables()
    assert (after.frontends, after.backends, after.services) == (tables.frontends, tables.backends, tables.services)
    assert after.slots.keys() == tables.slots.keys()
    assert all((after.slots[span] == ids).all() for span, ids in tables.slots.items())
    assert programs_on_hooks(agent) == hooks


def test_a_restart_compiles_and_attaches_nothing(agent: LifeAgent) -> None:
    agent.kill()
    agent.restart()
    assert len(agent.logged("event=build_adopted")) == 1
    assert agent.logged("event=build_compiled") == []
    assert len(agent.logged("event=cgroup_hook")) == len(agent.logged(": adopted'")) == SOCKET_HOOKS
    assert agent.logged("event=device_hook") == []


def test_what_changed_while_it_was_dead_is_applied(lab: Lab, agent: LifeAgent, manifests: Path) -> None:
    """The Service has one backend, then the other one: whoever talks to it has to move."""
    gone, stays = lab.node(2).pods
    serve_dns(manifests, gone)
    until(lambda: agent.backends_of("10.96.0.53") == [f"{gone.address}:5353/UDP"])
    inside = Load(lab.pod(1, 1), "udp", DNS, "--rate", "50", *PATIENCE, "--connected", "--keep")
    outside = Load(lab.client, "udp", f"{lab.node(1).address}:{DNS_PORT}", "--rate", "50", *PATIENCE, "--keep")
    with loads(inside, outside) as reports:
        until(lambda: flows_to(agent, gone))  # the outside client's, once its second datagram has confirmed it
        assert len(sockets_to(agent, gone)) == 1
        agent.kill()
        serve_dns(manifests, stays)
        write_objects(manifests, late=[tcp_service("late", "10.96.0.11"), slice_of("late", stays)])
        assert measure(lab.pod(1, 1), "udp", DNS, "--count", "20", *PATIENCE).by_backend == {gone.name: 20}
        agent.restart()
        assert measure(lab.pod(1, 1), "tcp", LATE, "--count", "1", *PATIENCE).by_backend == {stays.name: 1}
        # The socket is destroyed, and the flow of the outside client ended: both go on with what is left.
        until(lambda: not flows_to(agent, gone) and flows_to(agent, stays))
        until(lambda: not sockets_to(agent, gone) and sockets_to(agent, stays))
    socket, flow = reports
    assert (socket.failed, socket.breaks) == (1, 1)
    assert (flow.failures, flow.breaks) == ({}, 0)
    assert socket.by_backend.keys() == flow.by_backend.keys() == {gone.name, stays.name}


def test_sigterm_ends_it_at_once_and_traffic_goes_on(lab: Lab, agent: LifeAgent) -> None:
    """It is told to end: whichever of its parts only looked whether to, would do so in an hour."""
    agent.kill()
    agent.restart(NEVER_SWEEPS)
    with load_from_everywhere(lab) as reports:
        assert agent.process.stop(SOON_S) == 0
        some_traffic(lab)
    assert_no_failure(reports)
    assert agent.logged("event=stopped")
    agent.restart()


def test_another_build_replaces_this_one_under_load(lab: Lab, agent: LifeAgent) -> None:
    hooks, (build,) = programs_on_hooks(agent), builds(agent)
    with load_from_everywhere(lab) as reports:
        flows = until(lambda: kept_flows(agent))
        agent.kill()
        agent.restart(OTHER_BUILD)
        some_traffic(lab)
        assert flows & kept_flows(agent)
    assert_no_failure(reports)
    upgraded = programs_on_hooks(agent)
    assert upgraded.keys() == hooks.keys()
    assert not set(upgraded.values()) & set(hooks.values())
    assert agent.logged(f"key={build}")
    assert len(builds(agent)) == 1
    assert builds(agent) != [build]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_it_compiles_ends_it_in_order(agent: LifeAgent, number: signal.Signals) -> None:
    """To the whole process group, as a terminal's Ctrl-C. The compiler, out of its reach, is waited for."""
    agent.kill()
    agent.start(FOURTH_BUILD)
    until(lambda: is_compiling(agent))
    os.killpg(agent.process.pid, number)
    assert agent.process.wait(READY_SECONDS) == 0
    assert "event=stopped" in agent.process.lines()[-1]
    assert agent.logged("Traceback") == []
    agent.restart(OTHER_BUILD)


def test_a_build_that_was_cut_short_is_made_anew(lab: Lab, agent: LifeAgent) -> None:
    hooks = programs_on_hooks(agent)
    with load_from_everywhere(lab) as reports:
        agent.kill()
        agent.start(THIRD_BUILD)
        until(lambda: is_compiling(agent))
        agent.kill()
        assert programs_on_hooks(agent) == hooks
        agent.restart(THIRD_BUILD)
    assert_no_failure(reports)
    assert len(agent.logged("event=build_compiled")) == 1
    assert programs_on_hooks(agent).keys() == hooks.keys()
    assert len(builds(agent)) == 1
