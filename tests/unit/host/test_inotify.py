"""Watches on files and folders of the test, and the wake-up of a thread that polls."""

import errno
import select
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from ebpflb.host import syscalls
from ebpflb.host.inotify import ENTRIES, MODIFY, Watches
from ebpflb.host.wakeup import Wakeup

DEADLINE_MS = 60_000


def is_readable(source: Watches | Wakeup, patience_ms: int = 0) -> bool:
    poller = select.poll()
    poller.register(source.fileno(), select.POLLIN)
    return bool(poller.poll(patience_ms))


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "new").mkdir(),
        lambda folder: (folder / "old").unlink(),
        lambda folder: (folder / "old").rename(folder / "renamed"),
        lambda folder: (folder / "events").write_text("populated 1"),
    ],
    ids=["made", "removed", "renamed", "written"],
)
def test_what_happens_is_told_once(tmp_path: Path, change: Callable[[Path], object]) -> None:
    (tmp_path / "old").touch()
    (tmp_path / "events").touch()
    with Watches() as watches:
        assert watches.replace({tmp_path: ENTRIES, tmp_path / "events": MODIFY})
        assert not is_readable(watches)
        change(tmp_path)
        assert is_readable(watches, DEADLINE_MS)
        assert watches.drain()
        assert not watches.drain()


def test_only_what_is_wanted_is_watched(tmp_path: Path) -> None:
    with Watches() as watches:
        assert watches.replace({tmp_path: ENTRIES})
        assert not watches.replace({tmp_path: ENTRIES}), "nothing is new"
        assert not watches.replace({tmp_path / "missing": ENTRIES}), "what cannot be watched is left out"
        watches.drain()
        (tmp_path / "new").touch()
        assert not is_readable(watches)


def test_a_folder_that_is_made_again_is_watched_again(tmp_path: Path) -> None:
    folder = tmp_path / "pod"
    with Watches() as watches:
        for _ in range(2):
            folder.mkdir()
            assert watches.replace({folder: ENTRIES}), "a new folder needs a new watch"
            folder.rmdir()
            assert is_readable(watches, DEADLINE_MS)
            watches.drain()


def test_without_inotify_nothing_is_told_and_nothing_breaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(syscalls, "inotify_init", fail)
    with Watches() as watches:
        assert "max_user_instances" in caplog.text
        assert not watches.replace({tmp_path: ENTRIES})
        (tmp_path / "new").touch()
        assert not is_readable(watches)
        assert not watches.drain()


def test_a_lack_of_watches_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(syscalls, "inotify_add", fail)
    with Watches() as watches:
        for _ in range(2):
            assert not watches.replace({tmp_path: ENTRIES})
    assert caplog.text.count("max_user_watches") == 1


def test_a_wakeup_stays_until_it_is_cleared() -> None:
    with Wakeup() as wakeup:
        wakeup.clear()
        assert not is_readable(wakeup)
        wakeup.set()
        wakeup.set()
        assert is_readable(wakeup)
        wakeup.clear()
        assert not is_readable(wakeup)


def test_an_event_wakes() -> None:
    event = threading.Event()
    with Wakeup() as wakeup:
        wakeup.set_when(event)
        event.set()
        assert is_readable(wakeup, DEADLINE_MS)


def test_a_late_wakeup_disturbs_nobody() -> None:
    with Wakeup() as wakeup:
        pass
    wakeup.set()
