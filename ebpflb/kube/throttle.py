"""Decides how long a request to the API server has to wait, so that an agent never floods it.

Knows no request and does not wait itself.

    requests so far, clock --> seconds
"""

import threading
import time
from collections.abc import Callable

UNLIMITED = -1.0


class Throttle:
    """So many requests a second, and so many that may follow each other at once. Thread-safe."""

    def __init__(self, per_second: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        """``per_second`` below 0: no limit."""
        self._per_second = per_second
        self._burst = float(max(burst, 1))
        self._clock = clock
        self._lock = threading.Lock()
        self._left = self._burst
        self._at = clock()

    def delay_s(self) -> float:
        """Reserve a place for one request; return in how many seconds it is its turn."""
        if self._per_second <= 0:
            return 0.0
        with self._lock:
            now = self._clock()
            self._left = min(self._burst, self._left + (now - self._at) * self._per_second) - 1
            self._at = now
            return max(0.0, -self._left / self._per_second)
