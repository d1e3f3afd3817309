"""The endpoints of a slice without an object for each: a cluster has 100,000, on few nodes and nearly all ready.

Knows how endpoints are held; knows nothing of what they say.

    addresses, Standings (one for all that are alike) --Endpoints.of--> a Sequence[Endpoint], made as they are asked for
                                                  --listed--> addresses and Standings, for who needs no more
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from operator import eq
from typing import Self, overload

from ebpflb.core.model import Endpoint, Standing


class Endpoints(Sequence[Endpoint]):
    """Endpoints whose addresses are of one family, at least one; equal to any sequence of the same ones."""

    __slots__ = ("_packed", "_standings")

    def __init__(self, packed: bytes, standings: tuple[Standing, ...]) -> None:
        """``packed``: the addresses, one behind the other, as many as there are ``standings``."""
        self._packed = packed
        self._standings = standings

    @classmethod
    def of(cls, addresses: Sequence[bytes], standings: Sequence[Standing]) -> Self:
        """Return endpoints by their addresses, of one family, and what is said of each."""
        return cls(b"".join(addresses), tuple(standings))

    @property
    def standings(self) -> tuple[Standing, ...]:
        """What is said of each."""
        return self._standings

    @property
    def width(self) -> int:
        """How many bytes an address has."""
        return len(self._packed) // len(self._standings)

    def addresses(self) -> list[bytes]:
        """Return the address of each."""
        packed, width = self._packed, self.width
        return [packed[begin : begin + width] for begin in range(0, len(packed), width)]

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._standings)

    def __iter__(self) -> Iterator[Endpoint]:
        """Yield each."""
        return map(_endpoint, self.addresses(), self._standings)

    @overload
    def __getitem__(self, place: int) -> Endpoint: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[Endpoint]: ...

    def __getitem__(self, place: int | slice) -> Endpoint | Sequence[Endpoint]:
        """Return one, or some."""
        return tuple(self)[place]

    def __eq__(self, other: object) -> bool:
        """Return whether the same are there, in the same order."""
        if isinstance(other, Endpoints):
            return self._packed == other._packed and self._standings == other._standings
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(map(eq, self, other))

    def __hash__(self) -> int:
        """Return what a tuple of them would."""
        return hash(tuple(self))

    def __repr__(self) -> str:
        """Return all of them."""
        return repr(tuple(self))


@lru_cache(maxsize=16384)
def standing_of(
    conditions: tuple[bool, bool, bool], node_name: str, for_nodes: tuple[str, ...], for_zones: tuple[str, ...]
) -> Standing:
    """Return one and the same object for all endpoints of which the same is said: ready, serving, terminating, ..."""
    ready, serving, terminating = conditions
    return Standing(
        ready=ready,
        serving=serving,
        terminating=terminating,
        node_name=node_name,
        for_nodes=for_nodes,
        for_zones=for_zones,
    )


def held(addresses: Sequence[bytes], standings: Sequence[Standing]) -> Sequence[Endpoint]:
    """Return endpoints, held as small as possible. A slice may list addresses of the wrong family."""
    if len({len(address) for address in addresses}) == 1:
        return Endpoints.of(addresses, standings)
    return tuple(map(_endpoint, addresses, standings))


def listed(endpoints: Sequence[Endpoint], width: int) -> tuple[Sequence[bytes], Sequence[Standing]]:
    """Return of the endpoints whose address has so many bytes the addresses, and what is said of each."""
    if isinstance(endpoints, Endpoints):
        return (endpoints.addresses(), endpoints.standings) if endpoints.width == width else ((), ())
    fitting = [each for each in endpoints if len(each.address) == width]
    return [each.address for each in fitting], fitting


def misfits(endpoints: Sequence[Endpoint], width: int) -> Sequence[bytes]:
    """Return the addresses that do not have so many bytes: most often none, which is known of all at once."""
    if isinstance(endpoints, Endpoints):
        return () if endpoints.width == width else endpoints.addresses()
    return [each.address for each in endpoints if len(each.address) != width]


def addresses_in(endpoints: Sequence[Endpoint]) -> Sequence[bytes]:
    """Return the addresses of all endpoints, of whichever family."""
    return endpoints.addresses() if isinstance(endpoints, Endpoints) else [each.address for each in endpoints]


def _endpoint(address: bytes, standing: Standing) -> Endpoint:
    return Endpoint(
        address,
        ready=standing.ready,
        serving=standing.serving,
        terminating=standing.terminating,
        node_name=standing.node_name,
        for_nodes=standing.for_nodes,
        for_zones=standing.for_zones,
    )
