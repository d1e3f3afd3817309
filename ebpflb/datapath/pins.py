"""Where an instance's pins stand on bpffs. Decides paths; lists and removes. Knows nothing of what is pinned.

    <bpffs>/ebpflb/<instance>/v<schema>/{ipv4,ipv6}/{maps/<name>, progs/<build>/<name>, links/<name>}
    <bpffs>/ebpflb/<instance>/xdp/{maps/<name>, progs/<build>/<name>, links/<interface index>}

The schema version is part of the path: a version that lays maps out differently builds beside, and never adopts
what it cannot read. What belongs to no family has no layout that could change.
"""

import errno
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ebpflb.core.abi import Family
from ebpflb.datapath.layout import SCHEMA_VERSION
from ebpflb.errors import MapError, PrerequisiteError, UsageError

_INSTANCE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,62})")
"""bpffs refuses dots in names: it keeps them for itself."""
_MOST_TRIES = 10


@dataclass(frozen=True, slots=True)
class Pins:
    """The pins of one instance."""

    bpffs: Path
    """Where bpffs is mounted, usually ``/sys/fs/bpf``."""
    instance: str

    def __post_init__(self) -> None:
        """Refuse an instance name that is no file name on bpffs."""
        if not _INSTANCE.fullmatch(self.instance):
            raise UsageError(
                f"instance {self.instance!r} cannot name a folder on bpffs",
                remedy="use up to 63 letters, digits, '-' and '_', beginning with a letter or digit",
            )

    @property
    def root(self) -> Path:
        """The instance's folder, all schema versions."""
        return self.bpffs / "ebpflb" / self.instance

    def family(self, family: Family) -> Path:
        """Return the folder of one family under this schema version."""
        return self.root / f"v{SCHEMA_VERSION}" / f"ipv{family.value}"

    @property
    def xdp(self) -> Path:
        """The folder of the XDP dispatcher: of all families and schema versions."""
        return self.root / "xdp"

    @property
    def xdp_links(self) -> Path:
        """The folder of the links to devices, by interface index."""
        return self.xdp / "links"

    def maps(self, family: Family) -> Path:
        """Return the folder of a family's maps."""
        return self.family(family) / "maps"

    def progs(self, family: Family) -> Path:
        """Return the folder of a family's builds: ``progs/<build key>/<program>``."""
        return self.family(family) / "progs"

    def links(self, family: Family) -> Path:
        """Return the folder of a family's links."""
        return self.family(family) / "links"

    def map(self, family: Family, name: str) -> Path:
        """Return the pin of a map."""
        return self.maps(family) / name

    def link(self, family: Family, name: str) -> Path:
        """Return the pin of a link."""
        return self.links(family) / name

    def create_folders(self, family: Family) -> None:
        """Make a family's folders; folders that stand already are no error."""
        for folder in (self.maps(family), self.progs(family), self.links(family)):
            try:
                _make(folder)
            except OSError as error:
                raise PrerequisiteError(
                    f"folder {folder} cannot be made ({error.strerror})",
                    remedy=f"mount bpffs with `mount -t bpf bpf {self.bpffs}` and run as root",
                ) from error

    def list(self) -> tuple[Path, ...]:
        """Return every pin of the instance, all schema versions, sorted."""
        return tuple(sorted(path for path in _walk(self.root) if not path.is_dir()))

    def remove(self) -> tuple[Path, ...]:
        """Remove every pin and folder of the instance, links first; return the pins that were removed.

        The parent folder ``ebpflb`` goes with its last instance.
        """
        pins = _remove_tree(self.root)
        _remove_if_empty(self.root.parent)
        return pins

    def remove_other_schemas(self) -> tuple[str, ...]:
        """Remove the pins of other schema versions; return those versions' folder names.

        Their socket programs serve until then, and are off the cgroup after: a version that builds beside takes over.
        """
        folders = [path for path in self.root.glob("v*") if path.name != f"v{SCHEMA_VERSION}" and path.is_dir()]
        for folder in folders:
            _remove_tree(folder)
        return tuple(sorted(folder.name for folder in folders))


def _make(folder: Path) -> None:
    """Make a folder and its parents; another instance that goes may take the parent of all away in between."""
    for _ in range(_MOST_TRIES):
        with suppress(FileNotFoundError, FileExistsError):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            return
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)


def _walk(folder: Path) -> Iterator[Path]:
    return folder.rglob("*") if folder.is_dir() else iter(())


def _remove_tree(root: Path) -> tuple[Path, ...]:
    """Remove a folder and the pins in it. Links go first, so that no program runs without its maps' names."""
    everything = sorted(_walk(root), key=lambda path: (path.parent.name != "links", path))
    pins = [path for path in everything if not path.is_dir()]
    folders = [path for path in (root, *everything) if path.is_dir()]
    for pin in pins:
        _unlink(pin)
    for folder in sorted(folders, key=lambda path: len(path.parts), reverse=True):
        folder.rmdir()
    return tuple(pins)


def _unlink(pin: Path) -> None:
    try:
        pin.unlink(missing_ok=True)
    except OSError as error:
        raise MapError(f"remove pin {pin}: {error.strerror}", remedy="run as root") from error


def _remove_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno != errno.ENOTEMPTY:
            raise MapError(f"remove folder {folder}: {error.strerror}", remedy="run as root") from error
