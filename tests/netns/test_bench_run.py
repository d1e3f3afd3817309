"""`ebpflb bench` as a process: Ctrl-C in the middle of a measure takes everything away, and shows what there is."""

import json
import signal
import sys
from pathlib import Path

import pytest

from ebpflb.bench.namespaces import list_namespaces
from ebpflb.bench.process import Running

pytestmark = pytest.mark.root

MEASURING = "round 1 of"
INTERRUPTED = 130


def test_an_interrupted_run_leaves_nothing_behind(tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    before = set(list_namespaces())
    arguments = ["bench", "--quick", "--only", "P2", "--json", str(file)]
    with Running("bench", [sys.executable, "-m", "ebpflb", *arguments]) as bench:
        bench.wait_for_line(lambda line: MEASURING in line, seconds=60)
        made = set(list_namespaces()) - before
        assert made
        bench.process.send_signal(signal.SIGINT)
        assert bench.wait(60) == INTERRUPTED
        assert "  P2 interrupted before it was done" in bench.lines()
    assert not made & set(list_namespaces())
    told = json.loads(file.read_text(encoding="utf-8"))
    assert (told["run"]["interrupted"], told["results"][0]["value"]) == (True, None)
