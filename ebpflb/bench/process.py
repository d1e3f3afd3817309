"""Owns one child process of the lab and the lines it prints; knows neither namespaces nor protocols.

argv -> Running -> lines (read by a thread) -> wait_for_line, tail -> stop or kill by pid
"""

import contextlib
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from ebpflb.errors import EbpflbError

STOP_SECONDS = 30.0
LINE_SECONDS = 60.0
"""Where other things keep the machine busy, an interpreter alone may take ten seconds to start."""
KEPT_LINES = 5000


class Running:
    """A child process. Its stdout and stderr are read as one stream of lines; its stdin stays open to command it."""

    def __init__(self, name: str, command: Sequence[str], environment: dict[str, str] | None = None) -> None:
        self.name = name
        # Its own session: Ctrl-C reaches the lab's owner alone, which then stops its children in order.
        self.process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=environment,
            start_new_session=True,
        )
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._changed = threading.Condition()
        self._ended = False
        self._reader = threading.Thread(target=self._read, name=f"read {name}", daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop the process."""
        self.stop()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self._lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    @property
    def pid(self) -> int:
        """The pid of the command itself: the launchers exec."""
        return self.process.pid

    @property
    def is_running(self) -> bool:
        """Whether the process has not exited."""
        return self.process.poll() is None

    def lines(self) -> list[str]:
        """Return what it printed up to now."""
        with self._changed:
            return list(self._lines)

    def tail(self, count: int = 15) -> str:
        """Return the last lines, for an error message."""
        return "\n".join(self.lines()[-count:])

    def wait_for_line(self, accepts: Callable[[str], bool], seconds: float = LINE_SECONDS) -> str:
        """Return the first line that ``accepts`` takes, waiting for it; an exit before it is an error."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while True:
                found = next((line for line in self._lines if accepts(line)), None)
                if found is not None:
                    return found
                remaining = deadline - time.monotonic()
                if self._ended or remaining <= 0:
                    break
                self._changed.wait(remaining)
        problem = f"exited with {self.process.wait()}" if self._ended else f"was not ready after {seconds:.0f} s"
        raise EbpflbError(f"lab: {self.name} {problem}; its last words: {self.tail() or '(none)'}")

    def expect_alive(self, seconds: float) -> None:
        """Let time pass; an exit meanwhile is an error."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self.process.wait(seconds)
            raise EbpflbError(f"lab: {self.name} exited with {code}; its last words: {self.tail()}")

    def tell(self, line: str) -> None:
        """Write one line to its stdin."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def wait(self, seconds: float) -> int:
        """Wait for its exit and the end of its output; return the exit code."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise EbpflbError(f"lab: {self.name} still ran after {seconds:.0f} s; said: {self.tail()}") from None
        self._reader.join(seconds)
        self._close()
        return code

    def stop(self, seconds: float = STOP_SECONDS) -> int:
        """SIGTERM, then SIGKILL if it does not obey; return the exit code."""
        if self.is_running:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
        return self.wait(seconds)

    def kill(self) -> None:
        """SIGKILL by pid, and reap."""
        self.process.kill()
        self.wait(STOP_SECONDS)

    def _close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        if not self._reader.is_alive():
            self.process.stdout.close()
