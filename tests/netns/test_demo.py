"""The demo itself is a test: every scene checks its promise."""

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ebpflb.bench.cgroups import find_mount
from ebpflb.bench.namespaces import list_namespaces
from ebpflb.bench.topology import LAB_PREFIX
from ebpflb.cli.pinned import instances
from tests.netns.lab_agents import WITH_CTRL_C
from tests.residue import BPFFS

pytestmark = [pytest.mark.root, pytest.mark.timeout(500)]

LONGEST_S = 90
"""What is promised of a demo; on an idle machine with two cores it takes less than a third of it."""
CORES = 2
PATIENCE_S = 400
"""With a machine that others keep busy."""
COMMAND = [*WITH_CTRL_C, sys.executable, "-m", "ebpflb.bench.demo"]


def remains_of(pid: int, scratch: Path) -> list[str]:
    lab = f"{LAB_PREFIX}demo-{pid}-"
    pins = [name for name in instances(BPFFS) if name.startswith(lab)]
    groups = [str(path) for path in find_mount().glob(f"{lab}*")]
    return [*list_namespaces(lab), *pins, *groups, *(str(path) for path in scratch.iterdir())]


def cpu_seconds_of_children() -> float:
    """Of those that have ended, and of theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def start(scratch: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "TMPDIR": str(scratch)}
    return subprocess.Popen(COMMAND, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def test_the_demo_plays_to_its_end_and_leaves_nothing(tmp_path: Path) -> None:
    before = cpu_seconds_of_children()
    with start(tmp_path) as demo:
        said, _ = demo.communicate(timeout=PATIENCE_S)
    assert said.splitlines()[-1] == "demo: ok", said
    assert demo.returncode == 0
    assert said.count("✓") == 14
    # How long it took is what others had of the machine, too.
    assert cpu_seconds_of_children() - before < LONGEST_S * CORES
    assert remains_of(demo.pid, tmp_path) == []


@pytest.mark.parametrize(
    ("number", "code", "after"),
    [(signal.SIGINT, 130, "a small server in every pod"), (signal.SIGTERM, 143, "a pod calls a ClusterIP")],
)
def test_an_interrupted_demo_leaves_nothing(tmp_path: Path, number: signal.Signals, code: int, after: str) -> None:
    with start(tmp_path) as demo:
        assert demo.stdout is not None
        assert any(after in line for line in demo.stdout), "the demo ended before the step"
        demo.send_signal(number)
        said, _ = demo.communicate(timeout=PATIENCE_S)
    assert demo.returncode == code, said
    assert remains_of(demo.pid, tmp_path) == []


def test_a_demo_that_cannot_start_says_why(tmp_path: Path) -> None:
    script = "import os, sys\nos.geteuid = lambda: 1000\nfrom ebpflb.bench.demo import parse, run\n"
    script += "sys.exit(run(parse([])))\n"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=PATIENCE_S
    )
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1].startswith("demo: failed: the lab needs root")
