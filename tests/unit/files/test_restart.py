"""An agent restarts over its maps while something in its folder cannot be read: nothing of that goes away."""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Self

import pytest

from ebpflb.core.abi import Family
from ebpflb.core.kept import services_of
from ebpflb.core.model import Host
from ebpflb.files.folder import FolderSource
from ebpflb.reconcile.fake import FakeMapStore
from ebpflb.reconcile.inbox import Inbox
from ebpflb.reconcile.loop import ReconcileLoop
from ebpflb.reconcile.status import Status
from tests.kube.recorder import running

DEADLINE_S = 60
BROKEN = "kind: [Service\n"


def manifests(name: str, number: int, *, with_slice: bool = True) -> str:
    slice_of = f"""\
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}-1, namespace: demo, labels: {{kubernetes.io/service-name: {name}}}}}
addressType: IPv4
ports: [{{port: 8080}}]
endpoints: [{{addresses: [10.244.0.{number}]}}]
"""
    return f"""\
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: demo}}
spec: {{clusterIP: 10.96.0.{number}, ports: [{{port: 80}}]}}
{slice_of if with_slice else ""}"""


class Run:
    """One run of an agent's control plane over a folder and a store."""

    def __init__(self, folder: Path, store: FakeMapStore) -> None:
        self._news = threading.Condition()
        self._last: Status | None = None
        inbox = Inbox("node-1")
        inbox.host(Host())
        self._loop = ReconcileLoop({Family.IPV4: store}, inbox, "node-1", on_status=self._hear)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop.run, args=(self._stop,), daemon=True)
        self._source: AbstractContextManager[None] = running(FolderSource(folder, "node-1"), inbox)

    def __enter__(self) -> Self:
        self._thread.start()
        self._source.__enter__()
        self.wait(lambda status: status.healthy)
        return self

    def __exit__(self, *_: object) -> None:
        self._source.__exit__(None, None, None)
        self._stop.set()
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive()

    def _hear(self, status: Status) -> None:
        with self._news:
            self._last = status
            self._news.notify_all()

    def wait(self, is_so: Callable[[Status], bool]) -> None:
        with self._news:
            assert self._news.wait_for(lambda: self._last is not None and is_so(self._last), DEADLINE_S), self._last


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    (tmp_path / "web.yaml").write_text(manifests("web", 1))
    (tmp_path / "api.yaml").write_text(manifests("api", 2))
    return tmp_path


@pytest.fixture(name="store")
def _store(folder: Path) -> FakeMapStore:
    """A store as the predecessor left it."""
    store = FakeMapStore(Family.IPV4)
    with Run(folder, store):
        assert names(store) == {"web", "api"}
    return store


def names(store: FakeMapStore) -> set[str]:
    return {name for _, name in services_of(store.read())}


def put(path: Path, text: str) -> None:
    beside = path.with_name(f".{path.name}.tmp")
    beside.write_text(text)
    beside.replace(path)


def test_a_broken_file_takes_nothing_away_until_it_is_mended(folder: Path, store: FakeMapStore) -> None:
    before = store.dump()
    put(folder / "web.yaml", BROKEN)
    with Run(folder, store) as run:
        run.wait(lambda status: "web.yaml" in status.source_error)
        assert store.dump() == before
        put(folder / "api.yaml", manifests("new", 3))
        run.wait(lambda status: names(store) == {"web", "new"})
        put(folder / "web.yaml", "# nothing any more\n")
        run.wait(lambda status: status.healthy and names(store) == {"new"})


def test_a_broken_file_that_comes_back_unchanged_changes_no_row(folder: Path, store: FakeMapStore) -> None:
    before = store.dump()
    put(folder / "web.yaml", BROKEN)
    with Run(folder, store) as run:
        put(folder / "web.yaml", manifests("web", 1))
        run.wait(lambda status: status.objects["Service"] == 2 and not status.source_error and status.healthy)
        assert store.dump() == before
        (folder / "web.yaml").unlink()
        run.wait(lambda status: names(store) == {"api"})


def test_a_broken_file_that_is_removed_takes_its_services_with_it(folder: Path, store: FakeMapStore) -> None:
    put(folder / "web.yaml", BROKEN)
    with Run(folder, store) as run:
        (folder / "web.yaml").unlink()
        run.wait(lambda status: status.healthy and names(store) == {"api"})


def test_slices_in_a_broken_file_stay_behind_their_service(folder: Path, store: FakeMapStore) -> None:
    before = store.dump()
    put(folder / "web.yaml", manifests("web", 1, with_slice=False))
    put(folder / "web-slices.yaml", BROKEN)
    with Run(folder, store):
        assert store.dump() == before


@pytest.mark.parametrize(
    ("good", "bad"), [("port: 80}", "port: http}"), ("addresses: [10.244.0.1]", "addresses: [here]")]
)
def test_an_object_refused_at_the_first_look_stays(folder: Path, store: FakeMapStore, good: str, bad: str) -> None:
    before = store.dump()
    put(folder / "web.yaml", manifests("web", 1).replace(good, bad))
    with Run(folder, store) as run:
        run.wait(lambda status: len(status.refused) == 1)
        assert store.dump() == before
        (folder / "web.yaml").unlink()
        run.wait(lambda status: status.healthy and names(store) == {"api"})
