"""Lets one thread, which waits in poll(2), be woken by others.

set() from any thread, a threading.Event -> descriptor readable -> poll -> clear()
"""

import os
import threading
from types import TracebackType
from typing import Self


class Wakeup:
    """A context manager. After its end ``set`` does nothing: whoever calls it late disturbs nobody."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._descriptor = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the descriptor."""
        with self._lock:
            descriptor, self._descriptor = self._descriptor, -1
        os.close(descriptor)

    def fileno(self) -> int:
        """Return what to poll for reading."""
        return self._descriptor

    def set(self) -> None:
        """Make the descriptor readable."""
        with self._lock:
            if self._descriptor >= 0:
                os.eventfd_write(self._descriptor, 1)

    def clear(self) -> None:
        """Make the descriptor unreadable until it is set again."""
        try:
            os.eventfd_read(self._descriptor)
        except BlockingIOError:
            return

    def set_when(self, event: threading.Event) -> None:
        """Set it once the event is set."""

        def forward() -> None:
            event.wait()
            self.set()

        threading.Thread(target=forward, name="wakeup", daemon=True).start()
