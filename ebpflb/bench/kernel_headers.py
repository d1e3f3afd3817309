"""Where this machine has full kernel headers, as a program of bcc that brings none of its own is compiled over.

Decides only what is found; installs nothing. Knows no compiler.

    /lib/modules/RELEASE/build, /usr/src/linux-headers-* --find_headers--> KernelHeaders | None
"""

import platform
import re
from dataclasses import dataclass
from pathlib import Path

REMEDY = "install kernel headers of any version (apt-get install linux-headers-amd64)"
_INCLUDE = re.compile(r"^include (?P<tree>/\S+)/Makefile", re.MULTILINE)
_MARK = Path("include/linux/kconfig.h")


@dataclass(frozen=True, slots=True)
class KernelHeaders:
    """A tree of headers, as bcc takes it by ``BCC_KERNEL_SOURCE``."""

    tree: Path
    flags: tuple[str, ...] = ()
    """Where what the build made is, if it stands apart: Debian splits the two."""


def find_headers(root: Path = Path("/")) -> KernelHeaders | None:
    """Return the running kernel's headers; else the newest others, as parsing them costs the same; else ``None``."""
    own = root / "lib/modules" / platform.release() / "build"
    others = sorted((root / "usr/src").glob("linux-headers-*"), key=_age_order, reverse=True)
    found = (_read(folder, root) for folder in (own, *others))
    return next((headers for headers in found if headers is not None), None)


def _read(folder: Path, root: Path) -> KernelHeaders | None:
    if not (folder / "include/generated/autoconf.h").is_file():
        return None
    if (folder / _MARK).is_file():
        return KernelHeaders(folder)
    makefile = folder / "Makefile"
    match = _INCLUDE.search(makefile.read_text()) if makefile.is_file() else None
    common = root / match["tree"].lstrip("/") if match else folder
    if not (common / _MARK).is_file():
        return None
    parts = (
        "include",
        "include/generated/uapi",
        *(f"{arch}/generated{api}" for arch in _arches(folder) for api in ("", "/uapi")),
    )
    return KernelHeaders(common, tuple(f"-I{folder / part}" for part in parts))


def _arches(folder: Path) -> list[str]:
    return sorted(f"arch/{each.parent.name}/include" for each in folder.glob("arch/*/include"))


def _age_order(folder: Path) -> tuple[list[int], str]:
    """Return what makes 6.10 newer than 6.9."""
    return [int(number) for number in re.findall(r"\d+", folder.name)], folder.name
