"""Injected faults, so that every failure and every crash can be had on demand: the other half of ``FakeMapStore``.

Decides which operation fails, and where the process dies; must not know what an operation does.

    fail_next, fail_when, crash_after --> operate(operation, target, key) --> nothing, MapError or SimulatedCrash
"""

from collections import Counter
from collections.abc import Callable
from enum import StrEnum
from typing import Any, Literal

from ebpflb.core.tables import TableName
from ebpflb.errors import MapError

SLOTS: Literal["slots"] = "slots"
Target = TableName | Literal["slots"]


class Operation(StrEnum):
    """What is done to one row or range."""

    PUT = "put"
    DELETE = "delete"
    WRITE = "write"


Fault = Callable[[Operation, Target, Any], bool]
"""Whether an operation on a key (of ``slots``: a ``Range``) fails."""


class SimulatedCrash(BaseException):
    """The process died here. No ``Exception``, so that the loop's broad catch does not survive it."""


class Faults:
    """Which operations fail. Healthy until told otherwise."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._fail_next: Counter[Target] = Counter()
        self._operations_left: int | None = None
        self.operations = 0
        """Rows put, rows deleted and ranges written so far, failed ones included."""

    def fail_next(self, target: Target, count: int = 1) -> None:
        """Make the next ``count`` operations on a table, or on ``SLOTS``, fail."""
        self._fail_next[target] += count

    def fail_when(self, fault: Fault) -> None:
        """Make every operation fail for which ``fault`` is true, until ``heal``."""
        self._faults.append(fault)

    def heal(self) -> None:
        """Forget all faults, a planned crash included."""
        self._faults.clear()
        self._fail_next.clear()
        self._operations_left = None

    def crash_after(self, operations: int) -> None:
        """Let so many operations through, then raise ``SimulatedCrash`` in the middle of the next."""
        self._operations_left = operations

    def operate(self, operation: Operation, target: Target, key: Any) -> None:
        """Count one operation; crash or fail when that was asked for."""
        if self._operations_left is not None:
            if not self._operations_left:
                raise SimulatedCrash
            self._operations_left -= 1
        self.operations += 1
        if self._fail_next[target]:
            self._fail_next[target] -= 1
        elif not any(fault(operation, target, key) for fault in self._faults):
            return
        raise MapError(f"{operation.value} {target} {key}: injected fault")
