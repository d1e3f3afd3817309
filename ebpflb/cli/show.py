"""Prints what the verbs found: JSON, YAML, or tables. Knows no map and no status.

Decides the look only. A table on a terminal folds long cells; elsewhere every row is one line, whatever its length.

    value -> print_document (json, yaml)          title, headers, rows -> print_table
"""

import json
import sys
from collections.abc import Sequence
from typing import Any

import click
import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

_RICH_ROWS = 1_000
"""Longer tables are laid out plainly: rich needs most of a millisecond for a row."""


def print_document(document: Any, form: str) -> None:
    """Print a value of dicts, lists and scalars as ``json`` or ``yaml``; keys keep their order."""
    if form == "json":
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
        return
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    click.echo(yaml.dump(document, Dumper=dumper, sort_keys=False, allow_unicode=True), nl=False)


def print_table(title: str, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a titled table; without rows its headers and ``(empty)``."""
    upper = [header.upper() for header in headers]
    if sys.stdout.isatty() and len(rows) <= _RICH_ROWS:
        console = Console(file=sys.stdout, highlight=False)
        console.print(Text(title, style="bold"))
        console.print(rich_table(upper, rows))
    else:
        click.echo("\n".join([title, *plain_table(upper, rows)]))
    if not rows:
        click.echo("(empty)")


def rich_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Return a table that folds cells where the terminal is too narrow."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="")
    for header in headers:
        table.add_column(Text(header), overflow="fold")
    for row in rows:
        # Text, since a str would be read as markup: "[fd00::1]:80" would vanish.
        table.add_row(*map(Text, row))
    return table


def plain_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return one line for the headers and one for each row, columns aligned, nothing cut."""
    lines = [headers, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
