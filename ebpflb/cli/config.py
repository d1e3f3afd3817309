"""``ebpflb config``: what may stand in the configuration file, for people and for editors.

Decides the verbs; the words are the schema's.

    schema --> JSON schema, Markdown on stdout
"""

import json

import click


@click.group()
def command() -> None:
    """Describe the configuration file: every field, and its JSON schema."""


@command.command()
def schema() -> None:
    """Print the JSON schema of the file, for editors and CI."""
    from ebpflb.cli.config_reference import json_schema  # noqa: PLC0415 - `--help` needs none of it

    click.echo(json.dumps(json_schema(), indent=2, ensure_ascii=False))


@command.command()
def reference() -> None:
    """Print every field in Markdown: its flag, its default, and what it does."""
    from ebpflb.cli.config_reference import reference as text  # noqa: PLC0415 - as above

    click.echo(text(), nl=False)
