"""Turns signals into exceptions while something must be undone, and holds them off while it is undone.

SIGTERM -> SignalsAsExceptions -> SystemExit -> context managers unwind        SIGINT during removal -> shielded
"""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any


def _on_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


class SignalsAsExceptions:
    """While entered, the signals raise ``SystemExit``. Off the main thread it does nothing: Python forbids it there."""

    def __init__(self, *numbers: signal.Signals) -> None:
        self._numbers = numbers
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> None:
        """Take the signals that still have their default action: a handler that someone set is theirs."""
        if not _on_main_thread():
            return
        for number in self._numbers:
            if signal.getsignal(number) is signal.SIG_DFL:
                self._before[number] = signal.signal(number, _raise)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Put the old actions back."""
        while self._before:
            signal.signal(*self._before.popitem())


def _raise(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)


@contextmanager
def shielded(*numbers: signal.Signals) -> Iterator[None]:
    """Hold the signals back inside the block; each that came meanwhile is delivered after it.

    Handlers and not ``pthread_sigmask``: a signal blocked here would go to any other thread, whose arrival Python
    still raises in the main one.
    """
    if not _on_main_thread():
        yield
        return
    arrived: set[int] = set()
    before = {number: signal.signal(number, lambda came, _frame: arrived.add(came)) for number in numbers}
    try:
        yield
    finally:
        for number, action in before.items():
            signal.signal(number, action)
        for came in arrived:
            signal.raise_signal(came)
