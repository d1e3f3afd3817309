"""The configuration file: its bytes, what they say, and when it says something else.

Decides what is read of it (its first document, as kube-proxy does), which fields it names twice, and what counts as a
change: other bytes, however they came there. Knows no field.

    path --read_config_file--> ConfigFile(bytes, document, duplicates)        bytes, inotify --watch--> they differ now

A mounted ConfigMap changes by a link ``..data`` that is replaced in the folder; an editor writes in place, or renames.
"""

import json
import logging
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

# For the same reason as in folder.py: it watches from its construction on.
from watchfiles._rust_notify import RustNotify, WatchfilesRustInternalError

from ebpflb.errors import UsageError
from ebpflb.files.documents import UnreadableError, read_documents

QUIET_MS: Final = 50
MAX_WAIT_MS: Final = 500
RESCAN_MS: Final = 5_000
"""A link in the path may lead elsewhere without an event in the file's folder."""
REAPPEAR_S: Final = 1.0
"""How often to look for a folder that has vanished."""

_MOST_LEVELS: Final = 50
"""Of nesting; the schema has four."""

_REMEDY: Final = "give --config the path of a readable file with a KubeProxyConfiguration"
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """What a file held when it was read."""

    path: Path
    raw: bytes
    document: Mapping[str, Any]
    duplicates: tuple[str, ...]
    """Fields that it names more than once, of which the last one counts, and their lines."""
    more_documents: int
    """How many there are behind the one that counts."""


def read_config_file(path: Path) -> ConfigFile:
    """Return a file's contents. Raises ``UsageError`` if there is no document in it."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise UsageError(f"--config {path} cannot be read: {error.strerror}", remedy=_REMEDY) from error
    is_json = raw.lstrip().startswith(b"{")
    try:
        documents, problems = read_documents(raw, is_json=is_json)
        for problem in problems:
            raise problem
    except UnreadableError as error:
        where = f"{path}:{error.line}:{error.column}"
        raise UsageError(f"--config {where}: {error.problem}", remedy="mend it") from error
    if not documents:
        raise UsageError(f"--config {path} is empty", remedy=_REMEDY)
    if _is_deep(documents[0].content):
        raise UsageError(f"--config {path} is nested too deeply", remedy=_REMEDY)
    duplicates = _duplicates_of_json(raw) if is_json else _duplicates_of_yaml(raw)
    return ConfigFile(path, raw, documents[0].content, tuple(duplicates), len(documents) - 1)


def watch_config_file(path: Path, loaded: bytes, stop: threading.Event) -> bool:
    """Return whether the file has other bytes than it was loaded with, as soon as it has; not, when ``stop`` is set.

    A file that is gone is no change: whoever replaces it may be half way, and nothing better is known.
    """
    is_missing = False
    while not stop.is_set():
        try:
            if _watch_folder(path, loaded, stop):
                return True
        except (OSError, WatchfilesRustInternalError) as error:
            if not is_missing:
                reason = getattr(error, "strerror", None) or str(error)
                _LOG.warning("config_unwatched file=%r reason=%r remedy='put it back'", str(path), reason)
            is_missing = True
            stop.wait(REAPPEAR_S)
    return False


def _watch_folder(path: Path, loaded: bytes, stop: threading.Event) -> bool:
    """Look at each event in the file's folder; return at a change. Raises ``OSError`` when the folder is gone."""
    folder = path.parent
    with RustNotify([str(folder)], False, False, 0, False, False) as notify:
        watched = folder.stat().st_ino
        while not stop.is_set():
            if _differs(path, loaded):
                return True
            notify.watch(MAX_WAIT_MS, QUIET_MS, RESCAN_MS, stop)
            if folder.stat().st_ino != watched:
                return False
    return False


def _differs(path: Path, loaded: bytes) -> bool:
    try:
        found = path.read_bytes()
    except OSError:
        return False
    # Whoever writes in place empties the file first.
    return bool(found.strip()) and found != loaded


def _is_deep(document: Any) -> bool:
    level: list[Any] = [document]
    depth = 0
    seen: set[int] = set()
    while level and depth <= _MOST_LEVELS:
        new = [each for each in level if id(each) not in seen]
        seen.update(map(id, new))
        level = [
            item
            for each in new
            if isinstance(each, (dict, list))
            for item in (each.values() if isinstance(each, dict) else each)
        ]
        depth += 1
    return bool(level)


def _duplicates_of_json(raw: bytes) -> list[str]:
    found: dict[str, None] = {}

    def look(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        found.update(dict.fromkeys(name for name in names if names.count(name) > 1))
        return dict(pairs)

    json.loads(raw.decode("utf-8-sig"), object_pairs_hook=look)
    return list(found)


def _duplicates_of_yaml(raw: bytes) -> list[str]:
    root = next(yaml.compose_all(raw.decode("utf-8-sig"), getattr(yaml, "CSafeLoader", yaml.SafeLoader)), None)
    return list(_duplicates_below("", root, set()))


def _duplicates_below(path: str, node: yaml.Node | None, seen: set[int]) -> Iterator[str]:
    """Yield the paths of repeated fields; an alias is followed once, also one that holds itself."""
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _duplicates_below(path, item, seen)
    elif isinstance(node, yaml.MappingNode):
        names: set[str] = set()
        for key, value in node.value:
            name = f"{path}{key.value}" if isinstance(key, yaml.ScalarNode) else path
            if name in names:
                yield f"{name} (line {key.start_mark.line + 1})"
            names.add(name)
            yield from _duplicates_below(f"{name}.", value, seen)
