"""Decides where in ``slots`` a range of backend ids lies.

Knows contents, positions and what is in use; knows nothing of frontends' meaning, services or algorithms.

    contents --digest--> the range that holds them already, or the first free gap that fits

A range begins at a multiple of 16 slots (one array value, one cache line). Line 0 is never handed out, so a
zeroed frontend names nothing. A range in use is never rewritten: changed contents go to another range.
"""

from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import NamedTuple

from ebpflb.core.abi import SLOTS_PER_LINE
from ebpflb.core.tables import Range, Slots, Tables

RangeMap = Mapping[bytes, Range]


class RetiredRange(NamedTuple):
    """A range that no compiled frontend names any more, but a program still might."""

    epoch: int
    digest: bytes
    """Of its contents, so that a change that is taken back finds them again; empty: unknown."""


Retired = Mapping[Range, RetiredRange]


def digest_of(contents: Slots) -> bytes:
    """Return what identifies the contents of a range."""
    return blake2b(contents.tobytes(), digest_size=16).digest()


def ranges_of(tables: Tables) -> tuple[dict[bytes, Range], dict[Range, RetiredRange]]:
    """Return the ranges that the maps hold, by contents, and those of use to nobody, retired under epoch 0.

    A range inside another one (a local prefix) belongs to it. Of two ranges with equal contents the first stays.
    """
    named = {where for frontend in tables.frontends.values() for where in (frontend.cluster, frontend.local)}
    held: dict[bytes, Range] = {}
    spare: dict[Range, RetiredRange] = {}
    end = 0
    for where in sorted({*tables.slots, *named}, key=lambda where: (where.offset, -where.length)):
        if where.length == 0 or where.offset + where.length <= end:
            continue
        end = where.offset + where.length
        contents = tables.slots.get(where)
        digest = b"" if contents is None else digest_of(contents)
        if contents is None or digest in held:
            spare[where] = RetiredRange(0, digest)
        else:
            held[digest] = where
    return held, spare


class Arena:
    """The slots during one compilation: what is held, what is free, what this compilation placed."""

    def __init__(self, held: RangeMap, retired: Retired, limit: int) -> None:
        self._held = held
        self._retired = retired
        self._revivable = {row.digest: where for where, row in retired.items() if row.digest}
        self._gaps = gaps_between((*held.values(), *retired), limit // SLOTS_PER_LINE)
        self._first_fit: dict[int, int] = {}
        self._placed: list[bytes] = []
        self._cuts: list[tuple[int, int]] = []
        self.ranges: dict[bytes, Range] = {}
        """What is in use after this compilation."""
        self.contents: dict[Range, Slots] = {}

    def begin(self) -> None:
        """Start a unit of work that ``undo`` would take back."""
        self._placed.clear()
        self._cuts.clear()

    def place(self, contents: Slots) -> Range | None:
        """Return the range for these contents, or ``None`` when no gap is large enough."""
        digest = digest_of(contents)
        where = self.ranges.get(digest)
        if where is None:
            where = self._held.get(digest) or self._revivable.get(digest)
            if where is None:
                where = self._cut(len(contents))
                if where is None:
                    return None
            self._placed.append(digest)
            self.ranges[digest] = where
            self.contents[where] = contents
        return where

    def undo(self) -> None:
        """Take back what was placed since ``begin``."""
        for digest in self._placed:
            del self.contents[self.ranges.pop(digest)]
        for gap, lines in self._cuts:
            self._gaps[gap][0] -= lines
            self._gaps[gap][1] += lines
            self._first_fit = {size: min(first, gap) for size, first in self._first_fit.items()}

    def retire(self, epoch: int) -> dict[Range, RetiredRange]:
        """Return the retired ranges after this compilation: those held before and not any more come in."""
        rows = {where: row for where, row in self._retired.items() if where not in self.contents}
        for digest, where in self._held.items():
            if digest not in self.ranges:
                rows[where] = RetiredRange(epoch, digest)
        return rows

    def _cut(self, slots: int) -> Range | None:
        """Take a new range from the front of a gap."""
        lines = lines_of(slots)
        gap = self._find_gap(lines)
        if gap == len(self._gaps):
            return None
        first = self._gaps[gap][0]
        self._gaps[gap] = [first + lines, self._gaps[gap][1] - lines]
        self._cuts.append((gap, lines))
        return Range(first * SLOTS_PER_LINE, slots)

    def _find_gap(self, lines: int) -> int:
        """Return the index of the first gap of at least so many lines.

        Gaps only shrink, so the search for a size goes on where the last one for that size ended: all searches
        of a compilation together pass over the gaps once per size.
        """
        gap = self._first_fit.get(lines, 0)
        while gap < len(self._gaps) and self._gaps[gap][1] < lines:
            gap += 1
        self._first_fit[lines] = gap
        return gap


def lines_of(slots: int) -> int:
    """Return how many lines so many slots take."""
    return -(-slots // SLOTS_PER_LINE)


def gaps_between(occupied: Iterable[Range], end: int) -> list[list[int]]:
    """Return the free stretches as [first line, lines], in order, adjoining ones as one."""
    gaps: list[list[int]] = []
    free_from = 1
    for where in sorted(occupied):
        line = where.offset // SLOTS_PER_LINE
        stop = min(line, end)
        if stop > free_from:
            gaps.append([free_from, stop - free_from])
        free_from = max(free_from, line + lines_of(where.length))
    if end > free_from:
        gaps.append([free_from, end - free_from])
    return gaps
