"""``ebpflb cleanup``: removes what an instance left in the kernel and on disk, and says what.

Decides the order: filters and links first, so that no packet meets a program whose maps are half gone. Holds the
instance's lock meanwhile, so that no agent starts in between; the empty lock file stays (``host/lock.py`` says why).

    instance -> tc filters -> pins (links, programs, maps) -> state files -> "removed ..." lines
"""

from collections.abc import Collection, Iterator
from pathlib import Path
from socket import if_nameindex

import click

from ebpflb.agent.config import clsact_path, status_path
from ebpflb.agent.hooks import ClsactRecord
from ebpflb.cli.options import bpffs_option, instance_option, require_root, state_dir_option
from ebpflb.cli.pinned import instances
from ebpflb.cli.state import instances_with_state
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
    files = [path(state_dir, pins.instance) for path in (status_path, clsact_path)]
    if not (pins.root.exists() or any(file.exists() for file in files) or list_ours(pins.instance)):
        return  # without a trace not even a lock file is made
    with InstanceLock(pins.instance, state_dir):
        yield from _remove_filters(pins.instance, ClsactRecord(clsact_path(state_dir, pins.instance)).indexes())
        for pin in pins.remove():
            yield f"pin {pin}"
        for file in files:
            if file.exists():
                file.unlink()
                yield f"file {file}"


def _remove_filters(instance: str, own_clsact: Collection[int]) -> Iterator[str]:
    """Take our filters off all devices; clsact too, where the agent made it and nobody else uses it by now."""
    devices = {Link(found.ifindex, found.device) for found in list_ours(instance)}
    devices |= {Link(ifindex, name) for ifindex, name in if_nameindex() if ifindex in own_clsact}
    for device in sorted(devices, key=lambda link: link.ifindex):
        for change in detach(device, instance, remove_clsact=device.ifindex in own_clsact):
            yield f"tc {change}"
