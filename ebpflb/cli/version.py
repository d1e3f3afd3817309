"""``ebpflb version``: the version of this package and of the map schema that it writes."""

from importlib.metadata import version

import click

from ebpflb.datapath.layout import SCHEMA_VERSION


@click.command()
def command() -> None:
    """Show the version."""
    click.echo(f"ebpflb {version('ebpflb')}")
    click.echo(f"map schema {SCHEMA_VERSION}")
