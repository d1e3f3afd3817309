"""Fixtures: an in-process API server, and the cluster of the contract suite, real or in-process."""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kube.cluster import Cluster
from tests.kube.in_process import read_in_process
from tests.kube.objects import make_node
from tests.kube.server import ApiServer

_NUMBERS = itertools.count(1)
REAL_KUBECONFIG = os.environ.get("EBPFLB_TEST_KUBECONFIG", "")


@pytest.fixture(autouse=True)
def _in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    read_in_process(monkeypatch)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ApiServer]:
    with ApiServer(tmp_path) as running_server:
        running_server.put("nodes", make_node("node-1"))
        yield running_server


@pytest.fixture
def kubeconfig(server: ApiServer, tmp_path: Path) -> Path:
    return server.write_kubeconfig(tmp_path / "kubeconfig")


@pytest.fixture(
    params=[
        "in-process",
        pytest.param(
            "real",
            marks=pytest.mark.skipif(
                not REAL_KUBECONFIG, reason="needs a real API server: EBPFLB_TEST_KUBECONFIG is not set"
            ),
        ),
    ]
)
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    is_real = request.param == "real"
    config = Path(REAL_KUBECONFIG) if is_real else request.getfixturevalue("kubeconfig")
    # A real cluster takes its time to delete a namespace: every test gets its own.
    with Cluster(config, f"ebpflb-contract-{os.getpid()}-{next(_NUMBERS)}") as prepared:
        yield prepared
