"""Makes, empties and removes a lab's own cgroup v2 tree; never touches a cgroup it did not make.

/proc/self/mounts -> find_mount -> <mount>/<lab>/node-1/pod-1 ... -> remove_tree
"""

import os
import select
import signal
import time
from pathlib import Path

from ebpflb.errors import PrerequisiteError

EMPTYING_SECONDS = 30.0


def find_mount(mounts: str | None = None) -> Path:
    """Return where cgroup v2 is mounted: possibly beside version 1, as under ``/sys/fs/cgroup/unified``."""
    text = Path("/proc/self/mounts").read_text(encoding="utf-8") if mounts is None else mounts
    for line in text.splitlines():
        _, target, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(target)
    raise PrerequisiteError(
        "no cgroup v2 tree is mounted",
        remedy="mount one: mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 none /sys/fs/cgroup/unified",
    )


def subtree(top: Path) -> list[Path]:
    """Return a cgroup and everything below it, parents first."""
    return [Path(folder) for folder, _, _ in os.walk(top)]


def processes(top: Path) -> list[int]:
    """Return the pids of every process in the tree."""
    pids: list[int] = []
    for group in subtree(top):
        pids += [int(word) for word in (group / "cgroup.procs").read_text(encoding="ascii").split()]
    return pids


def kill_processes(top: Path) -> None:
    """SIGKILL every process of the tree by pid, and wait for the kernel to say that the tree is empty.

    ``cgroup.events`` raises POLLPRI when ``populated`` changes: no polling by time is needed. Processes that fork
    while being killed are met on the next round.
    """
    deadline = time.monotonic() + EMPTYING_SECONDS
    with (top / "cgroup.events").open(encoding="ascii") as events:
        poller = select.poll()
        poller.register(events, select.POLLPRI)
        while "populated 1" in _reread(events.fileno()) and time.monotonic() < deadline:
            for pid in processes(top):
                _kill(pid)
            poller.poll(100)


def remove_tree(top: Path) -> None:
    """Kill what still runs in the tree, then remove it, children first. Absent is fine."""
    if not top.is_dir():
        return
    kill_processes(top)
    for group in reversed(subtree(top)):
        group.rmdir()


def _reread(descriptor: int) -> str:
    return os.pread(descriptor, 4096, 0).decode("ascii")


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
