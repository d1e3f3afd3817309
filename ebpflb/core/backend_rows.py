"""The rows of ``backends`` by columns: a cluster has 100,000, and a Python object for each would be most of an agent.

Knows how rows are held; knows nothing of what they mean.

    Places, states, flags --BackendRows.add--> {id: Backend}, made as they are asked for --columns--> arrays
"""

from array import array
from collections.abc import Iterable, Iterator, MutableMapping, Sequence
from functools import lru_cache
from operator import ne
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from ebpflb.core.abi import BackendFlag, BackendState
from ebpflb.core.tables import Backend, BackendKey

_NONE = BackendState.NONE.value
_SOME = 4096
"""So many ids are Python objects at a time."""
_STATES = {state.value: state for state in BackendState}
_flags = lru_cache(maxsize=256)(BackendFlag)


class BackendColumns(NamedTuple):
    """Rows as columns of equal length."""

    numbers: npt.NDArray[np.int64]
    """The ids."""
    keys: Sequence[BackendKey]
    states: npt.NDArray[np.uint8]
    flags: npt.NDArray[np.uint8]
    generations: npt.NDArray[np.uint64]

    def some(self, begin: int) -> "BackendColumns":
        """Return the rows from a position on, not too many."""
        numbers, keys, states, flags, generations = self
        end = begin + _SOME
        return BackendColumns(
            numbers[begin:end], keys[begin:end], states[begin:end], flags[begin:end], generations[begin:end]
        )

    def rows(self) -> dict[int, Backend]:
        """Return the rows one by one."""
        states = map(_STATES.__getitem__, self.states.tolist())
        flags = map(_flags, self.flags.tolist())
        rows = map(Backend, self.keys, states, flags, self.generations.tolist())
        return dict(zip(self.numbers.tolist(), rows, strict=True))


class BackendRows(MutableMapping[int, Backend]):
    """``{id: Backend}``, in the order of ids. A row's state is never NONE; its flags are a byte."""

    __slots__ = ("_count", "_flags", "_generations", "_keys", "_states")

    def __init__(
        self,
        keys: Iterable[BackendKey | None] = (),
        states: bytes | bytearray = b"",
        flags: bytes | bytearray = b"",
        generations: Iterable[int] = (),
    ) -> None:
        """Take copies of columns whose n-th element is that of id n; where there is no row, the key is ``None``."""
        self._keys: list[BackendKey | None] = [*keys]
        self._states, self._flags = bytearray(states), bytearray(flags)
        self._generations = array("Q", generations)
        self._count = len(self._keys) - self._keys.count(None)

    @classmethod
    def of(cls, columns: BackendColumns) -> Self:
        """Return rows that are there as columns."""
        size = int(columns.numbers.max(initial=-1)) + 1
        return cls.of_parts(map(columns.some, range(0, len(columns.numbers), _SOME)), size)

    @classmethod
    def of_parts(cls, parts: Iterable[BackendColumns], size: int) -> Self:
        """Return rows that come as columns, some at a time; their ids are below ``size``."""
        rows = cls()
        rows._grow(size)
        for part in parts:
            for number, key in zip(part.numbers.tolist(), part.keys, strict=True):
                rows._keys[number] = key
            for column, values in zip(rows._arrays(), part[2:], strict=True):
                column[part.numbers] = values
            rows._count += len(part.numbers)
        return rows

    def copy(self) -> Self:
        """Return the same rows, to be changed."""
        return type(self)(self._keys, self._states, self._flags, self._generations)

    def columns(self, most: int) -> Iterator[BackendColumns]:
        """Yield all rows as columns, of so many ids at a time."""
        states, flags, generations = self._arrays()
        for begin in range(0, len(self._keys), most):
            keys = self._keys[begin : begin + most]
            places = np.flatnonzero(states[begin : begin + most] != _NONE)
            if len(places):
                numbers = places + begin
                present = [key for key in keys if key is not None]
                yield BackendColumns(numbers, present, states[numbers], flags[numbers], generations[numbers])

    def changed_from(self, other: "BackendRows") -> dict[int, Backend]:
        """Return the rows that are not the same in others, or not there."""
        keys, *arrays = self.by_id()
        other_keys, *others = other.by_id()
        size = min(len(keys), len(other_keys))
        differ = np.ones(len(keys), np.bool_)
        differ[:size] = np.fromiter(map(ne, keys, other_keys), np.bool_, size)
        for ours, theirs in zip(arrays, others, strict=True):
            differ[:size] |= ours[:size] != theirs[:size]
        return {number: self[number] for number in np.flatnonzero(differ).tolist() if number in self}

    def by_id(self) -> tuple[Sequence[BackendKey | None], *tuple[npt.NDArray[Any], ...]]:
        """Return the columns themselves, by id, to be read: no row can be added meanwhile."""
        return self._keys, *self._arrays()

    def __getitem__(self, number: int) -> Backend:
        """Return a row; raises ``KeyError`` when there is none."""
        key = self._keys[number] if 0 <= number < len(self._keys) else None
        if key is None:
            raise KeyError(number)
        return Backend(key, _STATES[self._states[number]], _flags(self._flags[number]), self._generations[number])

    def __setitem__(self, number: int, row: Backend) -> None:
        """Have a row there."""
        if number >= len(self._keys):
            self._grow(number + 1)
        self._count += self._keys[number] is None
        self._keys[number] = row.key
        self._states[number] = row.state
        self._flags[number] = row.flags
        self._generations[number] = row.generation

    def __delitem__(self, number: int) -> None:
        """Have no row there; raises ``KeyError`` when there is none."""
        if number not in self:
            raise KeyError(number)
        self._keys[number] = None
        self._states[number] = self._flags[number] = self._generations[number] = 0
        self._count -= 1

    def __contains__(self, number: object) -> bool:
        """Return whether there is a row."""
        return isinstance(number, int) and 0 <= number < len(self._keys) and self._keys[number] is not None

    def __iter__(self) -> Iterator[int]:
        """Yield the ids."""
        return (number for number, key in enumerate(self._keys) if key is not None)

    def __len__(self) -> int:
        """Return how many rows there are."""
        return self._count

    def _grow(self, size: int) -> None:
        more = size - len(self._keys)
        self._keys.extend([None] * more)
        self._states.extend(bytes(more))
        self._flags.extend(bytes(more))
        self._generations.frombytes(bytes(self._generations.itemsize * more))

    def _arrays(self) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
        """Return the columns but for the keys, to be read or written at once: nothing can be added meanwhile."""
        return (
            np.frombuffer(self._states, np.uint8),
            np.frombuffer(self._flags, np.uint8),
            np.frombuffer(self._generations, np.uint64),
        )
