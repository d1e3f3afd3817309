"""What is remembered of sockets, wherever it is: in the maps ``sock_origins`` and ``sock_choices``, or in a row.

Most sockets have one frontend and one backend, and programs keep both in the row of ``sock_pairs`` that the cookie
names (``bpf/lb/sock_pair.h``). Decides how such a row reads as a row of either map, so that nobody else needs to know.
Knows nothing of what becomes of a socket.

    sock_pairs + sock_origins --SocketMap.read--> keys, values as if all were in the map
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import numpy as np

from ebpflb.core.abi import Protocol
from ebpflb.datapath.arrays import Rows, as_text, joined, places
from ebpflb.datapath.maps import BpfMap, RowError

SOCKET_MAPS: Final[Mapping[str, Mapping[str, str]]] = {
    "sock_origins": {"address": "address", "port": "port"},
    "sock_choices": {"address": "dialled", "port": "dialled_port"},
}
"""By map: which fields of a pair its keys have."""
_DIALLED: Final = {"address": "dialled", "port": "dialled_port"}
"""Which fields of a pair its values have, where the names differ."""


class SocketMap(BpfMap):
    """One of the two maps, with the rows of pairs. Rows are added to the map itself."""

    _pairs: BpfMap | None = None
    _key_fields: Mapping[str, str] = MappingProxyType({})

    def adopt(self, name: str, pairs: BpfMap) -> None:
        """Be the map of this name; the pairs are closed with it."""
        self._key_fields, self._pairs = SOCKET_MAPS[name], pairs

    def close(self) -> None:
        """Close both."""
        super().close()
        if self._pairs is not None:
            self._pairs.close()

    def read(self) -> tuple[Rows, Rows]:
        """Return all keys and values, as ``BpfMap.read`` does; pairs come last."""
        keys, values = super().read()
        _places, rows = self._rows()
        return joined([keys, self._keys_of(rows)]), joined([values, self._values_of(rows)])

    def delete(self, keys: Rows) -> list[RowError]:
        """Remove rows of the map, and free the rows of pairs that are these."""
        failed = super().delete(keys)
        numbers, rows = self._rows()
        own = self._keys_of(rows)
        found = places(np.sort(as_text(np.ascontiguousarray(keys, own.dtype))), as_text(own))[1]
        # What another socket has taken meanwhile stays: its cookie is another one.
        assert self._pairs is not None, "adopt() comes first"
        _known, now = self._pairs.lookup_rows(numbers[found])
        same = now["cookie"] == rows["cookie"][found]
        freed = now[same]
        freed["cookie"] = 0
        return [*failed, *self._pairs.update(numbers[found][same], freed, is_locked=True)]

    def _rows(self) -> tuple[Rows, Rows]:
        """Return the numbers and values of the rows that a socket has, as far as this map would have them."""
        assert self._pairs is not None, "adopt() comes first"
        numbers, rows = self._pairs.read()
        taken = rows["cookie"] != 0
        if self._key_fields["address"] == "dialled":
            taken &= rows["protocol"] == Protocol.UDP
        return numbers[taken], rows[taken]

    def _keys_of(self, rows: Rows) -> Rows:
        keys = np.zeros(len(rows), self.layout.key)
        for field in ("cookie", "protocol"):
            keys[field] = rows[field]
        for field, source in self._key_fields.items():
            keys[field] = rows[source]
        return keys

    def _values_of(self, rows: Rows) -> Rows:
        values = np.zeros(len(rows), self.layout.value)
        for field in self.layout.value.names or ():
            if field != "pad":
                values[field] = rows[_DIALLED.get(field, field)]
        return values
