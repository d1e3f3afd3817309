"""A folder of manifests as a source: needs no cluster, and serves the demo, the tests and a bare-metal load balancer.

Decides when to look again and what of it is news. Knows no file format and no rule of any object.

    inotify --> names and bytes --> Manifests --> difference to what was delivered --> Sink

Files whose names begin with a dot are not read (editors' swap files, the ``..data`` of a mounted ConfigMap); neither
are subfolders. A ConfigMap's files are links through ``..data``, whose replacement is an event of the folder itself.
"""

import logging
import threading
from pathlib import Path

# The generator `watchfiles.watch` only starts to watch at its first step, after which changes made since the first
# reading would be lost; watchfiles documents this class for direct use.
from watchfiles._rust_notify import RustNotify, WatchfilesRustInternalError

from ebpflb.core.model import Node, ObjectKey
from ebpflb.errors import UsageError
from ebpflb.files.manifests import Contents, Manifests
from ebpflb.reconcile.ports import Kind, Sink

SUFFIXES = (".yaml", ".yml", ".json")
QUIET_MS = 50
"""Changes are read once nothing has happened for this long (a file may be written in pieces) ..."""
MAX_WAIT_MS = 500
"""... or after this long if something always happens."""
RESCAN_MS = 5000
"""Linked files outside the folder change without an event of the folder."""
REAPPEAR_S = 0.25
"""How often to look for a folder that has vanished."""

_REMEDY = "give --manifests an existing, readable folder of *.yaml, *.yml or *.json"
_LOG = logging.getLogger(__name__)


class FolderSource:
    """The objects in the manifests of a folder, the own Node's only. Implements ``reconcile.ports.Source``."""

    def __init__(self, path: Path, node_name: str) -> None:
        """Raise ``UsageError`` if there is no such folder."""
        self._path = path
        self._node_name = node_name
        self._manifests = Manifests(node_name)
        self._delivered: Contents | None = None
        self._complaint = ""
        try:
            is_folder = path.is_dir()
            for _ in path.iterdir() if is_folder else ():
                break
        except OSError as error:
            raise UsageError(f"folder {path} cannot be read: {error.strerror}", remedy=_REMEDY) from error
        if not is_folder:
            problem = "is not a folder" if path.exists() else "does not exist"
            raise UsageError(f"{path} {problem}", remedy=_REMEDY)

    def run(self, sink: Sink, stop: threading.Event) -> None:
        """Deliver until ``stop`` is set."""
        while not stop.is_set():
            try:
                self._watch(sink, stop)
            except (OSError, WatchfilesRustInternalError) as error:
                reason = getattr(error, "strerror", None) or " ".join(str(error).split())
                remedy = "put it back, its last state stays"
                self._complain(sink, f"folder {self._path} cannot be watched: {reason}; {remedy}")
                stop.wait(REAPPEAR_S)

    def _watch(self, sink: Sink, stop: threading.Event) -> None:
        """Deliver what is there, then each change; return when another folder may have taken the name.

        Raises ``OSError`` when the folder is gone.
        """
        with RustNotify([str(self._path)], False, False, 0, False, False) as notify:
            watched = self._path.stat()
            while not stop.is_set():
                self._deliver(sink, self._manifests.read(self._read_files()))
                news = notify.watch(MAX_WAIT_MS, QUIET_MS, RESCAN_MS, stop)
                if isinstance(news, set) and any(Path(changed) == self._path for _, changed in news):
                    return
                if watched.st_ino != self._path.stat().st_ino:
                    return

    def _read_files(self) -> dict[str, bytes | OSError]:
        """Return the bytes of every manifest, or why it cannot be read. Raises ``OSError`` for the folder itself."""
        found: dict[str, bytes | OSError] = {}
        for path in self._path.iterdir():
            if path.suffix not in SUFFIXES or path.name.startswith(".") or path.is_dir():
                continue
            try:
                found[path.name] = path.read_bytes()
            except FileNotFoundError as error:
                if path.is_symlink():
                    found[path.name] = error
            except OSError as error:
                found[path.name] = error
        return found

    def _deliver(self, sink: Sink, contents: Contents) -> None:
        before, self._delivered = self._delivered, contents
        for warning in contents.warnings:
            if before is None or warning not in before.warnings:
                _LOG.warning("manifest reason=%r", warning)
        for (kind, key), error in contents.refused.items():
            if before is None or str(before.refused.get((kind, key))) != str(error):
                _LOG.warning("refused kind=%s reason=%r", kind, str(error))
        with sink.together():  # a Service whose slices came a moment later would have no backends meanwhile
            if contents.is_incomplete:
                sink.incomplete(is_incomplete=True)
            if before is None:
                self._deliver_all(sink, contents)
            else:
                _deliver_changes(sink, before, contents)
            if not contents.is_incomplete:
                sink.incomplete(is_incomplete=False)
        self._complain(sink, " | ".join(contents.complaints))

    def _deliver_all(self, sink: Sink, contents: Contents) -> None:
        for kind in Kind:
            objects = [obj for (of_kind, _), obj in contents.objects.items() if of_kind is kind]
            refused = [error for (of_kind, _), error in contents.refused.items() if of_kind is kind]
            if kind is Kind.NODE and not objects:
                # Its manifest is refused: without any Node nothing would be programmed at all.
                objects = [Node(self._node_name)]
            sink.replace(kind, objects, refused)

    def _complain(self, sink: Sink, complaint: str) -> None:
        if complaint != self._complaint:
            self._complaint = complaint
            if complaint:
                _LOG.warning("source_error folder=%r reason=%r", str(self._path), complaint)
            sink.source_error(complaint)


def _deliver_changes(sink: Sink, before: Contents, after: Contents) -> None:
    """Deliver the difference. Deletions come last, so that an object that moves between Services is never missing."""
    for entry, obj in after.objects.items():
        if entry in before.refused or before.objects.get(entry) != obj:
            sink.upsert(entry[0], obj)
    for entry, error in after.refused.items():
        if str(before.refused.get(entry)) != str(error):
            sink.refuse(*entry, error)
    for entry in _entries(before) - _entries(after):
        kind, key = entry
        sink.delete(kind, key)


def _entries(contents: Contents) -> set[tuple[Kind, ObjectKey]]:
    return contents.objects.keys() | contents.refused.keys()
