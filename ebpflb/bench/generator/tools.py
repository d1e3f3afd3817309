"""Compiles the load generator on the machine that it measures. Knows nothing of what it is used for.

    load.c, serve.c --the machine's C compiler--> Tools(load, serve)

Why C: what is measured takes some microseconds, and a loop in Python takes as long again.
"""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ebpflb.errors import PrerequisiteError

_FLAGS: Final = ("-std=gnu11", "-O2", "-Wall", "-Wextra")
_COMPILERS: Final = ("cc", "gcc", "clang")
_REMEDY: Final = "install it with `apt-get install gcc libc6-dev`"


@dataclass(frozen=True, slots=True)
class Tools:
    """The compiled programs."""

    load: Path
    """Makes connections and requests."""
    serve: Path
    """Answers them."""


def compile_tools(folder: Path, path: str | None = None) -> Tools:
    """Compile both programs into a folder. Raises ``PrerequisiteError`` where that cannot be done.

    ``path``: folders in which a compiler is looked for, as in ``PATH``; ``None``: those of the environment.
    """
    found = [where for name in _COMPILERS if (where := shutil.which(name, path=path))]
    if not found:
        raise PrerequisiteError("the load generator needs a C compiler, and there is none", remedy=_REMEDY)
    return Tools(*(_compile(found[0], name, folder) for name in ("load", "serve")))


def _compile(compiler: str, name: str, folder: Path) -> Path:
    program = folder / name
    source = Path(__file__).with_name(f"{name}.c")
    command = [compiler, *_FLAGS, "-o", str(program), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise PrerequisiteError(f"the load generator does not compile: {done.stderr.strip()}", remedy=_REMEDY)
    return program
