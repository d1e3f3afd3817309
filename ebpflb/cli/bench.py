"""``ebpflb bench``: how fast is this, beside what one would otherwise run?

Decides what may be asked, what is refused before anything runs, and the exit code. The figures and their targets are
``bench/figures.py``'s, the measures ``bench/registry.py``'s.

    flags --> figures, subjects --suite.run--> Outcome --> table, JSON, page, exit code
"""

import tempfile
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import click

from ebpflb.bench import suite
from ebpflb.bench.document import Document, document, to_json
from ebpflb.bench.figures import FIGURES, Figure, select
from ebpflb.bench.machine import this_machine
from ebpflb.bench.measure import FEWEST_SERVICES, MOST_SERVICES, Effort
from ebpflb.bench.registry import load, subjects_for
from ebpflb.bench.suite import Outcome
from ebpflb.bench.wording import HEADERS, Verdict, cells, summary, target_text, value_text, verdict
from ebpflb.cli.bench_screen import saving, shown
from ebpflb.cli.options import require_root
from ebpflb.cli.show import table_lines
from ebpflb.errors import EbpflbError, PrerequisiteError, UsageError

_STDOUT: Final = "-"
_EXIT_FAILED: Final = 1
_EXIT_MISSED: Final = 3
_EXIT_INTERRUPTED: Final = 130
_COLOURS: Final = {Verdict.MET: "green", Verdict.MISSED: "red", Verdict.UNMEASURED: "yellow"}


