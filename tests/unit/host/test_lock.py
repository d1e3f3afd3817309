import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ebpflb.errors import InstanceBusyError, PrerequisiteError
from ebpflb.host import lock
from ebpflb.host.lock import InstanceLock, holder_of, parse_locks


def test_a_second_agent_is_told_who_runs(tmp_path: Path) -> None:
    with InstanceLock("a", tmp_path / "a"):
        assert holder_of(tmp_path / "a") == os.getpid()
        with pytest.raises(InstanceBusyError, match=rf"instance a: .* process {os.getpid()}; stop it \(kill"):
            InstanceLock("a", tmp_path / "a").acquire()
        with InstanceLock("b", tmp_path / "b"):
            assert holder_of(tmp_path / "b") == os.getpid()
    assert holder_of(tmp_path / "a") is None


def test_a_holder_of_another_pid_namespace_has_no_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "locks").touch()
    monkeypatch.setattr(lock, "LOCK_TABLE", tmp_path / "locks")
    with InstanceLock("a", tmp_path / "a"), pytest.raises(InstanceBusyError, match=r"unknown .*; stop it, or name"):
        InstanceLock("a", tmp_path / "a").acquire()


def test_a_released_lock_leaves_nothing_and_can_be_taken_again(tmp_path: Path) -> None:
    first = InstanceLock("a", tmp_path / "ebpflb/a")
    first.acquire()
    first.release()
    first.release()
    assert list(tmp_path.iterdir()) == []
    with InstanceLock("a", tmp_path / "ebpflb/a"):
        assert holder_of(tmp_path / "ebpflb/a") == os.getpid()
        (tmp_path / "ebpflb/a/pin").touch()
    assert (tmp_path / "ebpflb/a/pin").exists()


def test_a_lock_on_a_removed_folder_is_none(tmp_path: Path) -> None:
    """Cleanup removes the folder under its lock; who had opened it before must not take the ghost for the instance."""
    folder = tmp_path / "a"
    waiting = InstanceLock("a", folder)
    opened = threading.Event()
    removed = threading.Event()
    real_open = waiting._open

    def open_and_wait() -> int:
        descriptor = real_open()
        opened.set()
        assert removed.wait(60)
        return descriptor

    waiting._open = open_and_wait  # type: ignore[method-assign]
    folder.mkdir()
    thread = threading.Thread(target=waiting.acquire)
    thread.start()
    assert opened.wait(60)
    folder.rmdir()
    removed.set()
    thread.join()
    assert holder_of(folder) == os.getpid()
    with pytest.raises(InstanceBusyError):
        InstanceLock("a", folder).acquire()
    waiting.release()


def test_a_removers_release_leaves_its_successors_folder_alone(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    remover = InstanceLock("a", folder)
    remover.acquire()
    folder.rmdir()
    with InstanceLock("a", folder):
        remover.release()
        assert holder_of(folder) == os.getpid()


def test_death_releases_the_lock(tmp_path: Path) -> None:
    script = (
        "import sys, pathlib; from ebpflb.host.lock import InstanceLock\n"
        "InstanceLock('a', pathlib.Path(sys.argv[1])).acquire(); print('held', flush=True); sys.stdin.read()\n"
    )
    folder = tmp_path / "a"
    # The child keeps its lock through the descriptor alone, as a crashing agent would.
    with subprocess.Popen(
        [sys.executable, "-c", script, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    ) as agent:
        assert agent.stdout is not None
        assert agent.stdout.readline() == "held\n"
        with pytest.raises(InstanceBusyError, match=f"process {agent.pid}"):
            InstanceLock("a", folder).acquire()
        agent.kill()
        agent.wait()
        with InstanceLock("a", folder):
            assert holder_of(folder) == os.getpid()


def test_asking_for_the_holder_takes_no_lock(tmp_path: Path) -> None:
    """Agents that start while somebody asks without a pause are never refused."""
    folder, stop = tmp_path / "a", threading.Event()
    folder.mkdir()

    def ask() -> None:
        while not stop.is_set():
            holder_of(folder)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        for _ in range(300):
            with InstanceLock("a", folder):
                assert holder_of(folder) == os.getpid()
    finally:
        stop.set()
        thread.join()


def test_an_instance_that_never_ran_has_no_holder(tmp_path: Path) -> None:
    assert holder_of(tmp_path / "none") is None


def test_the_kernels_table() -> None:
    table = (
        "1: FLOCK  ADVISORY  WRITE 382 fe:00:2212907 0 EOF\n"
        "1: -> FLOCK  ADVISORY  WRITE 383 fe:00:2212907 0 EOF\n"
        "2: POSIX  ADVISORY  READ 384 00:27:12 0 EOF\n"
        "5: FLOCK  ADVISORY  WRITE 869 00:27:543208 0 EOF\n"
    )
    assert parse_locks(table) == {(os.makedev(0xFE, 0), 2212907): 382, (os.makedev(0, 0x27), 543208): 869}


def test_an_unusable_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in ("file/ebpflb/a", "file/a"):
        with pytest.raises(PrerequisiteError, match=r"instance a: .*/a cannot be made .*mount bpffs"):
            InstanceLock("a", tmp_path / folder).acquire()
