"""Where cgroup v2 and bpffs are mounted, and the one mount this product makes: bpffs at its usual place.

Must not know what is pinned or attached there.

    /proc/self/mounts -> parse_mounts -> tuple[Mount, ...] -> cgroup2_mounts, mount_of, ensure_bpffs
"""

import errno
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ebpflb.errors import PrerequisiteError
from ebpflb.host import syscalls

log = logging.getLogger(__name__)

MOUNT_TABLE: Final = Path("/proc/self/mounts")
BPFFS_POINT: Final = Path("/sys/fs/bpf")
_FIELDS: Final = 4


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of the mount table."""

    source: str
    point: Path
    filesystem: str
    options: tuple[str, ...]


def parse_mounts(text: str) -> tuple[Mount, ...]:
    """Read the mount table's text, oldest mount first. Lines with too few fields are left out."""
    mounts = []
    for line in text.splitlines():
        fields = [unescape(part) for part in line.split(" ")]
        if len(fields) >= _FIELDS:
            source, point, filesystem, options = fields[:_FIELDS]
            mounts.append(Mount(source, Path(point), filesystem, tuple(options.split(","))))
    return tuple(mounts)


def unescape(field: str) -> str:
    """Undo the kernel's octal escapes of space, tab, newline and backslash."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)


def read_mounts() -> tuple[Mount, ...]:
    """Read this process's mount table."""
    return parse_mounts(MOUNT_TABLE.read_text())


def cgroup2_mounts(mounts: Sequence[Mount]) -> list[Path]:
    """Return where cgroup v2 is mounted, alone or beside v1."""
    return [mount.point for mount in mounts if mount.filesystem == "cgroup2"]


def mount_of(path: Path, mounts: Sequence[Mount]) -> Mount | None:
    """Return the mount that an absolute, resolved path lies on: the deepest, and of equals the latest."""
    best: Mount | None = None
    for mount in mounts:
        if path.is_relative_to(mount.point) and (best is None or len(mount.point.parts) >= len(best.point.parts)):
            best = mount
    return best


def ensure_bpffs(path: Path) -> bool:
    """Make sure that pins can be made under ``path``; return whether bpffs had to be mounted for it.

    Only the usual place is ever mounted. Raises ``PrerequisiteError`` when ``path`` lies elsewhere or we may not mount.
    """
    path = path.resolve()
    found = mount_of(path, read_mounts())
    if found is not None and found.filesystem == "bpf":
        return False
    if not path.is_relative_to(BPFFS_POINT):
        raise PrerequisiteError(
            f"--bpffs {path}: lies on {found.filesystem if found else 'no file system'}, not on bpffs",
            remedy=f"use a path under {BPFFS_POINT}, or mount one: mount -t bpf bpf {path}",
        )
    try:
        syscalls.mount("bpf", str(BPFFS_POINT), "bpf")
    except OSError as error:
        remedy = "run as root" if error.errno == errno.EPERM else "use a kernel built with CONFIG_BPF_SYSCALL and sysfs"
        raise PrerequisiteError(
            f"--bpffs {path}: bpffs is not mounted at {BPFFS_POINT} and cannot be mounted ({error.strerror})",
            remedy=f"{remedy}, or mount it: mount -t bpf bpf {BPFFS_POINT}",
        ) from error
    log.info("bpffs_mounted point=%s", BPFFS_POINT)
    return True
