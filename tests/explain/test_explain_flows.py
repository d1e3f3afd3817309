"""``ebpflb explain --flows`` against the reference, which shares nothing with it but the manifests."""

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from ebpflb.cli import main
from tests.explain.clusters import random_cluster
from tests.explain.objects import Cluster, Manifest
from tests.explain.reference import answer

CLUSTERS = range(60)
FLOWS = 100
COMPARED = ("verdict", "backends", "masquerade", "service", "port_name")


def write(cluster: Cluster, folder: Path, seed: int) -> Path:
    """Write the manifests in one of the forms that people have them in; return what --manifests is given."""
    match seed % 4:
        case 0:
            path = folder / "all.json"
            path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": cluster.manifests}))
            return path
        case 1:
            path = folder / "all.yaml"
            path.write_text(yaml.safe_dump_all(cluster.manifests))
            return path
        case 2:
            for number, each in enumerate(cluster.manifests):
                (folder / f"{number}.json").write_text(json.dumps(each))
        case _:
            half = len(cluster.manifests) // 2
            (folder / "a.yaml").write_text(yaml.safe_dump_all(cluster.manifests[:half]))
            (folder / "b.json").write_text(json.dumps({"kind": "List", "items": cluster.manifests[half:]}))
    return folder


def explain(cluster: Cluster, folder: Path, seed: int, hook: str) -> list[Manifest]:
    config, manifests = folder / "config.yaml", folder / "manifests"
    manifests.mkdir(exist_ok=True)
    config.write_text(yaml.safe_dump(cluster.config))
    arguments = ["explain", "--manifests", str(write(cluster, manifests, seed)), "--config", str(config)]
    arguments += ["--node", cluster.node, "--hook", hook, "--flows", "-"]
    for address in cluster.node_addresses:
        arguments += ["--node-address", address]
    lines = "".join(json.dumps(flow) + "\n" for flow in cluster.flows)
    result = CliRunner().invoke(main, arguments, input=lines)
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.mark.parametrize("hook", ["packet", "socket"])
@pytest.mark.parametrize("seed", CLUSTERS)
def test_every_answer_is_the_reference_s(seed: int, hook: str, tmp_path: Path) -> None:
    cluster = random_cluster(seed, FLOWS)
    answers = explain(cluster, tmp_path, seed, hook)
    assert len(answers) == FLOWS
    for flow, found in zip(cluster.flows, answers, strict=True):
        assert list(found) == ["verdict", "backends", "masquerade", "frontend", "service", "port_name", "reason"]
        assert found["reason"]
        assert {name: found[name] for name in COMPARED} == answer(cluster, flow, hook), flow
