"""Decides when something that failed is tried again: after 1 s, then twice as long each time, at most 60 s.

failed, succeeded --> due_at --> the loop's next round
"""

from dataclasses import dataclass


@dataclass(slots=True)
class Backoff:
    """The retries of one thing. Times are the monotonic clock's."""

    first_s: float = 1.0
    limit_s: float = 60.0
    due_at: float | None = None
    """When to try again; ``None``: nothing failed."""
    attempts: int = 0
    """Failures in a row."""

    def failed(self, now: float) -> None:
        """Take note of a failure. One that comes before the retry was due (another change came) postpones nothing."""
        if self.due_at is None or now >= self.due_at:
            self.due_at = now + min(self.first_s * 2**self.attempts, self.limit_s)
            self.attempts += 1

    def succeeded(self) -> None:
        """Start over."""
        self.due_at = None
        self.attempts = 0
