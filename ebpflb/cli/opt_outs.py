"""The flags that say whom the socket hooks leave alone besides the pods that say so themselves.

click option -> glob patterns -> ``run``
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from ebpflb.cli.options import split_patterns
from ebpflb.core.opt_out import RUNTIME_CLASSES

_Command = TypeVar("_Command", bound=Callable[..., Any])


def _absolute(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    patterns = split_patterns(context, parameter, values)
    for pattern in patterns:
        if not Path(pattern).is_absolute():
            raise click.BadParameter(
                f"{pattern!r} is no absolute path: write /run/netns/{pattern} for a named namespace"
            )
    return patterns


def socket_opt_out_option(command: _Command) -> _Command:
    """Add ``--socket-opt-out``."""
    return click.option(
        "--socket-opt-out",
        "socket_opt_outs",
        multiple=True,
        metavar="GLOB,...",
        callback=_absolute,
        help="Network namespaces, as glob patterns of paths (/run/netns/vm-*), whose sockets are left to the packet "
        'hooks. May be repeated. Pods say it themselves, by the annotation ebpflb.io/socket-lb: "false".',
    )(command)


def opt_out_runtime_class_option(command: _Command) -> _Command:
    """Add ``--opt-out-runtime-class``."""
    return click.option(
        "--opt-out-runtime-class",
        "opt_out_runtime_classes",
        multiple=True,
        default=RUNTIME_CLASSES,
        show_default=True,
        metavar="GLOB,...",
        callback=split_patterns,
        help="RuntimeClasses, as glob patterns, whose pods are left to the packet hooks; an empty one names none. May "
        "be repeated.",
    )(command)
