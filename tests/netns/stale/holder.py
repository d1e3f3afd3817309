"""Holds a network namespace of its own in one of the ways in which one can be held, until its stdin ends.

python -m tests.netns.stale.holder process|thread|file  ->  the path by which the namespace can be entered
"""

import ctypes
import os
import sys
import threading
from pathlib import Path

from ebpflb.bench.servers import die_with_parent
from ebpflb.host import syscalls

_libc = ctypes.CDLL(None, use_errno=True)


def leave_for_a_new_namespace() -> None:
    """Move the calling thread."""
    if _libc.unshare(syscalls.CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare")


def hold_by_process() -> Path:
    """The first thread is what /proc/<pid>/ns/net tells of."""
    leave_for_a_new_namespace()
    return Path(f"/proc/{os.getpid()}/ns/net")


def hold_by_thread() -> Path:
    """Another thread alone is in it."""
    paths: list[Path] = []
    there, over = threading.Event(), threading.Event()

    def stay() -> None:
        leave_for_a_new_namespace()
        paths.append(Path(f"/proc/{os.getpid()}/task/{threading.get_native_id()}/ns/net"))
        there.set()
        over.wait()

    threading.Thread(target=stay, daemon=True).start()
    there.wait()
    return paths[0]


def hold_by_file() -> Path:
    """Nobody is in it, but its file is open."""
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    leave_for_a_new_namespace()
    held = os.open("/proc/self/ns/net", os.O_RDONLY)
    syscalls.setns(home, syscalls.CLONE_NEWNET)
    os.close(home)
    return Path(f"/proc/{os.getpid()}/fd/{held}")


HOLDERS = {"process": hold_by_process, "thread": hold_by_thread, "file": hold_by_file}


def main() -> None:
    """Hold one, say where, and wait."""
    die_with_parent()
    sys.stdout.write(f"{HOLDERS[sys.argv[1]]()}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main()
