"""The folder as a source, with a real folder and real inotify: every change is awaited at the sink."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ebpflb.core.model import Node, Service, parse_address
from ebpflb.errors import UsageError
from ebpflb.files import folder as module
from ebpflb.files.folder import FolderSource
from ebpflb.reconcile.ports import Kind
from tests.kube.recorder import DEADLINE_S, RecordingSink, running

EXAMPLES = Path(__file__).parents[3] / "examples"


def service(name: str, ip: str = "10.96.0.10") -> str:
    return f"""\
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: demo}}
spec: {{clusterIP: {ip}, ports: [{{port: 80}}]}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "manifests"
    path.mkdir()
    return path


@pytest.fixture
def sink() -> RecordingSink:
    return RecordingSink()


@pytest.fixture
def watching(folder: Path, sink: RecordingSink) -> Iterator[None]:
    with running(FolderSource(folder, "node-1"), sink):
        sink.wait_listed()
        yield


def put(path: Path, text: str) -> None:
    """Replace a file as editors do: write beside, rename over."""
    beside = path.with_name(f".{path.name}.tmp")
    beside.write_text(text)
    beside.replace(path)


def test_an_empty_folder_is_listed_too(folder: Path, sink: RecordingSink) -> None:
    with running(FolderSource(folder, "node-1"), sink):
        sink.wait_listed()
    assert sink.replaced == list(Kind)
    assert sink.objects[Kind.NODE] == {("", "node-1"): Node("node-1")}
    assert sink.names(Kind.SERVICE) == sink.names(Kind.ENDPOINT_SLICE) == set()
    assert not sink.errors


def test_the_examples_are_served_without_a_complaint(sink: RecordingSink) -> None:
    with running(FolderSource(EXAMPLES, "node-3"), sink):
        sink.wait_listed()
    assert sink.names(Kind.SERVICE) == {"web", "dns", "sticky", "selfie"}
    assert sink.names(Kind.ENDPOINT_SLICE) == {
        f"{name}-{slice_number}" for name in ("web", "dns", "sticky", "selfie") for slice_number in (1, 2)
    }
    node = sink.objects[Kind.NODE][("", "node-3")]
    addresses = (parse_address("192.168.100.3"), parse_address("fd00:192:168:100::3"))
    assert node == Node("node-3", "zone-c", addresses, ("10.244.3.0/24", "fd00:10:244:3::/64"))
    assert sink.errors == []
    assert sink.refused == {}


@pytest.mark.usefixtures("watching")
def test_files_come_change_and_go(folder: Path, sink: RecordingSink) -> None:
    put(folder / "web.yaml", service("web"))
    sink.wait_name(Kind.SERVICE, "web")
    put(folder / "web.yaml", service("web", "10.96.0.11"))
    sink.wait(lambda: cluster_ip(sink, "web") == bytes([10, 96, 0, 11]), "changed address")
    (folder / "web.yaml").unlink()
    sink.wait_name(Kind.SERVICE, "web", present=False)
    assert len(sink.replaced) == len(Kind), "changes are delivered one by one"


class Listener(RecordingSink):
    """Keeps which names were told together."""

    def __init__(self) -> None:
        super().__init__()
        self.breaths: list[list[str]] = []

    @contextmanager
    def together(self) -> Iterator[None]:
        with super().together():
            known = len(self.upserts)
            yield
            self.breaths.append([obj.key[1] for obj in self.upserts[known:]])


def test_what_changed_at_once_is_told_together(folder: Path) -> None:
    sink = Listener()
    with running(FolderSource(folder, "node-1"), sink):
        sink.wait_listed()
        put(folder / "all.yaml", "---\n".join(map(service, ("web", "api", "db"))))
        sink.wait(lambda: {"web", "api", "db"} <= sink.names(Kind.SERVICE), "Services")
    assert [breath for breath in sink.breaths if breath] == [["web", "api", "db"]]


def cluster_ip(sink: RecordingSink, name: str) -> bytes:
    found = sink.objects[Kind.SERVICE][("demo", name)]
    assert isinstance(found, Service)
    return found.cluster_ips[0]


@pytest.mark.usefixtures("watching")
def test_a_file_written_in_place_arrives(folder: Path, sink: RecordingSink) -> None:
    (folder / "web.yml").write_text(service("web"))
    sink.wait_name(Kind.SERVICE, "web")


@pytest.mark.usefixtures("watching")
def test_only_manifests_are_read(folder: Path, sink: RecordingSink) -> None:
    (folder / "below").mkdir()
    (folder / "folder.yaml").mkdir()
    for name in ("below/a.yaml", ".hidden.yaml", "web.yaml~", "README.md"):
        (folder / name).write_text(service("unwanted"))
    put(folder / "web.yaml", service("web"))
    sink.wait_name(Kind.SERVICE, "web")
    assert sink.names(Kind.SERVICE) == {"web"}


@pytest.mark.usefixtures("watching")
def test_an_unreadable_file_is_named_and_harms_no_other(folder: Path, sink: RecordingSink) -> None:
    put(folder / "web.yaml", service("web"))
    sink.wait_name(Kind.SERVICE, "web")
    put(folder / "web.yaml", "kind: [\n")
    sink.wait(lambda: sink.error, "complaint")
    assert sink.error.startswith("web.yaml:2:1: ")
    put(folder / "other.yaml", service("other"))
    sink.wait_name(Kind.SERVICE, "other")
    assert sink.names(Kind.SERVICE) == {"web", "other"}
    put(folder / "web.yaml", service("web", "10.96.0.11"))
    sink.wait(lambda: not sink.error, "end of the complaint")


@pytest.mark.usefixtures("watching")
def test_a_bad_object_is_refused_and_heals(folder: Path, sink: RecordingSink) -> None:
    put(folder / "web.yaml", service("web"))
    sink.wait_name(Kind.SERVICE, "web")
    put(folder / "web.yaml", service("web", "nonsense"))
    sink.wait(lambda: "demo/web" in sink.refused, "refusal")
    assert "(in web.yaml:1)" in str(sink.refused["demo/web"])
    assert sink.names(Kind.SERVICE) == {"web"}, "the last good state stays"
    put(folder / "web.yaml", service("web"))
    sink.wait(lambda: not sink.refused, "end of the refusal")
    put(folder / "web.yaml", service("web", "nonsense"))
    sink.wait(lambda: "demo/web" in sink.refused, "refusal")
    (folder / "web.yaml").unlink()
    sink.wait_name(Kind.SERVICE, "web", present=False)
    assert not sink.refused


def test_a_bad_own_node_does_not_hold_up_the_rest(folder: Path, sink: RecordingSink) -> None:
    (folder / "node.yaml").write_text("{apiVersion: v1, kind: Node, metadata: {name: node-1}, spec: {podCIDRs: [x]}}")
    with running(FolderSource(folder, "node-1"), sink):
        sink.wait_listed()
        assert sink.objects[Kind.NODE] == {("", "node-1"): Node("node-1")}
        assert "node-1" in sink.refused
        (folder / "node.yaml").unlink()
        sink.wait(lambda: not sink.refused, "end of the refusal")


def test_a_mounted_config_map_is_swapped_whole(folder: Path, sink: RecordingSink) -> None:
    """The kubelet keeps files behind a link ``..data`` and replaces that link."""

    def swap(version: str, ip: str) -> None:
        target = folder / f"..{version}"
        target.mkdir()
        (target / "web.yaml").write_text(service("web", ip))
        (folder / "..data_tmp").symlink_to(target.name)
        (folder / "..data_tmp").replace(folder / "..data")

    swap("one", "10.96.0.1")
    (folder / "web.yaml").symlink_to(Path("..data") / "web.yaml")
    with running(FolderSource(folder, "node-1"), sink):
        sink.wait_name(Kind.SERVICE, "web")
        swap("two", "10.96.0.2")
        sink.wait(lambda: cluster_ip(sink, "web") == bytes([10, 96, 0, 2]), "swapped address")
    assert not sink.errors


@pytest.mark.usefixtures("watching")
def test_a_folder_that_vanishes_keeps_its_state_and_may_come_back(folder: Path, sink: RecordingSink) -> None:
    put(folder / "web.yaml", service("web"))
    sink.wait_name(Kind.SERVICE, "web")
    folder.rename(folder.with_name("elsewhere"))
    sink.wait(lambda: sink.error, "complaint")
    assert str(folder) in sink.error
    assert sink.names(Kind.SERVICE) == {"web"}
    folder.mkdir()
    sink.wait(lambda: not sink.error, "end of the complaint")
    put(folder / "new.yaml", service("new"))
    sink.wait_name(Kind.SERVICE, "new")
    assert sink.names(Kind.SERVICE) == {"new"}


@pytest.mark.usefixtures("watching")
def test_a_broken_link_is_named(folder: Path, sink: RecordingSink) -> None:
    (folder / "web.yaml").symlink_to("nowhere")
    sink.wait(lambda: sink.error, "complaint")
    assert "web.yaml cannot be read: No such file or directory" in sink.error


def test_stop_is_prompt(folder: Path, sink: RecordingSink, monkeypatch: pytest.MonkeyPatch) -> None:
    """The source ends because it is told to, not when it looks again."""
    monkeypatch.setattr(module, "RESCAN_MS", int(10 * DEADLINE_S * 1000))
    with running(FolderSource(folder, "node-1"), sink):
        sink.wait_listed()


def test_a_missing_folder_and_a_file_are_usage_errors(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist; give --manifests an existing"):
        FolderSource(tmp_path / "missing", "node-1")
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is not a folder"):
        FolderSource(tmp_path / "file", "node-1")


def test_a_folder_that_may_not_be_read_is_a_usage_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> Iterator[Path]:
        raise PermissionError(13, os.strerror(13))

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(UsageError, match="cannot be read: Permission denied"):
        FolderSource(folder, "node-1")


def test_what_is_refused_is_logged_once_with_field_and_remedy(
    folder: Path, sink: RecordingSink, caplog: pytest.LogCaptureFixture
) -> None:
    put(folder / "a.yaml", service("bad", ip="nowhere"))
    with running(FolderSource(folder, "node-1"), sink):
        sink.wait_listed()
        put(folder / "b.yaml", service("good"))
        sink.wait_name(Kind.SERVICE, "good")
        put(folder / "b.yaml", service("good", ip="somewhere"))
        sink.wait(lambda: "demo/good" in sink.refused, "refusal")
    refusals = [text for text in caplog.messages if text.startswith("refused")]
    remedy = "give an IPv4 or IPv6 address without zone or prefix length"
    assert refusals == [
        f"refused kind=Service reason=\"Service demo/{name}: spec.clusterIP: '{ip}' is not an IP address "
        f'(in {file}.yaml:1); {remedy}"'
        for name, ip, file in (("bad", "nowhere", "a"), ("good", "somewhere", "b"))
    ]