def _check_only(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[Figure, ...] | None:
    del context, parameter
    if value is None:
        return None
    if not value.strip():
        raise click.BadParameter("names no figure")
    try:
        return select(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.command()
@click.option("--quick", is_flag=True, help="All figures in three minutes, by fewer and smaller rounds.")
@click.option(
    "--only", metavar="P3,P6", callback=_check_only, help="Only these figures, with the curves that come along."
)
@click.option(
    "--json",
    "file",
    metavar="FILE",
    help="Write everything there, too, as JSON ('-': stdout), whenever a measure has ended.",
)
@click.option(
    "--report",
    "folder",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Write plots and a page, index.html, there. Needs the extra ebpflb[bench].",
)
@click.option(
    "--kubeconfig",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Measure the control plane from this API server. Services are made in a namespace of the run's own, "
    "ebpflb-bench-..., which is deleted; every kube-proxy of the cluster programs them, too.  [default: an API server "
    "of the bench's]",
)
@click.option(
    "--services",
    type=click.IntRange(FEWEST_SERVICES, MOST_SERVICES),
    metavar="N",
    help="So many of 10 endpoints, with --kubeconfig.  [default: 10,000; 1,000 with --quick]",
)
@click.pass_context
def command(
    context: click.Context,
    *,
    quick: bool,
    only: tuple[Figure, ...] | None,
    file: str | None,
    folder: Path | None,
    kubeconfig: Path | None,
    services: int | None,
) -> None:
    """Measure this machine against iptables, nftables and bare connections.

    Every figure is a ratio taken in one run, in which ours and what it is compared with take turns, in network
    namespaces that are made for it and removed. docs/performance.md says how each is measured, and what was measured
    where. Let the machine do nothing else meanwhile.

    Exit codes: 0 every target is reached; 3 one is missed or could not be measured, or something is missing on this
    machine; 1 anything else failed; 2 usage; 130 interrupted, with what was found until then.
    """
    _check_targets_of_output(file, folder)
    if services and not kubeconfig:
        raise UsageError("--services is of a cluster", remedy="name it with --kubeconfig, or leave --services out")
    require_root("bench")
    machine = this_machine()
    effort = Effort(is_quick=quick, kubeconfig=str(kubeconfig or ""), services=services or 0)
    subjects = subjects_for(only)
    command_line = _command_line(quick=quick, only=only)
    with shown(subjects, effort) as listener:
        kept = saving(listener, effort, lambda outcome: _save(document(machine, outcome, command_line), file))
        outcome = suite.run(subjects, only or FIGURES, effort, kept, load)
    told = document(machine, outcome, command_line)
    _print(told, to_stderr=file == _STDOUT)
    _write(told, file, folder)
    context.exit(_exit_code(outcome))


def _check_targets_of_output(file: str | None, folder: Path | None) -> None:
    """Raise now what would otherwise be raised when all has been measured."""
    if file not in {None, _STDOUT}:
        _check_file(Path(str(file)))
    if folder is None:
        return
    if find_spec("matplotlib") is None:
        raise PrerequisiteError(
            "--report draws with matplotlib, which is not installed",
            remedy="install the extra: pip install 'ebpflb[bench]', or leave --report out",
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UsageError(f"--report {folder}: {error.strerror}", remedy="name a folder that can be written") from error


def _check_file(path: Path) -> None:
    is_new = not path.exists()
    try:
        with path.open("ab"):
            pass
    except OSError as error:
        raise UsageError(f"--json {path}: {error.strerror}", remedy="name a file that can be written") from error
    if is_new:
        path.unlink()


def _command_line(*, quick: bool, only: tuple[Figure, ...] | None) -> str:
    """Return what makes this run again, wherever its output goes."""
    chosen = ",".join(dict.fromkeys(figure.number for figure in only or ()))
    return " ".join(["ebpflb bench", *["--quick"] * quick, *[f"--only {chosen}"] * bool(chosen)])


def _print(told: Document, *, to_stderr: bool) -> None:
    lines = table_lines([header.upper() for header in HEADERS], [cells(result) for result in told.results])
    click.secho(lines[0], bold=True, err=to_stderr)
    for line, result in zip(lines[1:], told.results, strict=True):
        word = verdict(result)
        click.echo(line.replace(f" {word} ", f" {click.style(word, fg=_COLOURS[word])} ", 1), err=to_stderr)
    click.echo(f"\n{summary(told.results)}", err=to_stderr)
    for line in _remarks(told):
        click.echo(line, err=to_stderr)


def _remarks(told: Document) -> list[str]:
    """Return what is to be said below the table: what was missed, what failed, what to know of a value."""
    wrong = {kind: [each for each in told.results if verdict(each) is kind] for kind in Verdict}
    noted = [result for result in told.results if result.note and result.value is not None]
    sections = {
        "missed": [f"{each.id} {value_text(each)}, target {target_text(each)}" for each in wrong[Verdict.MISSED]],
        "not measured": [f"{each.id} {each.note}" for each in wrong[Verdict.UNMEASURED]],
        "failed": [f"{title}: {why}" for title, why in told.run.failures.items()],
        "notes": [f"{each.id} {each.note}" for each in noted],
        "peers": [f"{name}: {fact}" for name, fact in told.peers.items()],
    }
    return [line for title, said in sections.items() if said for line in (f"{title}:", *(f"  {each}" for each in said))]


def _save(told: Document, file: str | None) -> None:
    """Write what there is so far; whether it can be written is told at the end."""
    if file not in {None, _STDOUT}:
        with suppress(OSError):
            Path(str(file)).write_text(to_json(told), encoding="utf-8")


def _write(told: Document, file: str | None, folder: Path | None) -> None:
    if file == _STDOUT:
        click.echo(to_json(told), nl=False)
    try:
        if file not in {None, _STDOUT}:
            Path(str(file)).write_text(to_json(told), encoding="utf-8")
        if folder is not None:
            from ebpflb.bench.page import write_page  # noqa: PLC0415 - draws with matplotlib, which few have

            click.echo(f"\nwritten: {write_page(told, folder)}", err=file == _STDOUT)
    except OSError as error:
        raise EbpflbError(
            f"cannot write {error.filename}: {error.strerror}", remedy="make room, and run again"
        ) from error


def _exit_code(outcome: Outcome) -> int:
    if outcome.is_interrupted:
        return _EXIT_INTERRUPTED
    if not all(result.met for result in outcome.results):
        return _EXIT_MISSED
    return _EXIT_FAILED if outcome.failures else 0
