import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ebpflb.errors import UsageError
from ebpflb.files import config_file
from ebpflb.files.config_file import read_config_file, watch_config_file

SECONDS = 60.0


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Path:
    path = tmp_path / "config.conf"
    path.write_text("kind: KubeProxyConfiguration\nmode: ''\n")
    return path


def test_what_is_in_it(path: Path) -> None:
    file = read_config_file(path)
    assert file.document == {"kind": "KubeProxyConfiguration", "mode": ""}
    assert (file.path, file.raw, file.duplicates, file.more_documents) == (path, path.read_bytes(), (), 0)


def test_json(path: Path) -> None:
    path.write_text('\n{"kind": "x",\t"a": {"b": 1, "b": 2}, "kind": "y"}')
    file = read_config_file(path)
    assert file.document == {"kind": "y", "a": {"b": 2}}
    assert file.duplicates == ("b", "kind")


def test_fields_that_are_there_twice(path: Path) -> None:
    path.write_text("a: 1\nb: {c: 1, d: 2, c: 3}\na: 2\ne:\n- f: 1\n  f: 2\n")
    file = read_config_file(path)
    assert file.document == {"a": 2, "b": {"c": 3, "d": 2}, "e": [{"f": 2}]}
    assert file.duplicates == ("b.c (line 2)", "a (line 3)", "e.f (line 6)")


def test_more_than_one_document(path: Path) -> None:
    path.write_text("---\na: 1\n---\nb: 2\n---\nc: 3\n")
    file = read_config_file(path)
    assert (file.document, file.more_documents) == ({"a": 1}, 2)


def test_aliases_are_followed_once(path: Path) -> None:
    path.write_text("a: &a {b: 1, b: 2}\nc: *a\n")
    assert read_config_file(path).duplicates == ("a.b (line 1)",)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "is empty; give --config the path of a readable file"),
        (b"# nothing\n", "is empty; give --config"),
        (b"a: [1", ": did not find expected ',' or ']'; mend it"),
        (b"a: 1\n- b", ":2:1: did not find expected key; mend it"),
        (b"text", ":1:1: is not an object with apiVersion and kind; mend it"),
        (b"[1]", ":1:1: is not an object"),
        (b"{", ":1:2: Expecting property name enclosed in double quotes; mend it"),
        (b"\xff", ":1:1: is not UTF-8 text; mend it"),
        (b"kind: List\nitems: [1]\n", "items[0] of the 'List' is 1, and no object; mend it"),
        (b"a: " + b"[" * 60 + b"]" * 60, "is nested too deeply; give --config"),
        (b'{"a": ' + b"[" * 60 + b"]" * 60 + b"}", "is nested too deeply; give --config"),
        (b"a: &a [*a]", ""),
    ],
)
def test_what_cannot_be_read(path: Path, raw: bytes, words: str) -> None:
    path.write_bytes(raw)
    if not words:
        assert read_config_file(path).duplicates == ()
        return
    with pytest.raises(UsageError) as caught:
        read_config_file(path)
    assert str(caught.value).startswith(f"--config {path}")
    assert words in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: No such file or directory; give --config the path"):
        read_config_file(tmp_path / "missing")
    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        read_config_file(tmp_path)


@settings(max_examples=200, deadline=None)
@given(raw=st.binary(max_size=60) | st.text("{}[]:,-&*a1 \n\"'?|>!%@", max_size=40).map(str.encode))
def test_any_bytes_are_read_or_refused(raw: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "any.conf"
    path.write_bytes(raw)
    try:
        file = read_config_file(path)
    except UsageError as error:
        assert error.remedy  # noqa: PT017 - either is right
        return
    assert file.raw == raw


class Watch:
    """Watches a file in a thread."""

    def __init__(self, path: Path, loaded: bytes) -> None:
        self.stop = threading.Event()
        self._pool = ThreadPoolExecutor(1)
        self.changed: Future[bool] = self._pool.submit(watch_config_file, path, loaded, self.stop)

    def end(self) -> bool:
        self.stop.set()
        return self.changed.result(SECONDS)


def write(path: Path) -> None:
    path.write_text("mode: ipvs\n")


def rename(path: Path) -> None:
    new = path.with_name(".new")
    new.write_text("mode: ipvs\n")
    new.rename(path)


def remove_and_write(path: Path) -> None:
    path.unlink()
    write(path)


@pytest.mark.parametrize("change", [write, rename, remove_and_write])
def test_a_change_is_noticed(path: Path, change: Callable[[Path], None]) -> None:
    watch = Watch(path, path.read_bytes())
    change(path)
    assert watch.changed.result(SECONDS)


def test_a_change_before_the_watch_is_noticed(path: Path) -> None:
    loaded = path.read_bytes()
    write(path)
    assert Watch(path, loaded).changed.result(SECONDS)


def test_a_configmaps_change_is_noticed(tmp_path: Path) -> None:
    for name, text in (("..v1", "mode: ''\n"), ("..v2", "mode: ipvs\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.conf").write_text(text)
    (tmp_path / "..data").symlink_to("..v1")
    path = tmp_path / "config.conf"
    path.symlink_to("..data/config.conf")
    watch = Watch(path, path.read_bytes())
    (tmp_path / "..tmp").symlink_to("..v2")
    (tmp_path / "..tmp").rename(tmp_path / "..data")
    assert watch.changed.result(SECONDS)


def test_the_same_bytes_an_emptied_and_a_removed_file_are_no_change(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = path.read_bytes()
    looks: list[bool] = []
    look = config_file._differs
    seen = threading.Condition()

    def counted(path: Path, loaded: bytes) -> bool:
        found = look(path, loaded)
        with seen:
            looks.append(found)
            seen.notify_all()
        return found

    monkeypatch.setattr(config_file, "_differs", counted)
    watch = Watch(path, loaded)
    for change in (lambda: path.write_bytes(loaded), lambda: path.write_bytes(b""), path.unlink):
        with seen:
            assert seen.wait_for(lambda: looks, SECONDS)
            looks.clear()
        change()
        with seen:
            assert seen.wait_for(lambda: looks, SECONDS)
    assert not watch.end()
    assert not any(looks)


def test_a_folder_that_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(config_file, "REAPPEAR_S", 0.01)
    path = tmp_path / "etc" / "config.conf"
    watch = Watch(path, b"mode: ''\n")
    path.parent.mkdir()
    write(path)
    assert watch.changed.result(SECONDS)
    assert len([line for line in caplog.messages if line.startswith("config_unwatched")]) <= 1


def test_an_end_is_no_change(path: Path) -> None:
    assert not Watch(path, path.read_bytes()).end()
