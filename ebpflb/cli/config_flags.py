"""kube-proxy's flags as click options: one of each row of ``core``'s table, spelled and written as kube-proxy takes it.

Decides how a flag is written: ``--flag``, ``--flag=true`` and ``--flag=false`` for those that switch, ``-v 4`` and
``-v=4``, and that any may be repeated. What it says is read where the file's fields are.

    argv --> given_flags(context) = {"--cluster-cidr": ("10.244.0.0/16",)} --> configure
"""

from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar

import click
from msgspec import inspect

from ebpflb.core.proxy_config_flags import DEPRECATED, FLAGS, Flag, Given

_Command = TypeVar("_Command", bound=Callable[..., Any])
_STORE: Final = "ebpflb.given_flags"
_APART: Final = {"--kubeconfig"}
"""Flags that ``run`` checks itself: the file must exist."""


class KubeProxyOption(click.Option):
    """A flag of kube-proxy's."""


class RunCommand(click.Command):
    """Lists kube-proxy's flags apart from ebpflb's own, which come first."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write both lists."""
        for title, is_theirs in (("Options", False), ("kube-proxy's flags", True)):
            options = [each for each in self.get_params(ctx) if isinstance(each, KubeProxyOption) is is_theirs]
            records = [record for each in options if (record := each.get_help_record(ctx)) is not None]
            with formatter.section(title):
                formatter.write_dl(records)


def kube_proxy_options(command: _Command) -> _Command:
    """Add every flag that stands for a field of the configuration."""
    for make in reversed(list(_options())):
        command = make(command)
    return command


def switch_option(name: str, help_text: str) -> Callable[[_Command], _Command]:
    """Return an option that is on as ``--name`` and ``--name=true``, off as ``--name=false``."""
    return click.option(name, cls=KubeProxyOption, is_flag=False, flag_value="true", type=bool, help=help_text)


def given_flags(context: click.Context) -> Given:
    """Return the texts of each flag that was given."""
    flags: Given = context.meta.get(_STORE, {})
    return flags


def _options() -> Iterator[Callable[[Any], Any]]:
    for flag in FLAGS:
        if flag.name not in _APART:
            yield _option(flag)
    for name, instead in DEPRECATED.items():
        yield click.option(
            name, cls=KubeProxyOption, multiple=True, expose_value=False, callback=_store(name), metavar="PORT",
            help=f"Deprecated: use {instead}.",
        )  # fmt: skip


def _option(flag: Flag) -> Callable[[Any], Any]:
    kind = flag.kind
    is_switch = isinstance(kind.kind, inspect.BoolType)
    names = ["-v", flag.name] if flag.name == "--v" else [flag.name]
    return click.option(
        *names,
        cls=KubeProxyOption,
        multiple=True,
        expose_value=False,
        callback=_store(flag.name),
        help=f"{str(kind.schema['description']).replace('`', '')}  [{flag.paths[0]}]",
        **({"is_flag": False, "flag_value": "true", "metavar": "[BOOL]"} if is_switch else {"metavar": "VALUE"}),
    )


def _store(name: str) -> Callable[[click.Context, click.Parameter, tuple[str, ...]], None]:
    def store(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> None:
        is_short = len(parameter.opts) > 1
        if values:
            texts = tuple(value.removeprefix("=") if is_short else value for value in values)
            context.meta.setdefault(_STORE, {})[name] = texts

    return store
