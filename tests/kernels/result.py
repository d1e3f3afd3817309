"""What a guest says of one check, and the tables that a person reads: checks by kernels, programs by kernels.

guest -> Result as a JSON line -> run.py -> tables
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table

END = "ran to its end"
"""A guest's last line, and the row that says whether it came."""
CHECKS = "CHECKS"
"""A guest's environment variable: a regular expression of the names of checks that it shall make."""
EVERYTHING = "EVERYTHING"
"""A guest's environment variable: if set, nothing is left out that an option can bring in."""
AT_WORK = "at work: "
"""Begins a line that says which checks are under way, and how far they are."""


@dataclass(frozen=True, slots=True)
class Result:
    """One check on one kernel."""

    check: str
    ok: bool
    seconds: float = 0.0
    detail: str = ""
    tests: int = 0
    """Those that ran, if it is a session of tests."""
    programs: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Program -> its instructions, instructions that the verifier followed."""


def show(console: Console, results: Mapping[str, Iterable[Result]]) -> None:
    """Print what every kernel said; the keys are the kernels' versions."""
    by_kernel = {version: {result.check: result for result in found} for version, found in results.items()}
    checks = dict.fromkeys(check for found in by_kernel.values() for check in found)
    table = Table("check", *by_kernel)
    for check in checks:
        table.add_row(check, *(_cell(found.get(check)) for found in by_kernel.values()))
    console.print(table)
    programs = Table("build", "program", "instructions", "verified")
    for version, found in by_kernel.items():
        for result in found.values():
            for number, (program, counts) in enumerate(result.programs.items()):
                programs.add_row(
                    "" if number else f"{version} {result.check.removeprefix('build ')}", program, *map(str, counts)
                )
    if programs.row_count:
        console.print(programs)


def _cell(result: Result | None) -> str:
    if result is None:
        return "-"
    tests = f", {result.tests} tests" if result.tests else ""
    return f"{'ok' if result.ok else 'FAILED'} {result.seconds:.0f} s{tests}"
