"""Threads share one heap once they are told to, and it gives back what was large; glibc says so itself."""

import re
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


LARGE = """
import ctypes, sys
from ebpflb.host.heap import use_one_heap
if sys.argv[1] == "one":
    assert use_one_heap()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
libc.free(libc.malloc(24 << 20))
libc.malloc(16 << 20)
libc.malloc_stats()
"""


@pytest.mark.parametrize(("how", "is_apart"), [("one", True), ("many", False)])
def test_what_is_large_lies_outside_of_the_heap(how: str, is_apart: bool) -> None:
    done = subprocess.run([sys.executable, "-c", LARGE, how], capture_output=True, text=True, check=True)
    (heap,) = re.findall(r"Arena 0:\nsystem bytes +=\s+(\d+)", done.stderr)
    assert (int(heap) < 16 << 20) is is_apart
