import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from ebpflb.core.model import Node, parse_address
from ebpflb.errors import UsageError
from ebpflb.files.offline import read_offline

SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "web", "namespace": "shop"},
    "spec": {"clusterIP": "10.96.0.1", "ports": [{"port": 80}]},
}
SLICE = {
    "apiVersion": "discovery.k8s.io/v1",
    "kind": "EndpointSlice",
    "metadata": {"name": "web-1", "namespace": "shop", "labels": {"kubernetes.io/service-name": "web"}},
    "addressType": "IPv4",
    "ports": [{"name": "", "port": 8080}],
    "endpoints": [{"addresses": ["10.0.0.1"]}],
}
CIDR = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "ServiceCIDR",
    "metadata": {"name": "kubernetes"},
    "spec": {"cidrs": ["10.96.0.0/12"]},
}
WEB = ("shop", "web")


def node(name: str, address: str = "192.0.2.1") -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name},
        "status": {"addresses": [{"type": "InternalIP", "address": address}]},
    }


EVERYTHING = [SERVICE, SLICE, CIDR, node("n1"), node("n2", "192.0.2.2")]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("all.json", json.dumps({"kind": "List", "items": EVERYTHING})),
        ("all.yaml", yaml.safe_dump_all(EVERYTHING)),
        ("all", yaml.safe_dump({"kind": "List", "items": EVERYTHING})),
        ("all.txt", json.dumps({"kind": "List", "items": EVERYTHING})),
    ],
)
def test_a_file_is_read_whatever_its_form(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    found = read_offline(tmp_path / name, "n1", [parse_address("192.0.2.99")])
    assert found.remarks == ()
    snapshot = found.snapshot
    assert snapshot.services.keys() == {WEB}
    assert snapshot.slices.keys() == {("shop", "web-1")}
    assert snapshot.service_cidrs.keys() == {("", "kubernetes")}
    assert snapshot.node.addresses == (parse_address("192.0.2.1"),)
    assert snapshot.host.addresses == {parse_address("192.0.2.1"), parse_address("192.0.2.99")}


def test_a_folder_is_read_as_the_agent_reads_it(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(yaml.safe_dump_all(EVERYTHING[:2]))
    (tmp_path / "b.json").write_text(json.dumps(node("n1")))
    (tmp_path / ".hidden.yaml").write_text(yaml.safe_dump(CIDR))
    (tmp_path / "notes.txt").write_text("no manifest")
    (tmp_path / "folder.yaml").mkdir()
    found = read_offline(tmp_path, "n1")
    assert found.remarks == ()
    assert (len(found.snapshot.services), len(found.snapshot.slices), len(found.snapshot.service_cidrs)) == (1, 1, 0)


def test_what_is_refused_is_named_and_the_rest_counts(tmp_path: Path) -> None:
    bad_spec = {"clusterIP": "10.96.0.300", "ports": [{"port": 80}]}
    bad = {**SERVICE, "metadata": {"name": "bad", "namespace": "shop"}, "spec": bad_spec}
    headless = {**SERVICE, "metadata": {"name": "none"}, "spec": {"clusterIP": "None", "ports": [{"port": 80}]}}
    (tmp_path / "a.yaml").write_text(yaml.safe_dump_all([SERVICE, bad, headless, node("n1")]))
    (tmp_path / "b.yaml").write_text("kind: [")
    found = read_offline(tmp_path, "n1")
    assert found.snapshot.services.keys() == {WEB}
    unreadable, refused, unserved = found.remarks
    assert unreadable.startswith("b.yaml:2:1: ")
    assert unreadable.endswith("; mend the file")
    assert refused.startswith("Service shop/bad: spec.clusterIP: '10.96.0.300' is not an IP address (in a.yaml:")
    assert unserved.startswith("Service default/none is not served: it is headless")


def test_a_file_of_a_folder_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(yaml.safe_dump_all([SERVICE, node("n1")]))
    (tmp_path / "b.yaml").symlink_to(tmp_path / "nowhere")
    found = read_offline(tmp_path, "n1")
    assert found.snapshot.services.keys() == {WEB}
    assert found.remarks == ("b.yaml cannot be read: No such file or directory; make it readable",)


@pytest.mark.parametrize("others", [[], [node("n2")]])
def test_a_node_that_is_not_there_is_worth_a_word(tmp_path: Path, others: list[dict[str, Any]]) -> None:
    (tmp_path / "a.yaml").write_text(yaml.safe_dump_all([SERVICE, *others]))
    found = read_offline(tmp_path, "n1")
    assert found.snapshot.node == Node("n1")
    assert found.remarks == ("Node n1 is not among the manifests: no zone, address or pod network of it is known",)


def test_a_node_that_is_refused_is_not_said_to_be_missing(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(node("n1", "nonsense")))
    (remark,) = read_offline(tmp_path, "n1").remarks
    assert remark.startswith("Node n1: status.addresses[0].address: 'nonsense'")


def test_a_path_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere: No such file or directory; give --manifests a folder"):
        read_offline(tmp_path / "nowhere", "n1")
