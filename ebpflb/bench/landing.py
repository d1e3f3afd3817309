"""Sees when a change is in the maps: reads one Service's rows by bpf(2), again and again.

Decides what counts as landed: the slots of the frontend name exactly the wanted backends. One look takes about as many
microseconds as the Service has endpoints, and twice that bounds the error of the time. Knows no agent.

    pins --> Landing.await_addresses(Service, addresses) --> CLOCK_MONOTONIC, ns
"""

import ctypes
import struct
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from ipaddress import IPv4Address
from types import TracebackType
from typing import Self

import numpy as np

from ebpflb.core.abi import SLOTS_PER_LINE, Family, Protocol
from ebpflb.datapath import libbpf
from ebpflb.datapath.layout import layout_of
from ebpflb.datapath.pins import Pins
from ebpflb.errors import EbpflbError

_LANDING_SECONDS = 60.0
_RANGE = struct.Struct("=II")
_LINE = struct.Struct(f"={SLOTS_PER_LINE}I")
_ADDRESS_BYTES = 4


class _Map:
    """One pinned map; keys in, the bytes of values out. ``value`` holds what was looked up last."""

    def __init__(self, pins: Pins, name: str) -> None:
        layout = layout_of(name, Family.IPV4)
        self.handle = libbpf.obj_get(pins.map(Family.IPV4, name))
        self.value = ctypes.create_string_buffer(layout.value.itemsize)
        self._key = ctypes.create_string_buffer(layout.key.itemsize)
        self._offsets = {name: place[1] for name, place in (layout.value.fields or {}).items()}

    def offset(self, field: str) -> int:
        return int(self._offsets[field])

    def look_up(self, key: bytes) -> bool:
        self._key.raw = key
        return libbpf.call("bpf_map_lookup_elem", self.handle.fileno(), self._key, self.value) == 0


class Landing:
    """Context manager: the IPv4 maps of one instance, for reading."""

    def __init__(self, pins: Pins) -> None:
        self._undo = ExitStack()
        self._frontends, self._slots, self._backends = (
            self._open(pins, name) for name in ("frontends", "slots", "backends")
        )

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the maps."""
        self._undo.close()

    def await_addresses(self, service: tuple[str, int], addresses: Iterable[str]) -> int:
        """Return when the TCP Service's slots named these backends and no other, by CLOCK_MONOTONIC, in ns.

        Raises ``EbpflbError`` when they do not within a minute.
        """
        key, wanted = _frontend_key(*service), _packed(addresses)
        deadline_ns = time.monotonic_ns() + int(_LANDING_SECONDS * 1e9)
        while set(self._backends_of(key)) != wanted:
            if time.monotonic_ns() > deadline_ns:
                raise EbpflbError(f"bench: the change of {service[0]} was not in the maps after a minute")
        return time.monotonic_ns()

    def has_addresses(self, service: tuple[str, int], addresses: Iterable[str]) -> bool:
        """Say, by one look, whether the TCP Service's slots name these backends and no other."""
        return set(self._backends_of(_frontend_key(*service))) == _packed(addresses)

    def _open(self, pins: Pins, name: str) -> _Map:
        opened = _Map(pins, name)
        self._undo.callback(opened.handle.close)
        return opened

    def _backends_of(self, key: bytes) -> Iterator[bytes]:
        """Yield the addresses that the slots name now; nothing while the frontend is not there."""
        if not self._frontends.look_up(key):
            return
        first, length = _RANGE.unpack_from(self._frontends.value.raw, self._frontends.offset("cluster"))
        start = self._backends.offset("address")
        for backend in self._slots_of(first, length):
            if self._backends.look_up(backend.to_bytes(4, "little")):
                yield self._backends.value.raw[start : start + _ADDRESS_BYTES]

    def _slots_of(self, first: int, length: int) -> Iterator[int]:
        for line in range(first // SLOTS_PER_LINE, -(-(first + length) // SLOTS_PER_LINE)):
            self._slots.look_up(line.to_bytes(4, "little"))
            here = range(line * SLOTS_PER_LINE, (line + 1) * SLOTS_PER_LINE)
            for place, backend in zip(here, _LINE.unpack(self._slots.value.raw), strict=True):
                if first <= place < first + length:
                    yield backend


def _packed(addresses: Iterable[str]) -> set[bytes]:
    return {IPv4Address(address).packed for address in addresses}


def _frontend_key(address: str, port: int) -> bytes:
    rows = np.zeros(1, layout_of("frontends", Family.IPV4).key)
    rows["address"]["word"] = int(IPv4Address(address))
    rows["port"], rows["protocol"] = port, Protocol.TCP
    return rows.tobytes()
