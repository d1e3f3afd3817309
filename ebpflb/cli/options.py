"""Flags that several verbs share, and the checks of their values.

click option -> validated value -> a verb's parameter
"""

import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from ebpflb.errors import PrerequisiteError

_Command = TypeVar("_Command", bound=Callable[..., Any])
_INSTANCE: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")


def _check_instance(context: click.Context, parameter: click.Parameter, value: str) -> str:
    del context, parameter
    if not _INSTANCE.fullmatch(value):
        raise click.BadParameter(
            f"{value!r} must be 1 to 32 lower-case letters, digits and '-', beginning with a letter or digit"
        )
    return value


def instance_option(command: _Command) -> _Command:
    """Add ``--instance``."""
    return click.option(
        "--instance",
        default="default",
        show_default=True,
        metavar="NAME",
        callback=_check_instance,
        help="Which of several agents on one kernel.",
    )(command)


def bpffs_option(command: _Command) -> _Command:
    """Add ``--bpffs``."""
    return click.option(
        "--bpffs",
        type=click.Path(path_type=Path),
        default=Path("/sys/fs/bpf"),
        show_default=True,
        metavar="DIR",
        help="Where bpffs is mounted.",
    )(command)


def cgroup_option(command: _Command) -> _Command:
    """Add ``--cgroup``."""
    return click.option(
        "--cgroup",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        metavar="DIR",
        help="Folder of the cgroup v2 tree whose sockets are served.  [default: the root, from the mount table]",
    )(command)


def uplink_devices_option(command: _Command) -> _Command:
    """Add ``--uplink-devices``."""
    return click.option(
        "--uplink-devices",
        multiple=True,
        metavar="PATTERN,...",
        callback=split_patterns,
        help="Devices that traffic from outside comes in by, as glob patterns: the NICs, and also the overlay devices "
        "(vxlan.*, flannel.*) by which pods of other nodes are reached. May be repeated.",
    )(command)


def split_patterns(context: click.Context, parameter: click.Parameter, values: Iterable[str]) -> tuple[str, ...]:
    """Return the glob patterns in values that may hold several each."""
    del context, parameter
    return tuple(part.strip() for value in values for part in value.split(",") if part.strip())


def state_dir_option(command: _Command) -> _Command:
    """Add ``--state-dir``."""
    return click.option(
        "--state-dir",
        type=click.Path(path_type=Path),
        default=Path("/run/ebpflb"),
        show_default=True,
        metavar="DIR",
        help="Where the status of each instance is.",
    )(command)


def output_option(command: _Command) -> _Command:
    """Add ``-o``."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice(["table", "json", "yaml"]),
        default="table",
        show_default=True,
        help="Form of the output.",
    )(command)


def require_root(verb: str) -> None:
    """Raise ``PrerequisiteError`` unless the process may use bpf(2) and bpffs."""
    if os.geteuid() != 0:
        raise PrerequisiteError(f"{verb} needs root: BPF maps and programs are closed to others", remedy="use sudo")
