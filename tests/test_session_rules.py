"""The rules of conftest.py, tried on sessions of their own: each runs pytest on a small file elsewhere."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ebpflb.bench.cgroups import find_mount
from tests.conftest import is_allowed_skip
from tests.residue import Residue, leftovers

REPOSITORY = Path(__file__).parents[1]


def run_session(folder: Path, text: str, *flags: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_inner.py").write_text(text, encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = root: as in pyproject\n", encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "tests.conftest",
        "-p",
        "no:cacheprovider",
        *flags,
        str(folder),
    ]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize(
    ("reason", "allowed"),
    [
        ("needs root: euid is 1000", True),
        ("needs root: euid is 0", False),
        ("needs root: euid is 1000, and a full moon", False),
        ("needs a real API server: EBPFLB_TEST_KUBECONFIG is not set", True),
        ("flaky", False),
    ],
)
def test_only_known_reasons_skip(reason: str, allowed: bool) -> None:
    assert is_allowed_skip(reason) is allowed


@pytest.mark.parametrize(
    "text",
    [
        "import pytest\ndef test_one(): pytest.skip('not today')\n",
        "import pytest\n@pytest.mark.skip(reason='not today')\ndef test_one(): pass\n",
        "import pytest\npytest.skip('not today', allow_module_level=True)\n",
    ],
)
def test_an_unexpected_skip_fails_the_session(tmp_path: Path, text: str) -> None:
    done = run_session(tmp_path, text)
    assert done.returncode == 1
    assert "unexpected skips" in done.stdout
    assert "not today" in done.stdout


def test_an_expected_skip_and_an_expected_failure_pass(tmp_path: Path) -> None:
    text = (
        "import pytest\n"
        "def test_one(): pytest.skip('needs a real API server: EBPFLB_TEST_KUBECONFIG is not set')\n"
        "@pytest.mark.xfail\ndef test_two(): assert False\n"
        "def test_three(): pass\n"
    )
    assert run_session(tmp_path, text).returncode == 0


def test_root_tests_are_skipped_without_root(tmp_path: Path) -> None:
    text = "import os, pytest\nos.geteuid = lambda: 1000\n@pytest.mark.root\ndef test_one(): assert False\n"
    done = run_session(tmp_path, text, "-rs")
    assert done.returncode == 0, done.stdout
    assert "needs root: euid is 1000" in done.stdout


def test_leftovers_name_what_is_new_only() -> None:
    empty: frozenset[str] = frozenset()
    before = Residue(frozenset({"old"}), frozenset({"lo"}), empty, empty, empty, empty, empty, empty)
    after = Residue(frozenset({"old", "new"}), empty, empty, frozenset({"/sys/fs/bpf/x"}), empty, empty, empty, empty)
    assert leftovers(before, after) == ["namespaces: new", "pins: /sys/fs/bpf/x"]
    assert leftovers(before, before) == []


@pytest.mark.root
@pytest.mark.parametrize(
    ("kind", "leave", "tidy"),
    [
        ("namespaces", ["ip", "netns", "add", "{name}"], ["ip", "netns", "del", "{name}"]),
        ("pins", ["mkdir", "/sys/fs/bpf/{name}"], ["rmdir", "/sys/fs/bpf/{name}"]),
        ("cgroups", ["mkdir", "{cgroups}/{name}"], ["rmdir", "{cgroups}/{name}"]),
    ],
)
def test_a_session_that_leaves_something_fails(tmp_path: Path, kind: str, leave: list[str], tidy: list[str]) -> None:
    name = f"left{os.getpid()}"
    command = [word.format(name=name, cgroups=find_mount()) for word in leave]
    text = (
        "import subprocess, pytest\n"
        "from tests import residue\n"
        # This session holds the lock that the inner one would find taken; neither has ten seconds to wait.
        f"residue.SESSION_LOCK = residue.Path({str(tmp_path / 'lock')!r})\n"
        "residue.wait_until_clean.__defaults__ = (0.0,)\n"
        f"@pytest.mark.root\ndef test_one(): subprocess.run({command!r}, check=True)\n"
    )
    try:
        done = run_session(tmp_path, text)
    finally:
        subprocess.run([word.format(name=name, cgroups=find_mount()) for word in tidy], check=True)
    assert done.returncode == 1
    assert "left behind:" in done.stdout
    assert f"{kind}: " in done.stdout
    assert name in done.stdout


@pytest.mark.root
def test_a_session_that_leaves_a_process_fails(tmp_path: Path) -> None:
    text = (
        "import subprocess, sys, pytest\n"
        "from tests import residue\n"
        f"residue.SESSION_LOCK = residue.Path({str(tmp_path / 'lock')!r})\n"
        "residue.wait_until_clean.__defaults__ = (0.0,)\n"
        "left = []\n"
        "@pytest.mark.root\ndef test_one():\n"
        "    left.append(subprocess.Popen([sys.executable, '-c', 'import sys; sys.stdin.read()'],\n"
        "        stdin=subprocess.PIPE))\n"
    )
    done = run_session(tmp_path, text)
    assert done.returncode == 1
    assert "processes: " in done.stdout
    assert "sys.stdin.read()" in done.stdout
