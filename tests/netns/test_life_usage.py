"""What an agent cannot be started with: one line that says what to do, its exit code, and nothing left behind."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ebpflb.bench.agents import BPFFS
from ebpflb.datapath.pins import Pins
from tests.netns.life_helpers import EBPFLB

pytestmark = pytest.mark.root

INSTANCE = f"usage-{os.getpid()}"
AS_NOBODY = """
import os
import ebpflb.cli.cleanup, ebpflb.cli.run_node, ebpflb.cli.run  # while the files can still be read
from ebpflb.cli import main
os.setgroups([])
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
main()
"""


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Path]:
    """A folder with wrong kubeconfigs and an empty folder of manifests; what a failing test pinned goes with it."""
    (tmp_path / "manifests").mkdir()
    (tmp_path / "no-yaml").write_text("contexts: [\n")
    (tmp_path / "no-kubeconfig").write_text("just words\n")
    yield tmp_path
    Pins(BPFFS, INSTANCE).remove()


def complain(folder: Path, *arguments: str, program: tuple[str, ...] = EBPFLB) -> tuple[int, str]:
    """Run a command that must fail; return its code and its only line."""
    done = subprocess.run([*program, *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=300)
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    return done.returncode, line


MANIFESTS = ["--manifests", "manifests"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["run", "--no-such-flag"], 2, "--no-such-flag"),
        (["run", "--manifests", "no-such-folder"], 2, "no-such-folder"),
        (["run", "--kubeconfig", "no-such-file"], 2, "no-such-file"),
        (["run", "--kubeconfig", "no-yaml"], 2, "is not YAML"),
        (["run", "--kubeconfig", "no-kubeconfig"], 2, "is not a kubeconfig"),
        (["run", *MANIFESTS, "--kubeconfig", "no-yaml"], 2, "exclude each other"),
        (["run"], 2, "--manifests or --kubeconfig"),
        (["run", *MANIFESTS, "--instance", "No_Good"], 2, "'No_Good'"),
        (["run", *MANIFESTS, "--cgroup", "manifests"], 3, "cgroup v2"),
        (["run", *MANIFESTS, "--bpffs", "manifests"], 3, "mount -t bpf"),
        (["dump-maps", "no-such-map"], 2, "no-such-map"),
        (["dump-maps"], 1, f"instance {INSTANCE}"),
    ],
)
def test_a_mistake_is_one_line_and_a_code(files: Path, arguments: list[str], code: int, words: str) -> None:
    verb, *flags = arguments
    scope = {"run": ["--instance", INSTANCE, "--state-dir", "state"], "dump-maps": ["--instance", INSTANCE]}
    found, line = complain(files, verb, *scope.get(verb, []), *flags)
    assert found == code, line
    assert words in line
    assert line.startswith("ebpflb: ")
    assert not Pins(BPFFS, INSTANCE).root.exists()


@pytest.mark.parametrize("verb", [["run", "--manifests", "/"], ["cleanup"]])
def test_root_is_needed_and_said(verb: list[str]) -> None:
    code, line = complain(Path("/"), *verb, program=(sys.executable, "-c", AS_NOBODY))
    assert code == 3
    assert line == f"ebpflb: {verb[0]} needs root: BPF maps and programs are closed to others; use sudo"
