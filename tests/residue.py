"""Finds what a test session left on the machine: a snapshot before, a comparison after.

    kernel -> snapshot() -> Residue before, Residue after -> leftovers(before, after) -> names for the failure

The kernel frees some things late (a removed cgroup's programs, a deleted namespace's links): ``wait_until_clean``
gives it time. Other sessions may run on the same machine. Each holds a shared lock while it lives, so that a leftover
is only laid at anyone's door when no other session is left that may still be using it.
"""

import fcntl
import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

from ebpflb.bench.cgroups import find_mount, subtree
from ebpflb.bench.namespaces import list_namespaces

BPFFS = Path("/sys/fs/bpf")
STATE_FOLDER = Path("/run/ebpflb")
SESSION_MARK = "EBPFLB_TEST_SESSION"
SESSION_LOCK = Path("/run/ebpflb-tests.lock")
PROGRAM_PREFIX = "lb_"
GRACE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Residue:
    """Names of what exists, by kind."""

    namespaces: frozenset[str]
    links: frozenset[str]
    qdiscs: frozenset[str]
    pins: frozenset[str]
    cgroups: frozenset[str]
    programs: frozenset[str]
    processes: frozenset[str]
    state: frozenset[str]
    """Locks and status files of agents that were given no folder of their own."""


def snapshot(mark: str) -> Residue:
    """Read everything; ``mark`` is the value of the environment variable that our processes carry."""
    return Residue(
        namespaces=frozenset(list_namespaces()),
        links=frozenset(_rows("ip -json link show", "{ifname}")),
        qdiscs=frozenset(_rows("tc -json qdisc show", "{kind} {handle} on {dev}")),
        pins=frozenset(str(path) for path in BPFFS.rglob("*")),
        cgroups=frozenset(str(path) for path in subtree(find_mount())),
        programs=frozenset(_programs()),
        processes=frozenset(_marked_processes(mark)),
        state=frozenset(str(path) for path in STATE_FOLDER.rglob("*")),
    )


def leftovers(before: Residue, after: Residue) -> list[str]:
    """Return one line for each thing that exists after and did not before."""
    return [
        f"{kind.name}: {name}"
        for kind in fields(Residue)
        for name in sorted(getattr(after, kind.name) - getattr(before, kind.name))
    ]


def wait_until_clean(before: Residue, mark: str, seconds: float = GRACE_SECONDS) -> list[str]:
    """Return what is still left when the kernel has had time to free what was removed."""
    deadline = time.monotonic() + seconds
    while (found := leftovers(before, snapshot(mark))) and time.monotonic() < deadline:
        # The kernel announces neither a freed program nor a dead namespace: this one wait is by the clock.
        time.sleep(0.2)
    return found


@contextmanager
def session_lock() -> Iterator[int]:
    """Hold a shared lock for as long as this session lives."""
    descriptor = os.open(SESSION_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield descriptor
    finally:
        os.close(descriptor)


def is_only_session(descriptor: int) -> bool:
    """Say whether no other session lives; a lock that was tried and refused is taken back as shared."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return True


def _rows(command: str, form: str) -> Iterator[str]:
    done = subprocess.run(command.split(), capture_output=True, text=True, check=True)
    for row in json.loads(done.stdout or "[]"):
        yield form.format(**row)


def _programs() -> Iterator[str]:
    done = subprocess.run(["bpftool", "--json", "prog", "show"], capture_output=True, text=True, check=True)
    for program in json.loads(done.stdout):
        if str(program.get("name", "")).startswith(PROGRAM_PREFIX):
            yield f"{program['name']} (id {program['id']})"


def _marked_processes(mark: str) -> Iterator[str]:
    wanted = f"{SESSION_MARK}={mark}".encode()
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        try:
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                yield f"{folder.name} ({command or 'zombie'})"
        except OSError:
            # It ended, or is a kernel thread.
            continue
