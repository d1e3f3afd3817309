"""One text out of many files: what bcc is given to compile.

bcc rewrites ``map.lookup()`` in the main file only, so the ``#include "lb/..."`` lines are replaced by the
files' contents, each once, between ``#line`` markers: compiler errors and ``bpftool prog dump`` name the real file.

    bpf/lb_tc.c + bpf/lb/*.h --> one text --> compiler
"""

import re
from importlib.resources import files
from pathlib import Path

from ebpflb.errors import BuildError

_INCLUDE = re.compile(r'^\s*#include\s+"(lb/[^"]+)"')


def bpf_directory() -> Path:
    """Return the folder of the C sources: inside the installed package, or beside it in a checkout."""
    package = Path(str(files("ebpflb")))
    for candidate in (package / "_bpf", package.parent / "bpf"):
        if (candidate / "lb" / "abi.h").is_file():
            return candidate
    raise BuildError(
        f"the C sources are neither in {package / '_bpf'} nor in {package.parent / 'bpf'}",
        remedy="install ebpflb again",
    )


def inline_source(main: str, directory: Path) -> str:
    """Return the text of ``directory/main`` with every ``#include "lb/..."`` replaced, each file once.

    Raises ``BuildError`` when a file is missing.
    """
    return "".join(_lines(main, directory, set()))


def _lines(name: str, directory: Path, seen: set[str]) -> list[str]:
    seen.add(name)
    try:
        text = (directory / name).read_text()
    except OSError as error:
        raise BuildError(f"cannot read {directory / name}: {error.strerror}", remedy="install ebpflb again") from error
    result = [f'#line 1 "bpf/{name}"\n']
    for number, line in enumerate(text.splitlines(keepends=True), start=1):
        match = _INCLUDE.match(line)
        if match is None:
            result.append(line)
            continue
        if match[1] not in seen:
            result += _lines(match[1], directory, seen)
        result.append(f'#line {number + 1} "bpf/{name}"\n')
    return result
