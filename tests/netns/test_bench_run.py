"""`ebpflb bench` as a process: Ctrl-C in the middle of a measure takes everything away, and shows what there is."""

import json
import signal
import sys
from pathlib import Path

import pytest

from ebpflb.bench.namespaces import list_namespaces
from ebpflb.bench.process import Running
from ebpflb.bench.topology import LAB_PREFIX
from tests.netns.lab_agents import WITH_CTRL_C

pytestmark = [pytest.mark.root, pytest.mark.timeout(500)]

MEASURING = "round 1 of"
INTERRUPTED = 130
PATIENCE_S = 200


def namespaces_of(pid: int) -> list[str]:
    """Return those that a process made: other sessions make theirs meanwhile."""
    return [name for name in list_namespaces(LAB_PREFIX) if f"-{pid}-" in name]


def test_an_interrupted_run_leaves_nothing_behind(tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    arguments = ["bench", "--quick", "--only", "P2", "--json", str(file)]
    with Running("bench", [*WITH_CTRL_C, sys.executable, "-m", "ebpflb", *arguments]) as bench:
        bench.wait_for_line(lambda line: MEASURING in line, PATIENCE_S)
        assert namespaces_of(bench.pid)
        bench.process.send_signal(signal.SIGINT)
        assert bench.wait(PATIENCE_S) == INTERRUPTED
        assert "  P2 interrupted before it was done" in bench.lines()
    assert namespaces_of(bench.pid) == []
    told = json.loads(file.read_text(encoding="utf-8"))
    assert (told["run"]["interrupted"], told["results"][0]["value"]) == (True, None)
