"""One agent per instance: an flock on the instance's folder of pins, so that the lock lies where the state is.

Must not know what the folder holds. The kernel releases the lock when the process dies, however it dies. Whoever holds
it alone may remove the folder; a lock on a folder that has been removed meanwhile is none, and is tried again.

    <bpffs>/ebpflb/<instance> -> flock -> held for the life of InstanceLock          /proc/locks -> holder_of
"""

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from ebpflb.errors import InstanceBusyError, PrerequisiteError

LOCK_TABLE: Final = Path("/proc/locks")
_FIELDS: Final = 6
"""Number, kind, ADVISORY, access, process id, device:inode; a waiting lock has an arrow after its number."""

_Inode = tuple[int, int]


class InstanceLock:
    """Holds an instance's lock from ``acquire`` (or ``with``) to ``release`` or the death of the process."""

    def __init__(self, instance: str, folder: Path) -> None:
        self.instance = instance
        self.folder = folder
        self._descriptor = -1

    def acquire(self) -> None:
        """Make the folder and take its lock, or raise ``InstanceBusyError`` with the holder's process id."""
        while self._descriptor < 0:
            descriptor = self._open()
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                os.close(descriptor)
                raise self._busy() from error
            if _inode_of(self.folder) == _inode(os.fstat(descriptor)):
                self._descriptor = descriptor
            else:
                os.close(descriptor)

    def release(self) -> None:
        """Remove the folder if it is empty, and give the lock back; a second call does nothing."""
        if self._descriptor < 0:
            return
        # Another folder may stand there by now: ours was removed, and a successor has begun.
        if _inode_of(self.folder) == _inode(os.fstat(self._descriptor)):
            with suppress(OSError):  # it holds pins, as a rule
                self.folder.rmdir()
                self.folder.parent.rmdir()
        os.close(self._descriptor)
        self._descriptor = -1

    def _open(self) -> int:
        while True:
            try:
                self.folder.mkdir(mode=0o755, parents=True, exist_ok=True)
                return os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except FileNotFoundError:
                if not self.folder.parent.parent.is_dir():
                    raise self._unusable("no such folder") from None
                continue  # a predecessor has just removed it
            except OSError as error:
                raise self._unusable(error.strerror) from error

    def _unusable(self, reason: str | None) -> PrerequisiteError:
        return PrerequisiteError(
            f"instance {self.instance}: {self.folder} cannot be made ({reason})",
            remedy="run as root, and mount bpffs: mount -t bpf bpf /sys/fs/bpf",
        )

    def _busy(self) -> InstanceBusyError:
        holder = holder_of(self.folder)
        name = "unknown (of another pid namespace)" if holder is None else str(holder)
        remedy = "stop it" if holder is None else f"stop it (kill {holder})"
        return InstanceBusyError(
            f"instance {self.instance}: another agent runs it, process {name}",
            remedy=f"{remedy}, or name another --instance",
        )

    def __enter__(self) -> Self:
        """Acquire."""
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release."""
        self.release()


def holder_of(folder: Path) -> int | None:
    """Return the process id of the agent whose pins a folder holds, ``None`` when none runs.

    Takes no lock, not even for a moment: an agent that starts meanwhile is not disturbed. Sees the processes of its own
    pid namespace and of those below.
    """
    try:
        wanted = _inode_of(folder)
    except PermissionError as error:
        raise PrerequisiteError(f"{folder} cannot be looked at ({error.strerror})", remedy="run as root") from error
    return None if wanted is None else parse_locks(LOCK_TABLE.read_text()).get(wanted)


def parse_locks(table: str) -> dict[tuple[int, int], int]:
    """Return who holds each flock of the kernel's table: (device, inode) -> process id."""
    held = {}
    for line in table.splitlines():
        fields = line.split()
        if len(fields) < _FIELDS or fields[1] != "FLOCK":  # of a waiting lock, the second is an arrow
            continue
        major, minor, inode = fields[5].split(":")
        held[os.makedev(int(major, 16), int(minor, 16)), int(inode)] = int(fields[4])
    return held


def _inode_of(path: Path) -> _Inode | None:
    try:
        return _inode(path.stat())
    except (FileNotFoundError, NotADirectoryError):
        return None


def _inode(status: os.stat_result) -> _Inode:
    return status.st_dev, status.st_ino
