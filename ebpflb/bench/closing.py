"""What everything that is made, used in a ``with`` block and removed again has in common. Knows nothing of what it is.

with Thing() as thing --> thing --> thing.close(), however the block ends
"""

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class Closing(ABC):
    """A context manager that is closed at the end of its block."""

    @abstractmethod
    def close(self) -> None:
        """Remove everything, also of a thing whose making failed half-way."""

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()
