"""Finds the machine's network namespaces and runs something in each, without moving the caller.

Decides where to look, cheap places first, and which namespaces are distinct. Must not know what is done in them.

    /proc/*/ns/net, nsfs mounts, threads, open files -> network_namespaces -> in_each (one thread, which then ends)

A namespace lives while a process or thread is in it, while it is mounted or while a file of it is open. One that is
held by nothing but a socket (its process has moved on) cannot be found so.
"""

import itertools
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from ebpflb.host import syscalls
from ebpflb.host.mounts import unescape

log = logging.getLogger(__name__)

T = TypeVar("T")

PROC: Final = Path("/proc")
MOST_LINKS: Final = 50_000
"""Links of threads and open files that one search reads, at 7 µs each: a third of a second."""
_NET: Final = "net:["
_MOUNTED: Final = re.compile(r"^\d+ \d+ \d+:\d+ net:\[(\d+)\] (\S+) .* - nsfs ", re.MULTILINE)
"""A line of mountinfo: ids, device, root, mount point, options, file system."""

_Found = Iterator[tuple[int, Path]]
"""Number and path of namespaces, repeated ones among them."""


def network_namespaces(proc: Path = PROC, most_links: int = MOST_LINKS) -> Iterator[Path]:
    """Return a path for each network namespace; whoever has found what he sought stops before the dear places.

    Sees the machine's processes only when it shares their pid namespace (``hostPID``).
    """
    processes = [process for process in proc.iterdir() if process.name.isdigit()]
    links = itertools.islice(_dear_links(processes), most_links)
    seen: set[int] = set()
    for number, path in itertools.chain(
        _numbered(f"{process}/ns/net" for process in processes), _mounted([proc / "self", *processes]), _numbered(links)
    ):
        if number not in seen and os.access(path, os.R_OK):  # by another path it may be reachable
            seen.add(number)
            yield path


def _numbered(links: Iterable[str]) -> _Found:
    """Read links; those that lead to no network namespace, or are gone, are passed over."""
    for link in links:
        target = _target(link)
        if target.startswith(_NET):
            yield int(target[len(_NET) : -1]), Path(link)


def _target(link: str) -> str:
    try:
        return os.readlink(link)  # noqa: PTH115 - a Path for each of 50,000 links takes longer than to read them
    except OSError:
        return ""  # the process has ended, or the file was closed


def _mounted(processes: Iterable[Path]) -> _Found:
    """Return what is mounted, in any mount namespace: a container runtime's are not in ours."""
    tables: dict[str, Path] = {}
    for process in processes:
        tables.setdefault(_target(f"{process}/ns/mnt"), process)
    for process in tables.values():
        try:
            table = (process / "mountinfo").read_text(errors="surrogateescape")
        except OSError:
            continue
        for match in _MOUNTED.finditer(table):
            yield int(match[1]), process / "root" / unescape(match[2]).lstrip("/")


def _dear_links(processes: Iterable[Path]) -> Iterator[str]:
    """Return a link for each thread but the first, and for each open file."""
    for process in processes:
        yield from (f"{thread.path}/ns/net" for thread in _entries(process / "task") if thread.name != process.name)
        yield from (file.path for file in _entries(process / "fd"))


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []


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
