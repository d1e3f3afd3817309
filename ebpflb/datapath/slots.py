"""The map ``slots`` of one family, written and read in place, through windows that are in memory only meanwhile.

Decides which pages are mapped when: those that ranges lie in, a few at a time. All of the map would count as this
process's memory as long as it is mapped. Must not know what the ids in a range mean.

    ranges, ids --SlotMemory.write--> kernel --SlotMemory.read--> ids
"""

import mmap
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager

import numpy as np

from ebpflb.core.abi import SLOTS_PER_LINE
from ebpflb.core.tables import Range, Slots
from ebpflb.datapath import libbpf
from ebpflb.datapath.maps import BpfMap

_SLOT_BYTES = 4
_PAGE_SLOTS = mmap.ALLOCATIONGRANULARITY // _SLOT_BYTES
_WINDOW_SLOTS = 64 * _PAGE_SLOTS
"""A window is so long at most, unless one range is longer."""


class SlotMemory:
    """The slots of a map. One thread at a time may write; the descriptor stays the caller's."""

    def __init__(self, slots: BpfMap) -> None:
        self._map = slots
        self.capacity = slots.info.max_entries * SLOTS_PER_LINE
        """How many there are."""

    def holds(self, span: Range) -> bool:
        """Return whether a range lies inside the map."""
        return 0 <= span.offset <= span.offset + span.length <= self.capacity

    def write(self, ranges: Mapping[Range, Slots]) -> None:
        """Copy ids into ranges inside the map. Raises ``MapError`` when the kernel does not let it be mapped."""
        for spans in _together(ranges):
            with self._window(spans) as (first, window):
                for span in spans:
                    window[span.offset - first : span.offset - first + span.length] = ranges[span]

    def read(self, ranges: Collection[Range]) -> dict[Range, Slots]:
        """Return the ids in ranges inside the map. Raises as ``write`` does."""
        found: dict[Range, Slots] = {}
        for spans in _together(ranges):
            with self._window(spans) as (first, window):
                for span in spans:
                    found[span] = window[span.offset - first : span.offset - first + span.length].copy()
        return found

    @contextmanager
    def _window(self, spans: Collection[Range]) -> Iterator[tuple[int, Slots]]:
        """Have the pages of some ranges in memory; yield the first slot's number, and the slots."""
        first = min(span.offset for span in spans) // _PAGE_SLOTS * _PAGE_SLOTS
        end = max(span.offset + span.length for span in spans)
        try:
            memory = mmap.mmap(self._map.fileno(), (end - first) * _SLOT_BYTES, offset=first * _SLOT_BYTES)
        except OSError as error:
            raise libbpf.failure("map into memory", f"map {self._map.info.name}", error.errno or 0) from error
        yield first, np.frombuffer(memory, np.uint32)


def _together(ranges: Collection[Range]) -> Iterator[list[Range]]:
    """Yield the ranges that have any slots, in order: as many at a time as one window shows."""
    spans: list[Range] = []
    for span in sorted(ranges):
        if spans and span.offset + span.length - spans[0].offset > _WINDOW_SLOTS:
            yield spans
            spans = []
        if span.length:
            spans.append(span)
    if spans:
        yield spans
