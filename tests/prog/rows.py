"""The rows that programs write, as named tuples whose fields are called like the maps' columns.

structured arrays --unpack--> FlowKey, Flow          addresses --pack_addresses--> a column
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import starmap
from typing import Any, NamedTuple, TypeVar

import numpy as np

from ebpflb.core.abi import FlowFlag, FlowSeen, Protocol
from ebpflb.datapath.columns import addresses_of

_Row = TypeVar("_Row")


class FlowKey(NamedTuple):
    """A row's key in ``flows``."""

    saddr: bytes
    sport: int
    daddr: bytes
    dport: int
    protocol: Protocol


class Flow(NamedTuple):
    """A row's value in ``flows``, all but ``last_seen``."""

    to_saddr: bytes
    to_sport: int
    to_daddr: bytes
    to_dport: int
    backend_id: int
    generation: int
    service_id: int
    flags: FlowFlag
    seen: FlowSeen


@dataclass(frozen=True, slots=True)
class Affinity:
    """A row of ``affinity``."""

    client: bytes
    service_id: int
    netns_cookie: int
    backend_id: int
    generation: int
    age: int
    """In jiffies."""


def pack_addresses(addresses: Collection[bytes]) -> Any:
    """Return addresses as a column of ``addr_t``."""
    joined = np.frombuffer(b"".join(addresses), ">u4")
    return joined.reshape(len(addresses), -1).view([("word", ">u4", (joined.size // len(addresses),))])[:, 0]


def unpack(kind: Callable[..., _Row], array: Any) -> Iterator[_Row]:
    """Return the rows of an array as named tuples whose fields are called like the columns."""
    names: Iterable[str] = kind._fields  # type: ignore[attr-defined]
    columns = [addresses_of(array[name]) if name.endswith("addr") else array[name].tolist() for name in names]
    return starmap(kind, zip(*columns, strict=True))
