"""The demo itself is a test: every scene checks its promise."""

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
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
"""What is promised of a demo on an idle machine with two cores; it takes less than a third of it."""
CORES = 2
PATIENCE_S = 400
"""With a machine that others keep busy."""
CLEANUP_S = 60
"""For a demo that is told to end, on such a machine."""
COMMAND = [*WITH_CTRL_C, sys.executable, "-m", "ebpflb.bench.demo"]


def remains_of(pid: int, scratch: Path) -> list[str]:
    lab = f"{LAB_PREFIX}demo-{pid}-"
    pins = [name for name in instances(BPFFS) if name.startswith(lab)]
    groups = [str(path) for path in find_mount().glob(f"{lab}*")]
    return [*list_namespaces(lab), *pins, *groups, *(str(path) for path in scratch.iterdir())]


class Stopwatch:
    """How much time has passed, and who had the processors meanwhile."""

    def __init__(self) -> None:
        self._began = self._now()

    @staticmethod
    def _now() -> tuple[float, float, float]:
        """Return the time, what children that have ended, and theirs, had of all cores, and what anybody had."""
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        ticks = [int(word) for word in Path("/proc/stat").read_text().split()[1:9]]  # user to steal, of all cores
        busy = sum(ticks[:3]) + sum(ticks[5:])  # but for idle and iowait
        return time.monotonic(), children.ru_utime + children.ru_stime, busy / os.sysconf("SC_CLK_TCK")

    def stop(self) -> tuple[float, float]:
        """Return what children had of all cores, and the time without what others had of the machine."""
        passed_s, own_s, busy_s = (now - then for now, then in zip(self._now(), self._began, strict=True))
        return own_s, passed_s - (busy_s - own_s) / (os.cpu_count() or 1)


@contextmanager
def demo_in(scratch: Path) -> Iterator[subprocess.Popen[str]]:
    """Start a demo; if it still runs when the block ends, it is ended, and clears its lab away."""
    environment = {**os.environ, "TMPDIR": str(scratch)}
    with subprocess.Popen(
        COMMAND, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as demo:
        try:
            yield demo
        finally:
            demo.terminate()
            try:
                demo.wait(CLEANUP_S)
            finally:
                demo.kill()


def test_the_demo_plays_to_its_end_and_leaves_nothing(tmp_path: Path) -> None:
    stopwatch = Stopwatch()
    with demo_in(tmp_path) as demo:
        said, _ = demo.communicate(timeout=PATIENCE_S)
    cpu_s, without_others_s = stopwatch.stop()
    assert said.splitlines()[-1] == "demo: ok", said
    assert demo.returncode == 0
    assert said.count("✓") == 14
    assert cpu_s < LONGEST_S * CORES
    assert without_others_s < LONGEST_S
    assert remains_of(demo.pid, tmp_path) == []


@pytest.mark.parametrize(
    ("number", "code", "after"),
    [(signal.SIGINT, 130, "a small server in every pod"), (signal.SIGTERM, 143, "a pod calls a ClusterIP")],
)
def test_an_interrupted_demo_leaves_nothing(tmp_path: Path, number: signal.Signals, code: int, after: str) -> None:
    with demo_in(tmp_path) as demo:
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
