"""Which network namespaces belong to the pods and path patterns whose sockets shall be left alone, by their cookies.

Decides which namespace is whose, and that the host's own is nobody's: a process that a runtime has just put into a
pod's cgroup is still in it. Must not know why a pod is opted out, nor what becomes of the cookies.

    Wish (UIDs, patterns) -> pod_cgroups, glob -> namespaces -> each entered for its cookie -> OptOutView
"""

import glob
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ebpflb.host import inotify
from ebpflb.host.namespaces import in_each
from ebpflb.host.netns_cookie import netns_cookie
from ebpflb.host.pod_cgroups import NamespaceId, find_pods, namespace_at, namespaces_in, processes_in

OWN: Final = Path("/proc/thread-self/ns/net")


@dataclass(frozen=True, slots=True)
class Wish:
    """Whose sockets shall be left alone."""

    pods: Mapping[str, str] = field(default_factory=dict)
    """UID -> what to call the pod."""
    patterns: tuple[str, ...] = ()
    """Glob patterns of paths that network namespaces can be entered by."""

    def __bool__(self) -> bool:
        """Return whether there is anybody."""
        return bool(self.pods or self.patterns)


@dataclass(frozen=True, slots=True)
class OptOutView:
    """What has become of the wish."""

    cookies: frozenset[int] = frozenset()
    opted_out: tuple[str, ...] = ()
    """The pods and paths behind the cookies."""
    waiting: tuple[str, ...] = ()
    """Pods that have no process in a network namespace of their own yet, and paths that lead to none yet."""
    warnings: tuple[str, ...] = ()


@dataclass(slots=True)
class _Claims:
    """Who claims which namespace."""

    own: NamespaceId
    paths: dict[NamespaceId, Path] = field(default_factory=dict)
    claimants: dict[NamespaceId, list[str]] = field(default_factory=dict)
    waiting: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def add(self, who: str, namespaces: Mapping[NamespaceId, Path]) -> None:
        """Claim namespaces for somebody."""
        for found, path in namespaces.items():
            self.paths.setdefault(found, path)
            self.claimants.setdefault(found, []).append(who)


class OptOutFinder:
    """Looks for the namespaces of a wish; remembers where pods' cgroups are, and the folders worth watching."""

    def __init__(self, cgroup: Path) -> None:
        self._cgroup = cgroup
        self._pods: dict[str, Path] = {}
        self._parents: list[Path] = []

    def look(self, wish: Wish) -> OptOutView:
        """Return what there is now."""
        self._find_cgroups(wish)
        own = namespace_at(OWN)
        if own is None:
            return OptOutView(warnings=("/proc is not mounted: no network namespace can be told from another",))
        claims = _Claims(own)
        for uid, name in wish.pods.items():
            self._claim_pod(claims, uid, name)
        for pattern in wish.patterns:
            _claim_paths(claims, pattern)
        return _view(claims)

    def watched(self, wish: Wish) -> dict[Path, int]:
        """Return where to expect changes of what ``look`` found: paths and inotify masks."""
        watched = dict.fromkeys(self._parents, inotify.ENTRIES)
        for folder in self._pods.values():
            watched[folder] = inotify.ENTRIES
            watched[folder / "cgroup.events"] = inotify.MODIFY  # "populated": the first process comes, the last goes
        watched.update({_fixed_part(pattern): inotify.ENTRIES for pattern in wish.patterns})
        return watched

    def _find_cgroups(self, wish: Wish) -> None:
        self._pods = {uid: path for uid, path in self._pods.items() if uid in wish.pods and path.is_dir()}
        missing = wish.pods.keys() - self._pods.keys()
        self._parents = []
        if missing:
            found = find_pods(self._cgroup, missing)
            self._pods |= found.pods
            self._parents = found.parents

    def _claim_pod(self, claims: _Claims, uid: str, name: str) -> None:
        folder = self._pods.get(uid)
        namespaces = namespaces_in(folder) if folder is not None else {}
        namespaces.pop(claims.own, None)
        claims.add(name, namespaces)
        if not namespaces:
            claims.waiting.append(name)
            if folder is not None and 0 in processes_in(folder):
                claims.warnings.append(
                    f"the processes of {name} cannot be seen; run in the host's pid namespace (hostPID)"
                )


def _claim_paths(claims: _Claims, pattern: str) -> None:
    matches = sorted(glob.glob(pattern))  # noqa: PTH207 - unlike Path.glob it minds no folder that vanishes meanwhile
    if not matches:
        claims.warnings.append(f"no network namespace matches --socket-opt-out {pattern}")
    for match in matches:
        found = namespace_at(Path(match))
        if found == claims.own:
            claims.warnings.append(
                f"--socket-opt-out {pattern}: {match} is the node's own network namespace: not opted out"
            )
        elif found is not None and found.device == claims.own.device:
            claims.add(match, {found: Path(match)})
        elif found is not None:
            claims.waiting.append(match)  # `ip netns add` makes a file, and mounts the namespace over it then


def _view(claims: _Claims) -> OptOutView:
    """Ask each claimed namespace for its cookie."""
    cookies = dict(in_each(claims.paths.values(), _who_am_i))
    cookies.pop(claims.own, None)
    known = {cookie for found in claims.paths if (cookie := cookies.get(found)) is not None}
    names = {name for found, who in claims.claimants.items() if cookies.get(found) is not None for name in who}
    vanished = {name for who in claims.claimants.values() for name in who} - names
    waiting = tuple(sorted(vanished.union(claims.waiting)))
    return OptOutView(frozenset(known), tuple(sorted(names)), waiting, tuple(claims.warnings))


def _who_am_i() -> tuple[NamespaceId | None, int | None]:
    return namespace_at(OWN), netns_cookie()


def _fixed_part(pattern: str) -> Path:
    """Return the folder that a pattern's first wildcard, or its last name, is looked for in."""
    return Path(*_fixed_names(Path(pattern).parts[:-1]))


def _fixed_names(names: Iterable[str]) -> Iterator[str]:
    for name in names:
        if glob.has_magic(name):
            return
        yield name
