"""Which place in the map each backend has, and since which generation: of 100,000 backends, without an object for each.

Knows keys and numbers; knows nothing of who uses a backend, nor of which ids are free.

    keys, ids, generations --> Places: {BackendKey: BackendId}, made as they are asked for
"""

from array import array
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from typing import NamedTuple, Self

from ebpflb.core.tables import BackendKey


class BackendId(NamedTuple):
    """A backend's place in the map, and which user of that place it is."""

    backend_id: int
    generation: int


class Places(MutableMapping[BackendKey, BackendId]):
    """``{BackendKey: BackendId}``; no two backends have the same place."""

    __slots__ = ("generations", "ids")

    def __init__(self, ids: dict[BackendKey, int], generations: "array[int]") -> None:
        """Take over ``ids`` and the generations, by id."""
        self.ids = ids
        self.generations = generations

    @classmethod
    def of(cls, places: Mapping[BackendKey, BackendId]) -> Self:
        """Return a copy of these places."""
        if isinstance(places, cls):
            return cls(places.ids.copy(), places.generations[:])
        copy = cls({}, array("Q"))
        copy.update(places)
        return copy

    def __getitem__(self, key: BackendKey) -> BackendId:
        """Return a backend's place; raises ``KeyError`` when it has none."""
        number = self.ids[key]
        return BackendId(number, self.generations[number])

    def __setitem__(self, key: BackendKey, place: BackendId) -> None:
        """Give a backend a place."""
        self.ids[key] = place.backend_id
        note_generations(self.generations, [place.backend_id], place.generation)

    def __delitem__(self, key: BackendKey) -> None:
        """Take a backend's place away; raises ``KeyError`` when it has none."""
        del self.ids[key]

    def __contains__(self, key: object) -> bool:
        """Return whether a backend has a place."""
        return key in self.ids

    def __iter__(self) -> Iterator[BackendKey]:
        """Yield the backends."""
        return iter(self.ids)

    def __len__(self) -> int:
        """Return how many backends have a place."""
        return len(self.ids)


def note_generations(generations: "array[int]", numbers: Sequence[int], first: int) -> None:
    """Take down the generations of ids, from ``first`` on, whichever ids there were before."""
    missing = max(numbers, default=-1) + 1 - len(generations)
    if missing > 0:
        generations.frombytes(bytes(generations.itemsize * missing))
    for generation, number in enumerate(numbers, first):
        generations[number] = generation
