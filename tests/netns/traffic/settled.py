"""Counters as they are once nothing raises them: what a test compares exactly must not count what was before it.

The end of a connection is one such thing: our last ACK waits in some CPU's backlog, and nobody answers it.
"""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PAUSE_SECONDS = 0.02
"""A backlog is worked off in a fraction of it."""
SETTLE_SECONDS = 60.0


def settled(look: Callable[[], T]) -> T:
    """Return what two looks in a row saw alike.

    It proves little: what a stall of the machine holds up for longer than the pause comes after the second look.
    """
    deadline = time.monotonic() + SETTLE_SECONDS
    last = look()
    while True:
        time.sleep(PAUSE_SECONDS)
        seen = look()
        if seen == last:
            return seen
        assert time.monotonic() < deadline, f"it does not come to rest: {seen}"
        last = seen
