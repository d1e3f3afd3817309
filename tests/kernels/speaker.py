"""The guest's voice: what its checks found, and each minute which of them are under way. Knows no check.

at_work(check), step(check, words), tell(Result) --> lines for run.py on a serial port
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from threading import Event, Lock, Thread
from types import TracebackType
from typing import Self, TextIO

from tests.kernels.result import AT_WORK, END, Result


class Speaker:
    """Writes lines; checks may run in several threads. A context manager: what ends well is ended with ``END``."""

    def __init__(self, port: TextIO, every: float = 60.0) -> None:
        self._port, self._every = port, every
        self._lock = Lock()
        self._began: dict[str, float] = {}
        self._steps: dict[str, str] = {}
        self._ended = Event()
        self._thread = Thread(target=self._repeat, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        if error is None:
            self._say(END)

    @contextmanager
    def at_work(self, check: str) -> Iterator[None]:
        """Have a check among those that are under way, for the length of the block."""
        with self._lock:
            self._began[check] = time.monotonic()
        try:
            yield
        finally:
            with self._lock:
                del self._began[check]
                self._steps.pop(check, None)

    def step(self, check: str, words: str) -> None:
        """Say how far a check is that is under way."""
        with self._lock:
            self._steps[check] = words

    def tell(self, result: Result) -> None:
        """Say what a check found."""
        self._say(json.dumps(asdict(result)))

    def _repeat(self) -> None:
        while not self._ended.wait(self._every):
            self._say(AT_WORK + "; ".join(self._under_way()))

    def _under_way(self) -> list[str]:
        now = time.monotonic()
        with self._lock:
            return [
                f"{check} ({', '.join(filter(None, (f'{now - began:.0f} s', self._steps.get(check))))})"
                for check, began in self._began.items()
            ]

    def _say(self, line: str) -> None:
        with self._lock:
            print(line, file=self._port, flush=True)
