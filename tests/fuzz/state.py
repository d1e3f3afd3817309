"""The rows that programs write: read, compared with what they must be, put back as the world has them.

Changes --State.check--> what differs, in words          Changes --State.restore--> maps
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NamedTuple

from ebpflb.core.abi import Counter
from tests.fuzz import packing
from tests.fuzz.decision import Changes, Row, Work
from tests.fuzz.flowtable import MOVED, is_free, partner_key, partner_of
from tests.fuzz.kernel import Programs
from tests.fuzz.opening import SNAT_PORTS
from tests.fuzz.rows import Affinity, Datagram, Flow, World


class _Table(NamedTuple):
    """How one map's rows look."""

    key: Callable[[bytes], bytes]
    unpack: Callable[[bytes], Row]


_TABLES = {
    "flows": _Table(packing.flow_key, packing.unpack_flow),
    "pending": _Table(packing.flow_key, packing.unpack_flow),
    "datagrams": _Table(packing.flow_key, packing.unpack_datagram),
    "affinity": _Table(packing.affinity_key, packing.unpack_affinity),
    "held_fragments": _Table(packing.held_key, packing.unpack_held),
}


def _are_left_behind(got: Row | None, wanted: Row | None) -> bool:
    """Say whether both are what a confirmed flow leaves in ``pending``: what else it saw counts for nothing."""
    if not isinstance(got, Flow) or not isinstance(wanted, Flow) or not got.seen & wanted.seen & MOVED:
        return False
    return replace(got, seen=MOVED) == replace(wanted, seen=MOVED)


class State:
    """The rows of one world in the maps of its programs."""

    def __init__(self, world: World, programs: Programs) -> None:
        self._world, self._programs, self._maps = world, programs, programs.maps
        self._rows: Mapping[str, Mapping[bytes, Row]] = {
            "flows": world.flows,
            "pending": world.pending,
            "datagrams": world.datagrams,
            "affinity": world.affinity,
            "held_fragments": world.held,
        }
        self._now = 0

    def install(self) -> None:
        """Have the maps hold the world and nothing else."""
        self._now = self._programs.now()
        for name, key, value in packing.rows_of(self._world):
            self._maps.put(name, key, value)
        for name, rows in self._rows.items():
            for raw in self._maps.rows(name):
                self._maps.delete(name, raw)
            for key in rows:
                self._put_back(name, key)

    def refresh(self) -> None:
        """Keep what would grow old."""
        self._now = self._programs.now()
        for key in self._world.datagrams:
            self._put_back("datagrams", key)

    def counters(self) -> dict[Counter, int]:
        """Return all counters."""
        return dict(zip(Counter, self._maps.counters(), strict=True))

    def read(self, name: str, key: bytes) -> Row | None:
        """Return a row as it is."""
        table = _TABLES[name]
        value = self._maps.get(name, table.key(key))
        return None if value is None else table.unpack(value)

    def check(self, changes: Changes) -> str | None:
        """Return what is not as it must be."""
        for (name, key), wanted in changes.items():
            got = self.read(name, key)
            if got != wanted and not _are_left_behind(got, wanted):
                return f"{name}[{key.hex()}]\n  got      {got!r}\n  expected {wanted!r}"
        return None

    def settle_port(self, work: Work) -> str | None:
        """Add the entries of a flow that had to take any free source port; return what is wrong with it."""
        key = work.packet.key
        made = self.read("pending", key)
        wanted = work.flow("pending", key)
        assert wanted is not None
        if not isinstance(made, Flow):
            return "no request entry was made"
        port = int.from_bytes(made.to[-4:-2], "big")
        flow = wanted.with_source_port(port)
        if port not in SNAT_PORTS or not is_free(work, partner_key(key, flow)):
            return f"source port {port} is not free, or out of range"
        work.changes["pending", key] = flow
        work.changes["pending", partner_key(key, flow)] = partner_of(key, flow)
        return None

    def restore(self, changes: Changes) -> None:
        """Have changed rows as the world has them."""
        for name, key in changes:
            if key in self._rows[name]:
                self._put_back(name, key)
            else:
                self._maps.delete(name, _TABLES[name].key(key))

    def differences(self) -> list[str]:
        """Return every row that is not as the world has it."""
        found = []
        for name, rows in self._rows.items():
            table = _TABLES[name]
            wanted = {table.key(key): row for key, row in rows.items()}
            got = {key: table.unpack(value) for key, value in self._maps.rows(name).items()}
            keys = [key for key in wanted.keys() | got.keys() if wanted.get(key) != got.get(key)]
            found += [f"{name}[{key.hex()}] is {got.get(key)!r}, expected {wanted.get(key)!r}" for key in keys]
        return found

    def _put_back(self, name: str, key: bytes) -> None:
        row = self._rows[name][key]
        if isinstance(row, Flow):
            value = packing.flow_value(row, self._now)
        elif isinstance(row, Affinity):
            value = packing.affinity_value(row, self._now)
        elif isinstance(row, Datagram):
            value = packing.datagram_value(row, self._now)
        else:
            value = packing.held_value(row, self._now)
        self._maps.put(name, _TABLES[name].key(key), value)
