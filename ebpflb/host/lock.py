"""One agent per instance: an flock on a file that holds the agent's process id.

Must not know what the instance does. The kernel releases the lock when the process dies, however it dies; the file
stays, since removing it would race with an agent that has just opened it.

    run/<instance>.lock -> flock -> held for the life of InstanceLock
"""

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from ebpflb.errors import InstanceBusyError, PrerequisiteError

LOCK_FOLDER: Final = Path("/run/ebpflb")
_PID_BYTES: Final = 32


class InstanceLock:
    """Holds an instance's lock from ``acquire`` (or ``with``) to ``release`` or the death of the process."""

    def __init__(self, instance: str, folder: Path = LOCK_FOLDER) -> None:
        self.instance = instance
        self.path = folder / f"{instance}.lock"
        self._descriptor = -1

    def acquire(self) -> None:
        """Take the lock or raise ``InstanceBusyError`` with the holder's process id."""
        try:
            self.path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise PrerequisiteError(
                f"instance {self.instance}: {self.path} cannot be opened ({error.strerror})",
                remedy="run as root, with a writable /run",
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(descriptor, _PID_BYTES, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(descriptor)
            raise InstanceBusyError(
                f"instance {self.instance}: another agent runs it, process {holder}",
                remedy=f"stop process {holder}, or choose another --instance",
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the lock back; a second call does nothing."""
        if self._descriptor >= 0:
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        """Acquire."""
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release."""
        self.release()


def holder_of(instance: str, folder: Path = LOCK_FOLDER) -> int | None:
    """Return the process id of the agent that runs an instance, ``None`` when none does."""
    try:
        descriptor = os.open(folder / f"{instance}.lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.pread(descriptor, _PID_BYTES, 0).strip()
        return int(text) if text.isdigit() else None
    finally:
        os.close(descriptor)
    return None
