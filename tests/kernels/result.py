"""What a guest says of one check, and the tables that a person reads: checks by kernels, programs by kernels.

guest -> Result as a JSON line -> run.py -> tables
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table

END = "all checks"
"""A guest's last line, and the row that says whether it came."""


@dataclass(frozen=True, slots=True)
class Result:
    """One check on one kernel."""

    check: str
    ok: bool
    seconds: float = 0.0
    detail: str = ""
    programs: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Program -> its instructions, instructions that the verifier followed."""


def show(console: Console, results: Mapping[str, Iterable[Result]]) -> None:
    """Print what every kernel said; the keys are the kernels' releases."""
    by_kernel = {release: {result.check: result for result in found} for release, found in results.items()}
    checks = dict.fromkeys(check for found in by_kernel.values() for check in found)
    table = Table("check", *by_kernel, title="checks")
    for check in checks:
        table.add_row(check, *(_cell(found.get(check)) for found in by_kernel.values()))
    console.print(table)
    builds = {
        (release, result.check): result.programs
        for release, found in by_kernel.items()
        for result in found.values()
        if result.programs
    }
    table = Table("kernel", "build", "program", "instructions", "verified", title="programs")
    for (release, check), programs in builds.items():
        for program, (instructions, verified) in programs.items():
            table.add_row(release, check, program, str(instructions), str(verified))
    if builds:
        console.print(table)


def _cell(result: Result | None) -> str:
    if result is None:
        return "-"
    return f"{'ok' if result.ok else 'FAILED'} {result.seconds:.0f} s"
