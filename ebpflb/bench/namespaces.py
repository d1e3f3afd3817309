"""Runs `ip` and `bridge` and enters network namespaces; decides nothing about the lab's shape.

    batches of lines -> run_ip, run_bridge -> kernel        namespace, cgroup, command -> entered() -> argv
    namespace, work -> inside() -> what the work returned

`ip netns exec` is avoided on purpose: it mounts a fresh /sys, which hides bpffs. `nsenter --net` leaves mounts alone.
"""

import os
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from ebpflb.errors import EbpflbError
from ebpflb.host import syscalls

T = TypeVar("T")

NETNS_FOLDER = Path("/run/netns")

ENTER_CGROUP = 'echo $$ >"$1/cgroup.procs" && shift && exec "$@"'
"""A shell moves itself, then becomes the command: no code runs between fork and exec in a threaded parent."""


def namespace_path(namespace: str) -> Path:
    """Return the file that holds a namespace."""
    return NETNS_FOLDER / namespace


def enter(namespace: Path) -> None:
    """Move the calling thread into the network namespace of a file, for good. Raises ``OSError``."""
    descriptor = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        syscalls.setns(descriptor, syscalls.CLONE_NEWNET)
    finally:
        os.close(descriptor)


def inside(namespace: Path, work: Callable[[], T]) -> T:
    """Do work in the network namespace of a file, by a thread that ends: no other may leave its own for good.

    Sockets that the work makes stay in that namespace, whoever uses them. Raises ``OSError``, and what the work does.
    """
    with ThreadPoolExecutor(max_workers=1) as thread:
        thread.submit(enter, namespace).result()
        return thread.submit(work).result()


def list_namespaces(prefix: str = "") -> list[str]:
    """Return the named namespaces whose name starts with ``prefix``."""
    if not NETNS_FOLDER.is_dir():
        return []
    return sorted(entry.name for entry in NETNS_FOLDER.iterdir() if entry.name.startswith(prefix))


def run_ip(lines: Sequence[str], namespace: str = "") -> None:
    """Run a batch of `ip` commands, in ``namespace`` if given; the first that fails stops the batch."""
    _run_batch("ip", lines, namespace)


def run_bridge(lines: Sequence[str], namespace: str) -> None:
    """Run a batch of `bridge` commands in a namespace; the first that fails stops the batch."""
    _run_batch("bridge", lines, namespace)


def _run_batch(tool: str, lines: Sequence[str], namespace: str) -> None:
    if not lines:
        return
    where = ["-n", namespace] if namespace else []
    done = _run([tool, *where, "-batch", "-"], "\n".join(lines) + "\n")
    if done.returncode != 0:
        place = namespace or "the root namespace"
        raise EbpflbError(
            f"lab: `{tool} -batch` failed in {place}: {done.stderr.strip()}",
            remedy="check that iproute2 is installed and that this process is root with CAP_NET_ADMIN",
        )


def write_sysctls(namespace: str, settings: Sequence[tuple[str, str]]) -> None:
    """Write sysctls (as paths below /proc/sys) inside a namespace."""
    script = "\n".join(f"echo {value} >/proc/sys/{path}" for path, value in settings)
    done = _run(entered(namespace, None, ["sh", "-e"]), script)
    if done.returncode != 0:
        raise EbpflbError(
            f"lab: cannot write sysctls in {namespace}: {done.stderr.strip()}",
            remedy="run on a kernel with the named setting and a writable /proc/sys",
        )


def entered(namespace: str, cgroup: Path | None, command: Sequence[str]) -> list[str]:
    """Return the argv that runs ``command`` in a namespace and, if given, a cgroup, keeping the first process's pid."""
    inside = ["nsenter", f"--net={namespace_path(namespace)}", "--", *command]
    if cgroup is None:
        return inside
    return ["/bin/sh", "-c", ENTER_CGROUP, "sh", str(cgroup), *inside]


def _run(command: Sequence[str], text: str) -> subprocess.CompletedProcess[str]:
    # A session of its own: Ctrl-C at the terminal must not end an `ip` that is removing the lab.
    return subprocess.run(
        list(command), input=text, capture_output=True, text=True, check=False, start_new_session=True
    )
