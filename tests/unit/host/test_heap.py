"""Threads share one heap once they are told to; glibc says so itself."""

import subprocess
import sys

import pytest

SCRIPT = """
import ctypes, sys, threading
from ebpflb.host.heap import use_one_heap
if sys.argv[1] == "one":
    assert use_one_heap()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
together = threading.Barrier(4)
def take():
    libc.malloc(1000)
    together.wait()
threads = [threading.Thread(target=take) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
libc.malloc_stats()
"""


@pytest.mark.parametrize(("how", "is_one"), [("one", True), ("many", False)])
def test_threads_share_one_heap(how: str, is_one: bool) -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT, how], capture_output=True, text=True, check=True)
    assert (done.stderr.count("Arena ") == 1) is is_one
