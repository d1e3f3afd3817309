import sys
import threading

import pytest

from ebpflb.bench import agent_run
from ebpflb.bench.agent_run import AgentRun
from ebpflb.bench.process import Running

LARGE = 64 << 20
CHILD = f"held = b'x' * {LARGE}; input()"
AGENT = f"""
import subprocess, sys
subprocess.run([sys.executable, "-c", {CHILD!r}], check=True)
print("event=ready ", flush=True)
sys.stdin.read()
"""


def test_a_child_that_ended_during_the_start_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    peak_bytes, is_told = agent_run._peak_bytes, threading.Event()
    with Running("an agent", [sys.executable, "-c", AGENT]) as running:

        def look(pid: int) -> int:
            peak = peak_bytes(pid)
            if peak > LARGE and not is_told.is_set():
                is_told.set()
                running.tell("end")
            return peak

        monkeypatch.setattr(agent_run, "_peak_bytes", look)
        run = AgentRun(running, began_ns=0)
        assert run.seconds_to_ready() > 0
        assert peak_bytes(running.pid) < LARGE
        assert run.peak_bytes() > LARGE + peak_bytes(running.pid) // 2
        assert is_told.is_set()


def test_a_process_that_has_ended_has_no_memory() -> None:
    with Running("an agent", [sys.executable, "-c", ""]) as running:
        assert running.wait(60) == 0
        assert AgentRun(running, began_ns=0).peak_bytes() == 0
