"""When ids and ranges that nobody needs any more may be used again.

Decides that from the grace period alone: a program may still hold a frontend that it looked up before the apply. Must
not know what was freed.

    Allocation that was applied --plan--> due_at --over--> epochs for ``Allocation.release``
"""

from collections import deque
from collections.abc import Iterator

from ebpflb.core.ids import Allocation


class Releases:
    """The epochs whose grace period runs, in their order."""

    def __init__(self, grace_s: float) -> None:
        self._grace_s = grace_s
        self._epochs: deque[tuple[float, int]] = deque()

    @property
    def due_at(self) -> float | None:
        """Return when the first of them is over."""
        return self._epochs[0][0] if self._epochs else None

    def plan(self, allocation: Allocation, now: float) -> None:
        """Let the grace period begin of what an allocation retired. Not while a row still names it."""
        if allocation.retired_services or allocation.retired_backends or allocation.retired_ranges:
            self._epochs.append((now + self._grace_s, allocation.epoch))

    def over(self, now: float) -> Iterator[int]:
        """Yield, and forget, the epochs whose grace period is over."""
        while self._epochs and now >= self._epochs[0][0]:
            yield self._epochs.popleft()[1]
