"""A network namespace without a name, for programs that ask the kernel for routes. It ends with its descriptor.

Decides nothing about what is in it. A measure that is killed leaves nothing behind.

    lines of `ip -batch` --PrivateNetns--> entered(): the calling thread is inside
"""

import ctypes
import os
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from ebpflb.errors import EbpflbError, PrerequisiteError
from ebpflb.host import syscalls

_OWN = "/proc/thread-self/ns/net"


class PrivateNetns:
    """A namespace that nobody else sees. A context manager."""

    def __init__(self, lines: Sequence[str]) -> None:
        """Make the namespace and run ``lines`` of ``ip -batch`` in it.

        Raises ``PrerequisiteError`` without privileges, ``EbpflbError`` with the words of ``ip``.
        """
        with ThreadPoolExecutor(max_workers=1) as thread:  # only a thread that ends may leave its namespace for good
            self._inside = thread.submit(_make, lines).result()
        self._home = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the namespace."""
        os.close(self._inside)
        os.close(self._home)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Have the calling thread inside, and no other."""
        syscalls.setns(self._inside, syscalls.CLONE_NEWNET)
        try:
            yield
        finally:
            syscalls.setns(self._home, syscalls.CLONE_NEWNET)


def _make(lines: Sequence[str]) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(syscalls.CLONE_NEWNET):
        raise PrerequisiteError(
            f"a network namespace cannot be made: {os.strerror(ctypes.get_errno())}", remedy="run as root"
        )
    for family in ("ipv4", "ipv6"):
        Path(f"/proc/sys/net/{family}/conf/all/forwarding").write_text("1", encoding="ascii")
    done = subprocess.run(
        ["ip", "-batch", "-"], input="".join(f"{line}\n" for line in lines), text=True, check=False, capture_output=True
    )
    if done.returncode:
        raise EbpflbError(f"`ip -batch` failed: {done.stderr.strip()}", remedy="check that iproute2 is installed")
    return os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
