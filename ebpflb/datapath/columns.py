"""Single columns of the maps' rows, from Python values and back. By columns: no Python call for a field.

Knows how a number, an address, a name, an enum or a prefix is packed; not which map a column belongs to.

    values --put_numbers, put_addresses, put_names--> column of a numpy array (ValueError when one does not fit)
    column --addresses_of, enums_of, flags_of, ranges_of, prefixes_of--> values
"""

from collections.abc import Collection, Iterable
from enum import IntEnum, IntFlag
from itertools import starmap
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from ebpflb.core.abi import SERVICE_NAME_BYTES, Family
from ebpflb.core.tables import Prefix, Range
from ebpflb.datapath.arrays import Rows
from ebpflb.errors import MapError

_Enum = TypeVar("_Enum", bound=IntEnum)
_Flag = TypeVar("_Flag", bound=IntFlag)
_COOKIE_BYTES = 8
_FEW = 8
"""So few numbers, of one endpoint that changes, are packed before numpy has begun."""


def put_numbers(column: Rows, numbers: Collection[int]) -> None:
    """Fill a column with numbers; raises ``ValueError`` when one does not fit."""
    limit = (1 << 8 * column.dtype.itemsize) - 1
    if len(numbers) <= _FEW:
        if any(not 0 <= number <= limit for number in numbers):
            raise ValueError(f"a number lies outside 0 to {limit}")
        for place, number in enumerate(numbers):
            column[place] = number
        return
    wide = np.fromiter(numbers, np.uint64 if column.dtype.itemsize == _COOKIE_BYTES else np.int64, len(numbers))
    if wide.min() < 0 or wide.max() > limit:
        raise ValueError(f"a number lies outside 0 to {limit}")
    column[:] = wide


def put_addresses(column: Rows, addresses: list[bytes], family: Family) -> None:
    """Fill a column of ``addr_t``; raises ``ValueError`` for an address of another length."""
    if {*map(len, addresses)} - {family.address_bytes}:
        raise ValueError(f"an address is not {family.address_bytes} bytes long")
    column["word"] = np.frombuffer(b"".join(addresses), ">u4").reshape(len(addresses), -1) if addresses else 0


def put_names(column: Rows, names: Collection[str]) -> None:
    """Fill a column of names; raises ``ValueError`` for one that would not be read back."""
    texts = [name.encode() for name in names]
    # numpy would cut a name that is too long, and a NUL would end it: neither would be read back.
    if any(len(text) >= SERVICE_NAME_BYTES or b"\0" in text for text in texts):
        raise ValueError(f"a name is longer than {SERVICE_NAME_BYTES - 1} bytes or holds a NUL")
    column[:] = texts


def addresses_of(rows: Rows) -> list[bytes]:
    """Return a column of ``addr_t`` as bytes."""
    packed = np.ascontiguousarray(rows)
    return packed.view(np.dtype(("V", rows.dtype.itemsize))).tolist()  # type: ignore[no-any-return]


def prefixes_of(networks: Rows, masks: Rows) -> Iterable[Prefix]:
    """Return columns of networks and masks as prefixes."""
    lengths = (int.from_bytes(mask).bit_count() for mask in addresses_of(masks))
    return starmap(Prefix, zip(addresses_of(networks), lengths, strict=True))


def ranges_of(column: Rows) -> Iterable[Range]:
    """Return a column of ``struct lb_range`` as ranges."""
    return starmap(Range, zip(column["offset"].tolist(), column["length"].tolist(), strict=True))


def enums_of(kind: type[_Enum], column: npt.NDArray[Any]) -> Iterable[_Enum]:
    """Return a column as members of an enum; raises ``MapError`` for one that this version does not know."""
    members = {member.value: member for member in kind}
    unknown = set(np.unique(column).tolist()) - members.keys()
    if unknown:
        raise MapError(
            f"a map holds {kind.__name__} {min(unknown)}, which this version does not know",
            remedy="run the version that wrote it, or remove the state with `ebpflb cleanup`",
        )
    return map(members.__getitem__, column.tolist())


def flags_of(kind: type[_Flag], column: npt.NDArray[Any]) -> Iterable[_Flag]:
    """Return a column of bits as flags, unknown bits included."""
    members = {number: kind(number) for number in np.unique(column).tolist()}
    return map(members.__getitem__, column.tolist())
