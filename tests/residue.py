"""Finds what a test session left on the machine: a snapshot before, a comparison after.

    kernel -> snapshot() -> Residue before, Residue after -> verdict_on(...) -> Verdict -> names for the failure

Only what bears a name of ours counts: a login, a timer or a container that comes up meanwhile is nobody's fault. The
kernel frees some things late (a removed cgroup's programs, a deleted namespace's links): ``wait_until_clean`` gives it
time. Other sessions may run on the same machine: each holds a shared lock while it lives. What one of them may own
is then named and left to it, but what bears this session's process id or mark is its own in any case.
"""

import fcntl
import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from itertools import chain
from pathlib import Path
from typing import Any

from ebpflb.bench.cgroups import find_mount, subtree
from ebpflb.bench.namespaces import list_namespaces
from ebpflb.bench.plan import OVERLAY, POD_BRIDGE, SWITCH_BRIDGE, UPLINK
from ebpflb.bench.topology import LAB_PREFIX
from ebpflb.host.tc import list_ours

BPFFS = Path("/sys/fs/bpf")
STATE_FOLDER = Path("/run/ebpflb")
SESSION_MARK = "EBPFLB_TEST_SESSION"
SESSION_LOCK = Path("/run/ebpflb-tests.lock")
OUR_PREFIX = LAB_PREFIX
"""Of labs, hence of their namespaces, cgroups and instances, and of what tests make by themselves."""
OUR_PROGRAM = re.compile(r"(lb_|ebpflb|bystander).*")
OUR_LINK = re.compile(
    rf"{UPLINK}|{OVERLAY}|{POD_BRIDGE}|{SWITCH_BRIDGE}|client|node-\d+|(pod|up)\d*|other0"
    r"|(uplink|bare|narrow|far|pod\d*)(-.+)?"
)
"""Every device that the lab or a test makes, in namespaces of its own: in the machine's they have no place."""
GRACE_SECONDS = 60.0
"""For the kernel, on a machine that other sessions keep busy; nobody waits for it who has left nothing."""


@dataclass(frozen=True, slots=True)
class Residue:
    """Names of what exists and is ours, by kind."""

    namespaces: frozenset[str] = frozenset()
    links: frozenset[str] = frozenset()
    qdiscs: frozenset[str] = frozenset()
    filters: frozenset[str] = frozenset()
    pins: frozenset[str] = frozenset()
    """Folders: of an instance, or of a test."""
    cgroups: frozenset[str] = frozenset()
    programs: frozenset[str] = frozenset()
    processes: frozenset[str] = frozenset()
    """Those that carry this session's mark: no other session's are among them."""
    state: frozenset[str] = frozenset()
    """Locks and status files of agents that were given no folder of their own."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came up during a session and is still there, a line each."""

    ours: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    """What another session that lives may own."""


def snapshot(mark: str) -> Residue:
    """Read everything; ``mark`` is the value of the environment variable that our processes carry."""
    return Residue(
        namespaces=frozenset(list_namespaces(OUR_PREFIX)),
        links=frozenset(row["ifname"] for row in _rows("ip -json link show") if OUR_LINK.fullmatch(row["ifname"])),
        qdiscs=frozenset(f"clsact on {row['dev']}" for row in _rows("tc -json qdisc show") if row["kind"] == "clsact"),
        filters=frozenset(f"ebpflb/{f.instance}/{f.program} on {f.device} {f.hook.value}" for f in list_ours()),
        pins=frozenset(map(str, _pins())),
        cgroups=frozenset(str(path) for path in subtree(find_mount()) if path.name.startswith(OUR_PREFIX)),
        programs=frozenset(_programs()),
        processes=frozenset(_marked_processes(mark)),
        state=frozenset(str(Path(at, each)) for at, *names in os.walk(STATE_FOLDER) for each in chain(*names)),
    )


def leftovers(before: Residue, after: Residue) -> list[tuple[str, str]]:
    """Return kind and name of each thing that exists after and did not before."""
    return [
        (kind.name, name)
        for kind in fields(Residue)
        for name in sorted(getattr(after, kind.name) - getattr(before, kind.name))
    ]


def verdict_on(before: Residue, after: Residue, mark: str, *, alone: bool) -> Verdict:
    """Tell what this session left from what another one may be using, if there is one."""
    by_number = re.compile(rf"(?<!\d){mark}(?!\d)")
    ours: list[str] = []
    others: list[str] = []
    for kind, name in leftovers(before, after):
        # The number of a program is the kernel's: that it is our process's, too, means nothing.
        is_ours = alone or kind == "processes" or (kind != "programs" and by_number.search(name))
        (ours if is_ours else others).append(f"{kind}: {name}")
    return Verdict(tuple(ours), tuple(others))


def wait_until_clean(before: Residue, mark: str, lock: int, seconds: float = GRACE_SECONDS) -> Verdict:
    """Return what is still left when the kernel has had time to free what was removed."""
    deadline = time.monotonic() + seconds
    while True:
        # Asked first: a session that ends in between has removed its things by the time of the snapshot.
        alone = is_only_session(lock)
        verdict = verdict_on(before, snapshot(mark), mark, alone=alone)
        if not verdict.ours or time.monotonic() >= deadline:
            return verdict
        # The kernel announces neither a freed program nor a dead namespace: this one wait is by the clock.
        time.sleep(0.2)


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
    """Say whether no other session lives; the lock is shared again afterwards."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        # A refused attempt at the exclusive lock gives the shared one up, too.
        fcntl.flock(descriptor, fcntl.LOCK_SH)
    return True


def _rows(command: str) -> list[dict[str, Any]]:
    done = subprocess.run(command.split(), capture_output=True, text=True, check=True)
    rows: list[dict[str, Any]] = json.loads(done.stdout or "[]")
    return rows


def _pins() -> Iterator[Path]:
    yield from (path for path in _entries(BPFFS) if path.name == "ebpflb" or path.name.startswith(OUR_PREFIX))
    yield from _entries(BPFFS / "ebpflb")


def _entries(folder: Path) -> list[Path]:
    """Return what is in a folder; nothing, when another session has just removed it."""
    try:
        return list(folder.iterdir())
    except FileNotFoundError:
        return []


def _programs() -> Iterator[str]:
    for program in _rows("bpftool --json prog show"):
        if OUR_PROGRAM.fullmatch(str(program.get("name", ""))):
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
