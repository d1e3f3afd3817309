"""Tells the programs which addresses can be ours, and when something has changed that they may have kept.

Decides which bit an address has (bpf/lb/marks.h has the same rule) and which rows mark one. Bits are never taken back:
one too many costs a few look-ups, one too few would cost the packets their way through XDP. Must not know why a row is
written.

    rows about to be written --Marks.mark--> bits of `marks`, one more in `changes` --> programs
"""

import numpy as np
import numpy.typing as npt

from ebpflb.core.abi import MARK_BITS, MARK_FACTOR, Family
from ebpflb.core.tables import TableName
from ebpflb.datapath.arrays import Rows
from ebpflb.datapath.changes import ChangeCount, Writer, mapped
from ebpflb.datapath.maps import BpfMap

_WORD_BITS = 64
_KEPT = frozenset({TableName.BACKENDS, TableName.DEVICES})
"""What established flows rest on: the backend of a UDP flow, and where XDP may send."""


def mark_numbers(addresses: Rows, family: Family) -> npt.NDArray[np.uint32]:
    """Return the number of each address's bit; ``addresses`` have the layout of ``addr_t``."""
    raw = np.ascontiguousarray(addresses).tobytes()
    words = np.frombuffer(raw, np.uint32).reshape(-1, family.address_bytes // 4)
    numbers = np.zeros(len(words), np.uint32)
    for column in range(words.shape[1]):
        numbers = (numbers + words[:, column]) * np.uint32(MARK_FACTOR)
    return numbers >> np.uint32(32 - MARK_BITS)


class Marks:
    """The maps ``marks`` and ``changes`` of a family, in memory. One thread at a time may write."""

    def __init__(self, marks: BpfMap, changes: BpfMap, family: Family) -> None:
        """Map both; the descriptors stay the caller's. Raises ``MapError`` when the kernel refuses."""
        self._family = family
        self._words: npt.NDArray[np.uint64] = mapped(marks, np.uint64)
        self._written = ChangeCount(changes, Writer.STORE)

    def mark(self, table: TableName, keys: Rows, values: Rows) -> None:
        """Set the bits of the addresses that some rows bring with them; call it before they are written."""
        if table is TableName.FRONTENDS:
            self._set(keys["address"])
        elif table is TableName.NODE_ADDRS:
            self._set(keys)
        elif table is TableName.DEVICES:
            self._set(values["snat_address"])

    def note_change(self, table: TableName) -> None:
        """Have the programs ask anew, if a table is one that they keep something of; call it after a write."""
        if table in _KEPT:
            self._written.note()

    def _set(self, addresses: Rows) -> None:
        """Set what is not set: who reads the maps while the agent writes finds all set, and writes over nothing."""
        numbers = mark_numbers(addresses, self._family)
        words, bits = numbers // _WORD_BITS, np.uint64(1) << (numbers % _WORD_BITS).astype(np.uint64)
        missing = (self._words[words] & bits) == 0
        if missing.any():
            np.bitwise_or.at(self._words, words[missing], bits[missing])
