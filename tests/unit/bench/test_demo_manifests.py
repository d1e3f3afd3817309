from pathlib import Path

import pytest
import yaml

from ebpflb.bench.demo_manifests import Manifests
from ebpflb.errors import EbpflbError

TWO_SERVICES = """
kind: Service
metadata: {namespace: demo, name: web}
---
kind: EndpointSlice
metadata: {namespace: demo, name: web-1, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
endpoints:
- addresses: [10.244.1.11]
- addresses: [10.244.2.11]
---
kind: EndpointSlice
metadata: {namespace: demo, name: web-2, labels: {kubernetes.io/service-name: web}}
addressType: IPv6
endpoints:
- addresses: ["fd00:10:244:1::b"]
---
kind: EndpointSlice
metadata: {namespace: demo, name: dns-1, labels: {kubernetes.io/service-name: dns}}
addressType: IPv4
endpoints:
- addresses: [10.244.3.11]
"""


@pytest.fixture
def manifests(tmp_path: Path) -> Manifests:
    source = tmp_path / "examples"
    source.mkdir()
    (source / "all.yaml").write_text(TWO_SERVICES, encoding="utf-8")
    return Manifests(source, tmp_path / "copy")


def test_backends_of_one_service(manifests: Manifests) -> None:
    assert manifests.backends("demo/web") == ["10.244.1.11", "10.244.2.11", "fd00:10:244:1::b"]
    assert manifests.backends("demo/dns") == ["10.244.3.11"]


def test_scaling_changes_that_service_alone_and_leaves_one_file(manifests: Manifests, tmp_path: Path) -> None:
    manifests.set_backends("demo/web", {"fd00:10:244:2::c": "node-2", "10.244.2.12": "node-2"})
    assert manifests.backends("demo/web") == ["10.244.2.12", "fd00:10:244:2::c"]
    assert manifests.backends("demo/dns") == ["10.244.3.11"]
    assert [path.name for path in manifests.folder.iterdir()] == ["all.yaml"]
    documents = list(yaml.safe_load_all((manifests.folder / "all.yaml").read_text(encoding="utf-8")))
    assert [document["kind"] for document in documents] == ["Service", *["EndpointSlice"] * 3]
    assert [document["endpoints"][0]["addresses"] for document in documents[1:3]] == [
        ["10.244.2.12"],
        ["fd00:10:244:2::c"],
    ]
    assert documents[1]["endpoints"][0]["nodeName"] == "node-2"
    leaving = {"ready": False, "serving": True, "terminating": True}
    assert [each["conditions"] for each in documents[1]["endpoints"][1:]] == [leaving] * 2
    manifests.set_backends("demo/web", {"10.244.1.11": "node-1"})
    assert manifests.backends("demo/web") == ["10.244.1.11"]
    assert (tmp_path / "examples" / "all.yaml").read_text(encoding="utf-8") == TWO_SERVICES


def test_what_is_not_there_is_named(manifests: Manifests, tmp_path: Path) -> None:
    with pytest.raises(EbpflbError, match="no EndpointSlice of Service demo/gone"):
        manifests.backends("demo/gone")
    with pytest.raises(EbpflbError, match="no-such-folder is not a folder"):
        Manifests(tmp_path / "no-such-folder", tmp_path / "other")
