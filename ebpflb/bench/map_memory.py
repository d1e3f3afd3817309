"""The maps of one family, made as an agent makes them, in a folder of pins of their own; and what the kernel says of
their memory.

Decides how a map's memory is read. Knows no figure and no row's meaning.

    Family --MapFolder--> pinned maps: store, flows            fdinfo of each --memory--> bytes by map
"""

import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from ebpflb.bench.closing import Closing
from ebpflb.bench.measure import RefusedError
from ebpflb.core.abi import Family
from ebpflb.core.tables import TableName, Tables
from ebpflb.datapath import libbpf
from ebpflb.datapath.build import BuildSpec, MapSizes, build_programs, remove_build
from ebpflb.datapath.maps import BpfMap
from ebpflb.datapath.pins import Pins
from ebpflb.datapath.programs import SOCKET_PROGRAMS
from ebpflb.datapath.store import PinnedMapStore, open_map
from ebpflb.errors import MapError

_BPFFS: Final = Path("/sys/fs/bpf")
_HZ: Final = 250
"""Of no meaning here: the program that brings the maps along never runs."""
_FIRST_PORT: Final = 1024

FLOW_MAPS: Final = frozenset(
    {
        *("flows", "pending", "affinity", "sock_origins", "sock_choices", "sock_pairs"),
        *("datagrams", "held_fragments", "scratch", "counters"),
    }
)
"""What programs write about traffic. Every other map is state of Services and of the node."""


class MapMemory(NamedTuple):
    """What the kernel says of one map."""

    bytes: int
    """``memlock`` of fdinfo: since Linux 6.4 what the map has allocated."""
    max_entries: int


class MapFolder(Closing):
    """The pinned maps of a family, empty. A context manager; needs root."""

    def __init__(self, family: Family, sizes: MapSizes | None = None) -> None:
        """Compile the smallest program that has all maps, and pin it. Raises what ``build_programs`` does."""
        self.family = family
        self._pins = Pins(_BPFFS, f"memory-{os.getpid()}-{family.value}")
        self._open = ExitStack()
        try:
            self._pins.create_folders(family)
            build_programs(self._spec(sizes or MapSizes()), SOCKET_PROGRAMS[:1])
            self.store = self._open.enter_context(PinnedMapStore(self._pins, family))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Remove the pins."""
        self._open.close()
        remove_build(self._pins.progs(self.family))
        self._pins.remove()

    @property
    def root(self) -> Path:
        """The folder of the pins."""
        return self._pins.root

    def memory(self) -> Mapping[str, MapMemory]:
        """Return the memory of every map, by its name."""
        return memory_of_maps(self._pins.maps(self.family))

    def write(self, tables: Tables) -> None:
        """Put all rows. Raises ``MapError`` when one does not fit."""
        for table in TableName:
            if failures := self.store.put(table, tables.rows(table)):
                raise MapError(f"the benchmark's rows do not fit: {failures[0].error}")
        self.store.write_slots(tables.slots)

    def add_flows(self, count: int) -> None:
        """Put so many entries into ``flows``, at most 65,536 times 64,512."""
        with open_map(self._pins, self.family, "flows") as flows:
            keys, values = _flows(flows, count)
            if failures := flows.update(keys, values):
                raise MapError(f"the benchmark's flows do not fit: errno {failures[0].errno}")

    def _spec(self, sizes: MapSizes) -> BuildSpec:
        return BuildSpec(
            self.family,
            self._pins.maps(self.family),
            self._pins.progs(self.family),
            hz=_HZ,
            host_netns_cookie=1,
            hairpin_address=bytes(self.family.address_bytes),
            sizes=sizes,
        )


def memory_of_maps(folder: Path) -> Mapping[str, MapMemory]:
    """Return the memory of every map that is pinned in a folder, by its name."""
    return {pin.name: _memory_of(pin) for pin in sorted(folder.iterdir())}


def state_bytes(memory: Mapping[str, MapMemory]) -> int:
    """Return the memory of all maps but those that programs write about traffic."""
    return sum(each.bytes for name, each in memory.items() if name not in FLOW_MAPS)


def _flows(flows: BpfMap, count: int) -> tuple[np.ndarray, np.ndarray]:
    keys = np.zeros(count, flows.layout.key)
    numbers = np.arange(count)
    keys["saddr"]["word"][:, -1] = numbers // (1 << 16)
    keys["sport"] = numbers % (1 << 16)
    keys["dport"] = _FIRST_PORT
    return keys, np.zeros(count, flows.layout.value)


def _memory_of(pin: Path) -> MapMemory:
    with libbpf.obj_get(pin) as handle:
        facts = Path(f"/proc/self/fdinfo/{handle.fileno()}").read_text()
    fields = dict(line.split(":", 1) for line in facts.splitlines() if ":" in line)
    try:
        return MapMemory(int(fields["memlock"]), int(fields["max_entries"]))
    except (KeyError, ValueError) as error:
        raise RefusedError(f"the kernel does not say what memory the map {pin.name} takes") from error
