"""Opt-outs in the agent: which pods are asked for, what stands in the way, and one Host out of two threads' facts."""

import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from ebpflb.agent import opt_outs
from ebpflb.agent.config import AgentConfig
from ebpflb.agent.opt_outs import HostFacts, OptOuts, obstacle
from ebpflb.core.model import Host, Pod
from ebpflb.host.opt_out_watcher import OptOutWatcher
from ebpflb.host.opt_outs import OptOutView

ADDRESS = bytes([192, 0, 2, 1])
CONFIG = AgentConfig("node-1", cgroup=Path("/nowhere"), pod_devices=("veth*",))


def pod(name: str, **says: object) -> Pod:
    return Pod("demo", name, f"uid-of-{name}", "node-1", **says)  # type: ignore[arg-type]


def test_pods_that_the_rules_name_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted: list[Mapping[str, str]] = []
    monkeypatch.setattr(OptOutWatcher, "want", lambda _, pods: wanted.append(pods))
    parts = OptOuts(AgentConfig("node-1", cgroup=Path("/nowhere"), opt_out_runtime_classes=("fire*",)))
    said = pod("said", socket_lb=False)
    boxed, other = pod("boxed", runtime_class="firecracker"), pod("other", runtime_class="kata")
    parts.on_pods([said, boxed, other, pod("plain")])
    assert wanted == [
        {
            "uid-of-said": "pod demo/said (ebpflb.io/socket-lb)",
            "uid-of-boxed": "pod demo/boxed (runtimeClassName firecracker)",
        }
    ]


def test_without_pod_devices_nobody_is_opted_out_and_every_listener_hears_why() -> None:
    parts, stop = OptOuts(AgentConfig("node-1", cgroup=Path("/nowhere"))), threading.Event()
    parts.on_pods([pod("said", socket_lb=False)])
    views: list[OptOutView] = []
    parts.run([views.append, lambda _: stop.set()], stop)
    (view,) = views
    assert view.cookies == frozenset()
    assert "pod demo/said" in view.warnings[0]
    assert "--pod-devices" in view.warnings[0]


@pytest.mark.parametrize(
    ("config", "cookie", "word"),
    [
        (AgentConfig("node-1", pod_devices=("veth*",)), 1, "--cgroup"),
        (AgentConfig("node-1", cgroup=Path("/nowhere")), 1, "--pod-devices"),
        (CONFIG, None, "5.14"),
    ],
)
def test_what_stands_in_the_way_has_a_remedy(
    config: AgentConfig, cookie: int | None, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opt_outs, "netns_cookie", lambda: cookie)
    reason, _, remedy = obstacle(config).partition("; ")
    assert reason
    assert word in remedy


def test_nothing_stands_in_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opt_outs, "netns_cookie", lambda: 1)
    assert obstacle(CONFIG) == ""


def test_the_host_is_held_back_until_the_opt_outs_are_known() -> None:
    hosts: list[Host] = []
    facts = HostFacts(hosts.append)
    facts.on_host(Host(frozenset({ADDRESS})))
    assert hosts == []
    facts.on_opt_outs(OptOutView(frozenset({7})))
    facts.on_host(Host())
    facts.on_opt_outs(OptOutView())
    assert hosts == [
        Host(frozenset({ADDRESS}), opt_outs=frozenset({7})),
        Host(opt_outs=frozenset({7})),
        Host(),
    ]
