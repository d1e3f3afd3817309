"""Prints what the verbs found: JSON, YAML, or tables. Knows no map and no status.

Decides the look only: a row is a line, whatever its length, for grep and for a terminal alike. Rich's tables chop
addresses to fit a narrow terminal and take most of a millisecond for a row; a flow table has half a million.

    value -> print_document (json, yaml)          title, headers, rows -> print_table
"""

import json
from collections.abc import Sequence
from typing import Any

import click
import yaml


def print_document(document: Any, form: str) -> None:
    """Print a value of dicts, lists and scalars as ``json`` or ``yaml``; keys keep their order."""
    if form == "json":
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
        return
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    click.echo(yaml.dump(document, Dumper=dumper, sort_keys=False, allow_unicode=True), nl=False)


def print_table(title: str, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a titled table; without rows its headers and ``(empty)``."""
    click.secho(title, bold=True)
    click.echo("\n".join(table_lines([header.upper() for header in headers], rows)))
    if not rows:
        click.echo("(empty)")


def table_lines(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return one line for the headers and one for each row, columns aligned, nothing cut."""
    lines = [headers, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
