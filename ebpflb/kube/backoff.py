"""Decides how long to wait before the next attempt. Knows no clock and does not wait itself.

failures so far, random --> seconds
"""

import random

FIRST_DELAY_S = 0.2
MAX_DELAY_S = 30.0


class Backoff:
    """Doubling delays with jitter, so that many agents do not return to a restarted API server in step."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._ceiling_s = FIRST_DELAY_S

    def next_s(self) -> float:
        """Return the next delay: between half the current ceiling and the ceiling, which doubles up to its maximum."""
        delay_s = self._ceiling_s * self._rng.uniform(0.5, 1.0)
        self._ceiling_s = min(self._ceiling_s * 2, MAX_DELAY_S)
        return delay_s

    def reset(self) -> None:
        """Start again from the shortest delay."""
        self._ceiling_s = FIRST_DELAY_S
