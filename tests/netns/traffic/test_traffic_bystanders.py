"""What else is on a node: no netfilter rule is made, and tc filters of others stay where they are."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ebpflb.bench.addresses import join_port
from ebpflb.bench.agents import BPFFS, Agents
from ebpflb.bench.control import measure, start_server
from ebpflb.bench.plan import DUAL_STACK
from ebpflb.bench.topology import Lab, Node
from tests.netns.host_helpers import pass_all_program, run
from tests.netns.services import Manifests, Spec
from tests.netns.traffic.world import World

pytestmark = pytest.mark.root

FOREIGN_PROGRAM = "bystander"
FOREIGN = (("uplink0", "ingress", 7), ("uplink0", "egress", 60_000), ("pod1", "ingress", 60_000))
"""Before ours and after ours."""
THREE = ("--count", "3", "--timeout", "30")


def test_no_netfilter_rule_is_installed(world: World) -> None:
    for node in world.lab.nodes:
        assert node.run(["nft", "list", "ruleset"]).stdout == ""
        assert node.run(["iptables-save"]).stdout == ""


def foreign_filters(node: Node) -> list[tuple[str, str, int]]:
    """Return where on the node a filter of the test stands."""
    return [
        (device, hook, shown["pref"])
        for device in ("uplink0", "pod1")
        for hook in ("ingress", "egress")
        for shown in bpf_filters(node, device, hook)
        if shown["options"]["prog"]["name"] == FOREIGN_PROGRAM
    ]


def bpf_filters(node: Node, device: str, hook: str) -> list[dict[str, Any]]:
    shown = tc(node, "filter", "show", "dev", device, hook)
    return [each for each in shown if each["kind"] == "bpf" and "options" in each]


def our_programs(node: Node) -> set[str]:
    return {
        shown["options"]["prog"]["name"]
        for device in ("uplink0", "pod1")
        for hook in ("ingress", "egress")
        for shown in bpf_filters(node, device, hook)
    } - {FOREIGN_PROGRAM}


def tc(node: Node, *arguments: str) -> list[dict[str, Any]]:
    shown: list[dict[str, Any]] = json.loads(node.run(["tc", "-j", *arguments]).stdout or "[]")
    return shown


def clsact_devices(node: Node) -> set[str]:
    return {shown["dev"] for shown in tc(node, "qdisc", "show") if shown["kind"] == "clsact"}


@contextmanager
def pinned_program(name: str) -> Iterator[Path]:
    """Pin a program that has no opinion on any packet."""
    pin = BPFFS / name
    with pass_all_program(FOREIGN_PROGRAM) as descriptor:
        run("bpftool", "prog", "pin", "id", str(program_id(descriptor)), str(pin))
        try:
            yield pin
        finally:
            pin.unlink()


def program_id(descriptor: int) -> int:
    text = Path(f"/proc/self/fdinfo/{descriptor}").read_text(encoding="ascii")
    return int(next(line.split()[1] for line in text.splitlines() if line.startswith("prog_id:")))


@contextmanager
def crowded_node() -> Iterator[Lab]:
    """Build a node on whose devices another program has put filters."""
    with (
        Lab("crowded", nodes=1, pods_per_node=2, families=DUAL_STACK) as lab,
        pinned_program(f"{lab.id}-bystander") as pin,
    ):
        node = lab.node(1)
        for device in ("uplink0", "pod1"):
            node.run(["tc", "qdisc", "add", "dev", device, "clsact"])
        for device, hook, preference in FOREIGN:
            where = f"dev {device} {hook} pref {preference} handle 0x77 protocol all"
            node.run(["tc", "filter", "add", *where.split(), "bpf", "da", "object-pinned", str(pin)])
        start_server(lab.pod(1, 1))
        yield lab


def test_filters_of_others_survive() -> None:
    with crowded_node() as lab, tempfile.TemporaryDirectory() as scratch:
        node, folder = lab.node(1), Path(scratch)
        (folder / "manifests").mkdir()
        manifests = Manifests(folder / "manifests", lab)
        spec = Spec("web", 1, (lab.pod(1, 1),))
        manifests.put(spec)
        with Agents(lab, manifests.folder, folder / "state"):
            assert our_programs(node)
            for address in node.addresses:
                report = measure(lab.client, "tcp", join_port(address, spec.node_port("tcp")), *THREE)
                assert report.by_backend == {lab.pod(1, 1).name: 3}
            assert foreign_filters(node) == list(FOREIGN)
            assert clsact_devices(node) == {"uplink0", "pod1", "pod2"}
        assert our_programs(node) == set()
        assert foreign_filters(node) == list(FOREIGN)
        assert clsact_devices(node) == {"uplink0", "pod1"}
