"""Finds the machine's network namespaces and runs something in each, without moving the caller.

Decides which namespaces are distinct. Must not know what is done in them.

    /proc/*/ns/net, /run/netns/* -> network_namespaces -> in_each (one thread that ends with the visit)
"""

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from ebpflb.host import syscalls

log = logging.getLogger(__name__)

T = TypeVar("T")

PROC: Final = Path("/proc")
NAMED: Final = Path("/run/netns")


def network_namespaces(proc: Path = PROC, named: Path = NAMED) -> list[Path]:
    """Return one path for each network namespace that a visible process lives in or that has a name.

    Sees the machine's processes only when it shares their pid namespace (``hostPID``).
    """
    own = [process / "ns/net" for process in proc.glob("[0-9]*")]
    names = sorted(named.iterdir()) if named.is_dir() else []
    distinct: dict[tuple[int, int], Path] = {}
    for path in [*names, *own]:
        try:
            status = path.stat()
        except OSError:
            continue  # the process has ended, or is a kernel thread
        distinct.setdefault((status.st_dev, status.st_ino), path)
    return list(distinct.values())


def in_each(namespaces: Iterable[Path], visit: Callable[[], T]) -> Iterator[T]:
    """Call ``visit`` inside each namespace and yield its results; stop iterating to visit no more.

    The visits run in a thread of their own, the only one that changes namespace. A namespace that vanished is left out.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="netns-visit") as thread:
        for path in namespaces:
            try:
                yield thread.submit(_visit, path, visit).result()
            except _UnreachableError as error:
                log.debug("netns_skipped path=%s reason=%s", path, error)


class _UnreachableError(Exception):
    """A namespace could not be entered."""


def _visit(path: Path, visit: Callable[[], T]) -> T:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            syscalls.setns(descriptor, syscalls.CLONE_NEWNET)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise _UnreachableError(str(error)) from error
    return visit()
