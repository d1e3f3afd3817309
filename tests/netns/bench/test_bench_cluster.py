"""The control plane measured over a cluster of the user's: in a namespace that comes and goes, by an agent in a lab."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ebpflb.bench.cluster import PREFIX
from ebpflb.bench.measure import FEWEST_SERVICES, Effort
from ebpflb.bench.measures.control_cluster import measure_cluster, sizes
from ebpflb.bench.measures.control_rig import Changing, Rig, opened_rig
from ebpflb.errors import EbpflbError
from tests.kube.objects import make_service
from tests.kube.server import ApiServer

pytestmark = pytest.mark.root

CHANGES = 10


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with opened_rig() as rig:
        rig.instance().prepare()
        yield rig


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ApiServer]:
    """The user's cluster: it has one Service."""
    with ApiServer(tmp_path) as running_server:
        running_server.put("services", make_service("web", clusterIP="10.96.0.9"))
        yield running_server


def effort_of(server: ApiServer, tmp_path: Path) -> Effort:
    kubeconfig = server.write_kubeconfig(tmp_path / "kubeconfig")
    return Effort(is_quick=True, kubeconfig=str(kubeconfig), services=FEWEST_SERVICES)


def left(server: ApiServer) -> list[str]:
    """Return what a run has left in the cluster."""
    found = [
        each for kind in ("namespaces", "services", "endpointslices", "events") for each in server.store.every(kind)
    ]
    return [each["metadata"]["name"] for each in found if each["metadata"]["name"] != "web"]


def test_a_cluster_is_measured_and_left_as_it_was(rig: Rig, server: ApiServer, tmp_path: Path) -> None:
    said: list[str] = []
    ours, facts = measure_cluster(rig, effort_of(server, tmp_path), Changing(CHANGES), 1, said.append)
    assert [run.scale.services for run in (*ours.curve[:2], *ours.full)] == sizes(FEWEST_SERVICES)
    assert len(ours.full[0].changes_s) == CHANGES
    assert all(seconds > 0 for seconds in ours.full[0].changes_s)
    assert "50 Services of the run's and 1 others" in facts["cluster"]
    assert any(PREFIX in words for words in said)
    assert left(server) == []


def test_a_cluster_that_forbids_something_says_what(rig: Rig, server: ApiServer, tmp_path: Path) -> None:
    server.unserved["endpointslices"] = 403
    with pytest.raises(EbpflbError, match=r"forbids .*/endpointslices .*kubectl create clusterrole"):
        measure_cluster(rig, effort_of(server, tmp_path), Changing(CHANGES), 1, lambda _words: None)
    assert left(server) == []


def test_what_cannot_be_deleted_is_named(rig: Rig, server: ApiServer, tmp_path: Path) -> None:
    def refuse(words: str) -> None:
        if "ebpflb, 1 Services" in words:
            server.unserved["namespaces"] = 403
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as stopped:
        measure_cluster(rig, effort_of(server, tmp_path), Changing(CHANGES), 1, refuse)
    (namespace,) = [each["metadata"]["name"] for each in server.store.every("namespaces")]
    (note,) = stopped.value.__notes__
    assert re.search(rf"the namespace {namespace} could not be deleted: .*delete namespace {namespace}$", note)
