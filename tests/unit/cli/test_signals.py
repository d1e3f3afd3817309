import os
import signal
import threading
from pathlib import Path

import pytest

from ebpflb.cli.signals import stop_on_signals

BOTH = (signal.SIGTERM, signal.SIGINT)


@pytest.mark.parametrize("number", BOTH)
def test_a_signal_sets_the_event(number: signal.Signals) -> None:
    before = [signal.getsignal(each) for each in BOTH]
    with stop_on_signals() as stop:
        assert not stop.is_set()
        os.kill(os.getpid(), number)
        assert stop.wait(5)
        assert [signal.getsignal(each) for each in BOTH] == before  # a second signal has its usual effect
    assert [signal.getsignal(each) for each in BOTH] == before


def descriptor_count() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_nothing_is_left_without_a_signal() -> None:
    threads, descriptors = threading.active_count(), descriptor_count()
    before = [signal.getsignal(each) for each in BOTH]
    with stop_on_signals():
        assert [signal.getsignal(each) for each in BOTH] != before
    assert [signal.getsignal(each) for each in BOTH] == before
    assert (threading.active_count(), descriptor_count()) == (threads, descriptors)
