"""Writes the tables of docs/performance.md from what `ebpflb bench --json` wrote.

    python -m ebpflb.bench.render FILE... [--into docs/performance.md]

Document... -> Markdown -> stdout, or between the two marks of a page. Several files are the pieces of one run
(``--only``): they must be of one machine and one commit, and no figure may be in two of them.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from ebpflb.bench.document import Document, from_json
from ebpflb.bench.figures import FIGURES, unmeasured
from ebpflb.bench.wording import HEADERS, cells, machine_rows, summary
from ebpflb.errors import EbpflbError, UsageError

BEGIN: Final = "<!-- figures: python -m ebpflb.bench.render FILE --into docs/performance.md -->"
END: Final = "<!-- end of figures -->"


def markdown(told: Document) -> str:
    """Return the tables of a run: figures, notes, peers, machine, command."""
    return "\n".join(_lines(told))


def _lines(told: Document) -> Iterator[str]:
    by_id = {result.id: result for result in told.results}
    results = [by_id.get(figure.id) or unmeasured(figure.id, "not part of this run") for figure in FIGURES]
    yield f"{summary(results)[0].upper()}{summary(results)[1:]}, by `{told.run.command}` in {told.run.seconds:.0f} s:"
    yield ""
    yield from _table(HEADERS, [cells(result) for result in results])
    yield from _said("Notes", [(result.id, result.note) for result in told.results if result.note])
    yield from _said("Failed", list(told.run.failures.items()))
    yield from _said("Peers", list(told.peers.items()))
    yield ""
    yield from _table(["machine", ""], [list(row) for row in machine_rows(told.machine)])


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for row in (headers, ["---"] * len(headers), *rows):
        yield f"| {' | '.join(row)} |"


def _said(title: str, said: Sequence[tuple[str, str]]) -> Iterator[str]:
    if said:
        yield ""
        yield f"{title}:"
        yield ""
        yield from (f"* {name}: {words}" for name, words in said)


def joined(pieces: Sequence[Document]) -> Document:
    """Return the pieces of one run as one. Raises ``UsageError`` for pieces that do not belong together."""
    whole = pieces[0]
    for piece in pieces[1:]:
        for field in ("kernel", "cpu", "cores", "commit"):
            if getattr(piece.machine, field) != getattr(whole.machine, field):
                raise UsageError(
                    f"the files are of different runs: their {field} differs", remedy="give them one by one"
                )
        twice = {result.id for result in piece.results} & {result.id for result in whole.results}
        if twice:
            raise UsageError(f"{min(twice)} is in two files", remedy="leave one of them out")
        run = replace(
            whole.run,
            command=f"{whole.run.command}; {piece.run.command}",
            quick=whole.run.quick or piece.run.quick,
            seconds=whole.run.seconds + piece.run.seconds,
            failures={**whole.run.failures, **piece.run.failures},
        )
        results = (*whole.results, *piece.results)
        peers = {**whole.peers, **piece.peers}
        whole = replace(whole, run=run, results=results, series=(*whole.series, *piece.series), peers=peers)
    return whole


def put_into(page: str, tables: str) -> str:
    """Return the page with the tables between its marks. Raises ``UsageError`` for a page without marks."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise UsageError("the page has no marks to put the figures between", remedy=f"write {BEGIN} and {END} into it")
    return f"{before}{BEGIN}\n\n{tables}\n\n{END}{after}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the files and write the tables; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m ebpflb.bench.render", description="Tables of a run, in Markdown")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="written by `ebpflb bench --json`")
    parser.add_argument("--into", type=Path, metavar="PAGE", help="write them between the marks of this page")
    chosen = parser.parse_args(arguments)
    try:
        tables = markdown(joined([from_json(path.read_bytes(), str(path)) for path in chosen.files]))
        if chosen.into is None:
            sys.stdout.write(f"{tables}\n")
        else:
            chosen.into.write_text(put_into(chosen.into.read_text(encoding="utf-8"), tables), encoding="utf-8")
    except EbpflbError as error:
        sys.stderr.write(f"render: {error}\n")
        return error.exit_code
    except OSError as error:
        sys.stderr.write(f"render: {error.filename}: {error.strerror}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
