"""What ``ebpflb doctor`` says on a node, and on one where kube-proxy has left its rules."""

import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from ebpflb.bench.agents import READY_SECONDS
from ebpflb.bench.topology import Lab, Node

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with Lab("life", nodes=1, pods_per_node=0) as lab:
        yield lab.node(1)


def doctor(node: Node, *arguments: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "ebpflb", "doctor", "--cgroup", str(node.cgroup), *arguments]
    done = node.run(command, check=False, seconds=READY_SECONDS)  # it tries to compile
    assert done.stderr == ""
    return done.returncode, done.stdout


def findings(shown: str) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in json.loads(shown)["findings"]}


def test_a_node_is_well_and_every_trouble_has_a_remedy(node: Node) -> None:
    code, shown = doctor(node, "-o", "json")
    found = findings(shown)
    assert code == 0, shown
    assert not [each for each in found.values() if each["level"] == "error"]
    assert all(each["remedy"] for each in found.values() if each["level"] != "ok")
    for name in ("bcc", "bpffs", "cgroup v2", "privileges", "kernel", "trial build IPV4", "ip_forward"):
        assert found[name]["level"] == "ok", found[name]


@pytest.mark.parametrize("tool", ["iptables-nft", "iptables-legacy"])
def test_rules_of_kube_proxy_are_named_with_their_remedy(node: Node, tool: str) -> None:
    node.run([tool, "-w", "-t", "nat", "-N", "KUBE-SERVICES"])
    try:
        code, shown = doctor(node)
    finally:
        node.run([tool, "-w", "-t", "nat", "-X", "KUBE-SERVICES"])
    assert code == 0
    lines = shown.splitlines()
    (at,) = [number for number, line in enumerate(lines) if "KUBE-SERVICES" in line]
    assert lines[at].startswith("! kube-proxy")
    assert "kube-proxy --cleanup" in lines[at + 1]
