import os
import subprocess
import sys
from pathlib import Path

import pytest

from ebpflb.errors import InstanceBusyError, PrerequisiteError
from ebpflb.host.lock import InstanceLock, holder_of


def test_a_second_agent_is_told_who_runs(tmp_path: Path) -> None:
    with InstanceLock("a", tmp_path):
        assert holder_of("a", tmp_path) == os.getpid()
        with pytest.raises(InstanceBusyError, match=rf"instance a: .* process {os.getpid()}; stop process"):
            InstanceLock("a", tmp_path).acquire()
        with InstanceLock("b", tmp_path):
            assert holder_of("b", tmp_path) == os.getpid()
    assert holder_of("a", tmp_path) is None


def test_a_released_lock_can_be_taken_again(tmp_path: Path) -> None:
    lock = InstanceLock("a", tmp_path / "run")
    lock.acquire()
    lock.release()
    lock.release()
    with InstanceLock("a", tmp_path / "run"):
        assert holder_of("a", tmp_path / "run") == os.getpid()


def test_death_releases_the_lock(tmp_path: Path) -> None:
    script = (
        "import sys, pathlib; from ebpflb.host.lock import InstanceLock\n"
        "InstanceLock('a', pathlib.Path(sys.argv[1])).acquire(); print('held', flush=True); sys.stdin.read()\n"
    )
    # The child keeps its lock object alive through the descriptor alone, as a crashing agent would.
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    ) as agent:
        assert agent.stdout is not None
        assert agent.stdout.readline() == "held\n"
        with pytest.raises(InstanceBusyError, match=f"process {agent.pid}"):
            InstanceLock("a", tmp_path).acquire()
        agent.kill()
        agent.wait()
        with InstanceLock("a", tmp_path):
            assert holder_of("a", tmp_path) == os.getpid()


def test_an_instance_that_never_ran_has_no_holder(tmp_path: Path) -> None:
    assert holder_of("none", tmp_path) is None


def test_an_unusable_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PrerequisiteError, match=r"instance a: .*file/a\.lock cannot be opened"):
        InstanceLock("a", tmp_path / "file").acquire()
