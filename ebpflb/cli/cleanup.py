"""``ebpflb cleanup``: removes what an instance left in the kernel and on disk, and says what.

Decides the order: filters and links first, so that no packet meets a program whose maps are half gone. Holds the
instance's lock meanwhile, so that no agent starts in between; the empty lock file stays (``host/lock.py`` says why).

    instance -> tc filters -> pins (links, programs, maps) -> status file -> "removed ..." lines
"""

from collections.abc import Iterator
from pathlib import Path

import click

from ebpflb.cli.options import bpffs_option, instance_option, require_root, state_dir_option
from ebpflb.cli.pinned import instances
from ebpflb.cli.state import instances_with_state, status_file
from ebpflb.datapath.pins import Pins
from ebpflb.errors import InstanceBusyError
from ebpflb.host.inventory import Link
from ebpflb.host.lock import InstanceLock, holder_of
from ebpflb.host.tc import detach, list_ours


@click.command()
@instance_option
@click.option("--all", "every", is_flag=True, help="Every instance on this machine.")
@bpffs_option
@state_dir_option
def command(instance: str, every: bool, bpffs: Path, state_dir: Path) -> None:
    """Remove every pin, filter, program and state file of an instance.

    tc filters are removed in the current network namespace. Refuses while an agent runs the instance.
    """
    require_root("cleanup")
    names = _everything(bpffs, state_dir) if every else [instance]
    for name in names:
        _refuse_if_running(name, state_dir)
    removed = 0
    for name in names:
        for line in _remove(Pins(bpffs, name), state_dir):
            removed += 1
            click.echo(f"removed {line}")
    if not removed:
        click.echo("nothing to remove")


def _everything(bpffs: Path, state_dir: Path) -> list[str]:
    attached = {found.instance for found in list_ours()}
    return sorted(attached | {*instances(bpffs), *instances_with_state(state_dir)})


def _refuse_if_running(instance: str, state_dir: Path) -> None:
    """Look before anything is removed, with ``--all`` for every instance."""
    holder = holder_of(instance, state_dir)
    if holder is not None:
        raise InstanceBusyError(
            f"instance {instance}: an agent runs it, process {holder}",
            remedy=f"stop it first: kill {holder}",
        )


def _remove(pins: Pins, state_dir: Path) -> Iterator[str]:
    status = status_file(state_dir, pins.instance).path
    if not (pins.root.exists() or status.exists() or list_ours(pins.instance)):
        return  # without a trace not even a lock file is made
    with InstanceLock(pins.instance, state_dir):
        yield from _remove_filters(pins.instance)
        for pin in pins.remove():
            yield f"pin {pin}"
        if status.exists():
            status.unlink()
            yield f"file {status}"


def _remove_filters(instance: str) -> Iterator[str]:
    attached = list_ours(instance)
    for ifindex, device in sorted({(found.ifindex, found.device) for found in attached}):
        # Who made clsact is not known any more; without a filter it does nothing, whoever made it.
        for change in detach(Link(ifindex, device), instance, remove_clsact=True):
            yield f"tc: {change}"
