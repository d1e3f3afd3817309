"""What is free of ids and of slots, kept from one change to the next: taking and giving back cost what they change.

Knows numbers; knows nothing of who holds them. Hands out what ``IdPool`` and ``Arena`` would, which begin anew each
time: the lowest free id, the first gap that fits.

    ids in use --FreeIds--> take, give_back        ranges in use --Gaps--> take, give_back
"""

from bisect import bisect_left, insort
from collections.abc import Collection, Iterable
from heapq import heappop, heappush

import numpy as np

from ebpflb.core.abi import SLOTS_PER_LINE
from ebpflb.core.ranges import gaps_between, lines_of
from ebpflb.core.tables import Range


class FreeIds:
    """The free ids in [1, limit)."""

    def __init__(self, taken: Collection[int], limit: int) -> None:
        self._limit = limit
        self._end = max(taken, default=0) + 1
        """From here on none was ever taken."""
        is_free = np.ones(self._end, np.bool_)
        is_free[0] = False
        is_free[np.fromiter(taken, np.int64, len(taken))] = False
        self._holes: list[int] = np.flatnonzero(is_free).tolist()  # ascending: a heap

    def take(self) -> int | None:
        """Return the lowest free id, or ``None`` when there is none."""
        number = heappop(self._holes) if self._holes else self._end
        if number >= self._limit:
            return None
        self._end = max(self._end, number + 1)
        return number

    def give_back(self, number: int) -> None:
        """Take an id back."""
        heappush(self._holes, number)


class Gaps:
    """The free stretches of slots, in lines. There are as many as changes have left holes: most often few."""

    def __init__(self, taken: Iterable[Range], slots: int) -> None:
        self._end = slots // SLOTS_PER_LINE
        gaps = gaps_between(taken, self._end)
        self._starts = [gap[0] for gap in gaps]
        self._lines = {gap[0]: gap[1] for gap in gaps}
        self._free = sum(self._lines.values())

    @property
    def taken_slots(self) -> int:
        """How many slots are not free, the padding to whole lines included; without line 0."""
        return (self._end - 1 - self._free) * SLOTS_PER_LINE

    def take(self, slots: int) -> Range | None:
        """Return a range from the front of the first gap that is long enough, or ``None`` when none is."""
        lines = lines_of(slots)
        for place, first in enumerate(self._starts):
            left = self._lines[first] - lines
            if left >= 0:
                del self._lines[first]
                self._free -= lines
                if left:
                    self._starts[place] = first + lines
                    self._lines[first + lines] = left
                else:
                    del self._starts[place]
                return Range(first * SLOTS_PER_LINE, slots)
        return None

    def give_back(self, where: Range) -> None:
        """Take a range back; adjoining gaps become one. What lies behind the end, as a crash may leave it, is lost."""
        first = where.offset // SLOTS_PER_LINE
        lines = min(lines_of(where.length), self._end - first)
        if lines <= 0:
            return
        self._free += lines
        place = bisect_left(self._starts, first)
        if place < len(self._starts) and self._starts[place] == first + lines:
            lines += self._lines.pop(self._starts.pop(place))
        if place and self._starts[place - 1] + self._lines[self._starts[place - 1]] == first:
            self._lines[self._starts[place - 1]] += lines
        else:
            insort(self._starts, first)
            self._lines[first] = lines
