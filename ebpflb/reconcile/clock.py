"""The two clocks that the reconcile layer reads, as a value, so that tests hand in their own.

Clock.monotonic --> when something is due          Clock.today --> what ``status`` shows
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class Clock:
    """A clock to measure by and a clock to show."""

    monotonic: Callable[[], float] = time.monotonic
    """Seconds, never set back: for intervals."""
    wall: Callable[[], float] = time.time
    """Seconds since the epoch: for people."""

    def today(self) -> datetime:
        """Return the wall clock's time with its zone, UTC."""
        return datetime.fromtimestamp(self.wall(), UTC)
