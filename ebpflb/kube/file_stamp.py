"""Tells whether a file has changed since it was looked at. Knows no file.

path --file_stamp--> something that is the same as long as the file is
"""

from pathlib import Path


def file_stamp(path: Path | None) -> object:
    """Return what changes with the file, or what a link leads to; ``None`` without a file, or if there is none."""
    try:
        found = path.stat() if path else None
    except OSError:
        return None
    return found and (found.st_mtime_ns, found.st_size, found.st_ino)
