"""Hands sources to the compiler's child and tells what came of it. Knows neither families nor constants.

units, flags --JSON--> compiler.py in a process of its own --> instruction counts, or BuildError
"""

import json
import os
import platform
import re
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ebpflb.errors import BuildError

_COMPILE_SECONDS = 300
_COMPILER_MB = 150
"""What a compiler has resident at most, for words only."""
_MULTIARCH: str | None = sysconfig.get_config_var("MULTIARCH")
"""Asked at import: families are built in threads, and Python 3.11 shows the second asker a table half filled."""


@dataclass(frozen=True, slots=True)
class ProgramJob:
    """A function that becomes a program."""

    name: str
    type: int
    """``enum bpf_prog_type``."""
    attach_type: int
    pin: Path
    tail_call: tuple[str, int] | None = None
    """Prog array of its unit, and index, under which other programs of the unit call it."""


@dataclass(frozen=True, slots=True)
class Unit:
    """One text, and the programs in it."""

    text: str
    programs: tuple[ProgramJob, ...]
    has_debug_info: bool = True
    """Whether maps that it makes get BTF, and programs their source lines; without, it compiles in three quarters of
    the time."""


def compile_units(
    subject: str, units: Sequence[Unit], flags: Sequence[str], shim: Path, *, hides_symbols: bool = True
) -> dict[str, int]:
    """Compile, load and pin; return each program's instructions, before the verifier's rewriting, by its name.

    ``hides_symbols``: keep bcc from reading all of the kernel's symbols for each unit, which no program of ours needs.
    Raises ``BuildError`` with the compiler's or the verifier's words; ``subject`` did not build then.
    """
    job = {
        "parent": os.getpid(),
        "shim": str(shim),
        "kernel": kernel_version_code(),
        "cflags": [*flags, *include_flags()],
        "units": [_unit(unit) for unit in units],
        "hides_symbols": hides_symbols,
    }
    try:
        code, out, words = _run_compiler(json.dumps(job))
    except subprocess.TimeoutExpired:
        code, out, words = 1, "", f"the compiler did not end within {_COMPILE_SECONDS} s"
    if code < 0:
        raise _killed(subject, -code)
    if code != 0:
        raise BuildError(
            f"{subject} cannot be built on kernel {platform.release()}:\n{words.strip()}",
            remedy="run `ebpflb doctor`; if it finds nothing, report this text",
        )
    sizes: dict[str, int] = json.loads(out.splitlines()[-1])
    return sizes


def _killed(subject: str, number: int) -> BuildError:
    """Return the error for a child that a signal has ended. It has said nothing of that."""
    name = signal.Signals(number).name if number in set(signal.Signals) else str(number)
    if number == signal.SIGKILL:
        remedy = f"if memory ran out (see the kernel's log), give the agent {_COMPILER_MB} MB more for each IP family"
    else:
        remedy = "report this text, with what the kernel's log says"
    return BuildError(f"{subject} cannot be built: the compiler was ended by signal {name}", remedy=remedy)


def include_flags() -> list[str]:
    """UAPI headers come after the shim's: the distribution's linux-libc-dev is all that is needed."""
    folders = ["/usr/include"]
    if _MULTIARCH:
        folders.append(f"/usr/include/{_MULTIARCH}")
    return [flag for folder in folders for flag in ("-idirafter", folder)]


def kernel_version_code() -> int:
    """KERNEL_VERSION of the running kernel: bcc would look for it in headers that are not installed."""
    match = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", platform.release())
    major, minor, patch = (int(part or 0) for part in match.groups()) if match else (5, 10, 0)
    return (major << 16) + (minor << 8) + min(patch, 255)


def _unit(unit: Unit) -> dict[str, Any]:
    programs = [_program(each) for each in unit.programs]
    return {"text": unit.text, "programs": programs, "has_debug_info": unit.has_debug_info}


def _program(program: ProgramJob) -> dict[str, Any]:
    return {
        "name": program.name,
        "type": program.type,
        "attach_type": program.attach_type,
        "pin": str(program.pin),
        "tail_call": program.tail_call,
    }


def _run_compiler(job: str) -> tuple[int, str, str]:
    """Run the child; return its exit code, stdout and stderr.

    ``-P``: nothing is imported from the folder that we happen to be started in. A session of its own: Ctrl-C at the
    terminal is for the agent, which ends after the child; the child dies with it in any case (``"parent"``).
    """
    child = subprocess.run(
        [sys.executable, "-P", "-m", "ebpflb.datapath.compiler"],
        input=job,
        capture_output=True,
        text=True,
        timeout=_COMPILE_SECONDS,
        check=False,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    return child.returncode, child.stdout, child.stderr
