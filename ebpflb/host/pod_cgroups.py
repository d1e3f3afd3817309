"""Finds pods' cgroups by the pods' UIDs, and the network namespaces that the processes in them live in.

kubelet names a pod's cgroup after its UID: ``pod<uid>`` with the cgroupfs driver, ``...-pod<uid>.slice`` with '_' for
'-' with systemd's; where ``kubepods`` stands in the tree differs by distribution. Decides by names alone. Must not know
why a pod is sought.

    UIDs -> find_pods -> folders -> namespaces_in -> {namespace: path to enter it by}
"""

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

PROC: Final = Path("/proc")
_PARENT_WORD: Final = "kube"
"""In the name of every folder that kubelet makes pods' cgroups in."""


class NamespaceId(NamedTuple):
    """What tells namespaces apart while they live."""

    device: int
    inode: int


@dataclass(slots=True)
class Found:
    """The result of a search."""

    pods: dict[str, Path] = field(default_factory=dict)
    """The cgroup of each pod, by UID."""
    parents: list[Path] = field(default_factory=list)
    """Where cgroups of pods appear."""


def find_pods(top: Path, uids: Collection[str]) -> Found:
    """Search a cgroup tree for the cgroups of pods."""
    wanted = {_plain(uid): uid for uid in uids}
    found = Found(parents=[top])
    folders = [top]
    while folders:
        for path in _subfolders(folders.pop()):
            uid = wanted.get(_uid_in(path.name))
            if uid is not None:
                found.pods[uid] = path
                continue
            if _PARENT_WORD in path.name:
                found.parents.append(path)
            folders.append(path)
    return found


def _uid_in(name: str) -> str:
    """Return the UID in the name of a pod's cgroup; of other names something that is no UID."""
    return _plain(name.removesuffix(".slice").rpartition("pod")[2])


def _plain(uid: str) -> str:
    return uid.replace("_", "-")


def _subfolders(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return [Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []  # it has vanished


def processes_in(folder: Path) -> Iterator[int]:
    """Yield the processes of a cgroup and of all below it; 0 is one that this pid namespace does not show."""
    folders = [folder]
    while folders:
        here = folders.pop()
        try:
            yield from map(int, (here / "cgroup.procs").read_text().split())
        except OSError:
            continue  # it has vanished, or is threaded: then its root has the processes
        folders += _subfolders(here)


def namespaces_in(folder: Path, proc: Path = PROC) -> dict[NamespaceId, Path]:
    """Return the network namespaces of all processes in a cgroup, each with a path to enter it by."""
    paths = (proc / str(process) / "ns/net" for process in processes_in(folder) if process)
    return {found: path for path in paths if (found := namespace_at(path)) is not None}


def namespace_at(path: Path) -> NamespaceId | None:
    """Return which namespace a path leads to; ``None`` when it is gone."""
    try:
        status = path.stat()
    except OSError:
        return None
    return NamespaceId(status.st_dev, status.st_ino)
