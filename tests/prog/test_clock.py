"""Jiffies read from the kernel."""

import gzip
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ebpflb.datapath.clock import JiffiesClock, measure_hz
from ebpflb.errors import MapError

pytestmark = pytest.mark.root


@pytest.fixture
def clock() -> Iterator[JiffiesClock]:
    with JiffiesClock() as opened:
        yield opened


def test_hz_is_measured_the_same_every_time(clock: JiffiesClock) -> None:
    assert clock.hz in {100, 250, 300, 1000}
    assert {measure_hz() for _ in range(5)} == {clock.hz}


def test_hz_is_the_one_of_the_kernels_configuration(clock: JiffiesClock) -> None:
    packed, plain = Path("/proc/config.gz"), Path(f"/boot/config-{os.uname().release}")
    if packed.exists():
        config = gzip.decompress(packed.read_bytes()).decode()
    elif plain.exists():
        config = plain.read_text(encoding="utf-8")
    else:
        pytest.skip(f"needs the kernel's configuration: {packed} and {plain} are not there")
    match = re.search(r"^CONFIG_HZ=(\d+)$", config, re.MULTILINE)
    assert match is not None
    assert clock.hz == int(match[1])


def test_jiffies_advance_with_the_monotonic_clock(clock: JiffiesClock) -> None:
    first, began = clock.now_jiffies(), time.monotonic()
    while clock.now_jiffies() == first:
        assert time.monotonic() - began < 5


def test_jiffies_are_the_kernels(clock: JiffiesClock) -> None:
    """/proc/timer_list prints jiffies; it lies between two readings."""
    before = clock.now_jiffies()
    match = re.search(r"^jiffies: (\d+)$", Path("/proc/timer_list").read_text(), re.MULTILINE)
    after = clock.now_jiffies()
    assert match is not None
    assert (int(match[1]) - before) & 0xFFFFFFFF <= (after - before) & 0xFFFFFFFF


def test_a_closed_clock_says_so() -> None:
    clock = JiffiesClock()
    clock.close()
    with pytest.raises(MapError, match="closed"):
        clock.now_jiffies()
