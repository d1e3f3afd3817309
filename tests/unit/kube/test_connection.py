"""Kubeconfigs that cannot be used are refused before anything starts, each with its reason and a remedy."""

import json
from pathlib import Path
from typing import Any

import pytest

from ebpflb.errors import UsageError
from ebpflb.kube.connection import Connection
from ebpflb.kube.watch import KubeSource
from tests.kube.in_process import read_in_process


@pytest.fixture(autouse=True)
def _in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    read_in_process(monkeypatch)


def kubeconfig(path: Path, **changes: Any) -> Path:
    document = {
        "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "clusters": [{"name": "test", "cluster": {"server": "https://127.0.0.1:1"}}],
        "users": [{"name": "test", "user": {"token": "secret"}}],
    }
    path.write_text(json.dumps(document | changes))
    return path


def cluster(**fields: Any) -> list[dict[str, Any]]:
    return [{"name": "test", "cluster": fields}]


def refused(path: Path, context: str | None = None) -> UsageError:
    with pytest.raises(UsageError) as caught:
        KubeSource(path, "node-1", context=context)
    assert caught.value.remedy
    assert "\n" not in str(caught.value)
    return caught.value


def test_a_usable_kubeconfig(tmp_path: Path) -> None:
    connection = Connection(kubeconfig(tmp_path / "config"), None)
    assert connection.server == "https://127.0.0.1:1"
    connection.close()


def test_a_missing_file(tmp_path: Path) -> None:
    error = refused(tmp_path / "missing")
    assert "cannot be read: No such file or directory" in error.message
    assert error.remedy == "give the path of a readable kubeconfig with --kubeconfig"


@pytest.mark.parametrize("text", ["a: [", "- 1", "", "contexts: 7", "\x00"])
def test_files_that_are_no_kubeconfig(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    assert str(path) in refused(path).message


def test_an_unknown_context_and_the_known_ones(tmp_path: Path) -> None:
    path = kubeconfig(tmp_path / "config")
    assert "contexts (test)" in refused(path, "other").remedy
    assert "contexts (test)" in refused(kubeconfig(path, **{"current-context": "gone"})).remedy
    assert "it has none" in refused(kubeconfig(path, contexts=None)).remedy


@pytest.mark.parametrize(
    "changes",
    [
        {"clusters": []},
        {"clusters": "x"},
        {"clusters": [{"name": "test"}]},
        {"clusters": cluster(server="https://127.0.0.1:1", **{"certificate-authority": "missing.pem"})},
        {"clusters": cluster(server="https://127.0.0.1:1", **{"certificate-authority-data": "%"})},
        {"clusters": cluster(server="https://127.0.0.1:1", **{"certificate-authority-data": "eA=="})},
        {"clusters": cluster(server="ftp://127.0.0.1")},
        {"clusters": cluster(server="127.0.0.1")},
        {"clusters": cluster(server=7)},
        {"contexts": [7]},
        {"contexts": [{"name": "test", "context": "x"}]},
        {"users": [{"name": "test", "user": {"tokenFile": "missing"}}]},
    ],
)
def test_contexts_that_cannot_be_used(tmp_path: Path, changes: dict[str, Any]) -> None:
    refused(kubeconfig(tmp_path / "config", **changes))


def test_outside_a_cluster_without_a_kubeconfig(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(UsageError, match=r"not in a pod of a cluster.*give --kubeconfig FILE, or --manifests DIR"):
        KubeSource(None, "node-1")


def test_a_server_that_stands_in_for_the_kubeconfigs(tmp_path: Path) -> None:
    connection = Connection(kubeconfig(tmp_path / "config"), server="https://127.0.0.1:2")
    assert connection.server == "https://127.0.0.1:2"
    connection.reload()
    assert connection.server == "https://127.0.0.1:2"
    connection.close()


def test_a_server_alone_needs_no_kubeconfig(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    connection = Connection(None, server="http://127.0.0.1:2")
    assert connection.server == "http://127.0.0.1:2"
    connection.close()


@pytest.mark.parametrize("server", ["127.0.0.1:6443", "ftp://127.0.0.1", "words"])
def test_a_server_that_is_no_url(tmp_path: Path, server: str) -> None:
    with pytest.raises(UsageError, match=r"--master: server .* is no URL; write the cluster's server as https"):
        Connection(kubeconfig(tmp_path / "config"), server=server)
