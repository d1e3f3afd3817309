"""Decides the rows of Services' addresses as such: what answers a ping, and where fragments without ports belong.

Knows frontends; knows nothing of Services. ADR 0010 says why there are such rows.

    frontends, this node's addresses --address_rows--> rows of ``frontends`` with port 0 and protocol 0
    frontends before, after --AddressTally.change--> those of these rows that are touched
"""

from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple

from ebpflb.core.abi import Algorithm, FrontendFlag, FrontendKind, Protocol
from ebpflb.core.tables import EMPTY_RANGE, NO_SERVICE, Frontend, FrontendKey

_NONE = FrontendFlag(0)


def addresses_of(frontends: Iterable[tuple[FrontendKey, FrontendKind]]) -> frozenset[bytes]:
    """Return the addresses that frontends have of their own; NodePorts are at the node's."""
    return frozenset(key.address for key, kind in frontends if kind is not FrontendKind.NODE_PORT)


def address_rows(
    frontends: Mapping[FrontendKey, Frontend], own_addresses: Collection[bytes]
) -> dict[FrontendKey, Frontend]:
    """Return one row for each address, whosever frontends are there.

    It has backends if any frontend at it has: then a ping is answered. It is a ClusterIP if any is: then nothing but
    its frontends may be dialled there. An address that is also this node's is neither: the node answers for itself,
    under its own rules.
    """
    flags: dict[bytes, FrontendFlag] = {}
    for key, row in frontends.items():
        if row.kind is not FrontendKind.NODE_PORT:
            found = row.flags & FrontendFlag.HAS_BACKENDS
            if row.kind is FrontendKind.CLUSTER_IP:
                found |= FrontendFlag.CLUSTER_ADDRESS
            known = flags.get(key.address, _NONE)
            flags[key.address] = _NONE if key.address in own_addresses else known | found
    return {_key(address): address_row(flags[address]) for address in sorted(flags)}


class _Found(NamedTuple):
    """What the frontends at one address are: how many, how many of them have backends, and how many are ClusterIPs."""

    frontends: int
    backed: int
    clusters: int


_NOBODY = _Found(0, 0, 0)


class AddressTally:
    """The frontends at each address, counted, so that a change costs what it changes."""

    def __init__(self, frontends: Mapping[FrontendKey, Frontend], own_addresses: Collection[bytes]) -> None:
        self._own = own_addresses
        self._found: dict[bytes, _Found] = {}
        self._count(frontends, 1)

    def __len__(self) -> int:
        """Return how many addresses have rows."""
        return len(self._found)

    def change(
        self, before: Mapping[FrontendKey, Frontend], after: Mapping[FrontendKey, Frontend]
    ) -> dict[FrontendKey, Frontend | None]:
        """Hear which frontends there are instead of which; return the rows of their addresses; ``None``: none now."""
        touched = self._count(before, -1) | self._count(after, 1)
        rows: dict[FrontendKey, Frontend | None] = {}
        for address in touched:
            found = self._found[address]
            if not found.frontends:
                del self._found[address]
            rows[_key(address)] = self._row(address, found) if found.frontends else None
        return rows

    def _count(self, frontends: Mapping[FrontendKey, Frontend], by: int) -> set[bytes]:
        touched = set()
        for key, row in frontends.items():
            if row.kind is not FrontendKind.NODE_PORT and row.kind is not FrontendKind.ADDRESS:
                found = self._found.get(key.address, _NOBODY)
                backed = by if row.flags & FrontendFlag.HAS_BACKENDS else 0
                clusters = by if row.kind is FrontendKind.CLUSTER_IP else 0
                self._found[key.address] = _shared(
                    found.frontends + by, found.backed + backed, found.clusters + clusters
                )
                touched.add(key.address)
        return touched

    def _row(self, address: bytes, found: _Found) -> Frontend:
        flags = _NONE
        if address not in self._own:
            flags |= FrontendFlag.HAS_BACKENDS if found.backed else _NONE
            flags |= FrontendFlag.CLUSTER_ADDRESS if found.clusters else _NONE
        return address_row(flags)


@lru_cache(maxsize=1024)
def _shared(frontends: int, backed: int, clusters: int) -> _Found:
    """Return one and the same value for all addresses alike: most have one frontend."""
    return _Found(frontends, backed, clusters)


@lru_cache(maxsize=64)
def address_row(flags: FrontendFlag) -> Frontend:
    """Return the row of an address: the same one for all that are alike."""
    return Frontend(NO_SERVICE, FrontendKind.ADDRESS, Algorithm.RANDOM, flags, 0, EMPTY_RANGE, EMPTY_RANGE)


def _key(address: bytes) -> FrontendKey:
    return FrontendKey(address, 0, Protocol.ANY)
