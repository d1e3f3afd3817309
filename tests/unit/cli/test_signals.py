import os
import queue
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ebpflb.cli.signals import stop_on_signals
from tests.descriptors import open_descriptors
from tests.kube.plugins import await_end, await_plugin, hanging

BOTH = (signal.SIGTERM, signal.SIGINT)
STARTING = """
import pathlib, sys
from ebpflb.agent.cluster import reach_cluster
from ebpflb.agent.config import AgentConfig
from ebpflb.cli.signals import stop_on_signals
from ebpflb.kube import loading
from ebpflb.kube.vault import read_early
path, loading._IN_MEMORY = map(pathlib.Path, sys.argv[1:])
loading.LIMIT_S = 1e6
with read_early(path, "") as abort, stop_on_signals(abort) as stop:
    print("starting", flush=True)
    print(reach_cluster(AgentConfig("node-1", kubeconfig=path), stop))
"""


@pytest.mark.parametrize("number", BOTH)
def test_a_signal_sets_the_event(number: signal.Signals) -> None:
    before = [signal.getsignal(each) for each in BOTH]
    stopped: queue.SimpleQueue[bool] = queue.SimpleQueue()
    with stop_on_signals(lambda: stopped.put(stop.is_set())) as stop:
        assert not stop.is_set()
        os.kill(os.getpid(), number)
        assert stopped.get(timeout=60), "what does not look at the event is ended after it"
        assert [signal.getsignal(each) for each in BOTH] == before  # a second signal has its usual effect
    assert [signal.getsignal(each) for each in BOTH] == before


def test_nothing_is_left_without_a_signal() -> None:
    descriptors, threads = open_descriptors(), set(threading.enumerate())
    before = [signal.getsignal(each) for each in BOTH]
    with stop_on_signals(lambda: None):
        assert [signal.getsignal(each) for each in BOTH] != before
    assert [signal.getsignal(each) for each in BOTH] == before
    assert set(threading.enumerate()) <= threads
    assert open_descriptors() <= descriptors


@pytest.mark.parametrize("number", BOTH)
def test_a_signal_ends_an_agent_that_waits_for_its_credentials(number: signal.Signals, tmp_path: Path) -> None:
    path, pid_file = hanging(tmp_path)
    (places := tmp_path / "memory").mkdir()
    command = [sys.executable, "-c", STARTING, str(path), str(places)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as agent:
        assert agent.stdout
        assert agent.stdout.readline() == "starting\n"
        plugin = await_plugin(pid_file)
        agent.send_signal(number)
        try:
            assert agent.wait(60) == 0
        finally:
            agent.kill()
        assert agent.stdout.read() == "None\n"
    await_end(plugin)
    assert list(places.iterdir()) == []
