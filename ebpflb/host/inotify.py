"""Says that something happened to one of a set of files and folders, by inotify(7). Decides nothing about what.

A watch that cannot be had (no such file, no watches left) is left out: whoever asks looks again now and then anyway.

    Watches.replace({path: mask}) -> poll(2) -> Watches.drain()
"""

import errno
import logging
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from ebpflb.host import syscalls

log = logging.getLogger(__name__)

MODIFY: Final = 0x2
MOVED: Final = 0xC0
CREATE: Final = 0x100
DELETE: Final = 0x200
ENTRIES: Final = CREATE | DELETE | MOVED
"""What befalls the entries of a folder."""
_IGNORED: Final = 0x8000
"""The kernel has dropped the watch: the file is gone."""

_EVENT: Final = struct.Struct("=iIII")  # watch, mask, cookie, length of the name that follows
_BUFFER_BYTES: Final = 1 << 16


def _open() -> int:
    """Return inotify's descriptor; where there is none to be had, one that never has news."""
    try:
        return syscalls.inotify_init()
    except OSError as error:
        log.warning("inotify_missing error=%s remedy='raise fs.inotify.max_user_instances'", error)
        return os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)


class Watches:
    """A context manager that holds a set of watches."""

    def __init__(self) -> None:
        self._descriptor = _open()
        self._numbers: dict[Path, int] = {}
        self._is_exhausted = False

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Drop every watch."""
        os.close(self._descriptor)

    def fileno(self) -> int:
        """Return what to poll for reading."""
        return self._descriptor

    def replace(self, wanted: Mapping[Path, int]) -> bool:
        """Watch exactly these paths, each for its events. Return whether one is new: look again then.

        What happened before a watch was there was not seen by it.
        """
        for path in self._numbers.keys() - wanted.keys():
            syscalls.inotify_remove(self._descriptor, self._numbers.pop(path))
        added = [self._add(path, mask) for path, mask in wanted.items() if path not in self._numbers]
        return any(added)

    def _add(self, path: Path, mask: int) -> bool:
        try:
            self._numbers[path] = syscalls.inotify_add(self._descriptor, path, mask)
        except OSError as error:
            if error.errno == errno.ENOSPC and not self._is_exhausted:
                self._is_exhausted = True
                log.warning("inotify_exhausted path=%s remedy='raise fs.inotify.max_user_watches'", path)
            return False
        return True

    def drain(self) -> bool:
        """Take what has happened; return whether anything has."""
        happened = False
        while events := self._read():
            happened = True
            at = 0
            while at < len(events):
                number, mask, _, length = _EVENT.unpack_from(events, at)
                at += _EVENT.size + length
                if mask & _IGNORED:
                    self._forget(number)
        return happened

    def _forget(self, number: int) -> None:
        for path in [path for path, known in self._numbers.items() if known == number]:
            del self._numbers[path]

    def _read(self) -> bytes:
        try:
            return os.read(self._descriptor, _BUFFER_BYTES)
        except BlockingIOError:
            return b""
