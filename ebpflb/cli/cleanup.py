"""``ebpflb cleanup``: removes what an instance left in the kernel and on disk, and says what.

Decides the order: filters and XDP first, then links, so that no packet meets a program whose maps are half gone. Holds
the locks of all that it removes, so that no agent runs or starts meanwhile; each lock is the folder of pins, which
therefore goes last.

    instance -> lock -> tc filters, XDP -> state files -> pins (links, programs, maps) -> "removed ..." lines
"""

from collections.abc import Collection, Iterator
from contextlib import ExitStack
from pathlib import Path
from socket import if_nameindex

import click

from ebpflb.agent.config import clsact_path, status_path
from ebpflb.agent.hooks import ClsactRecord
from ebpflb.cli.options import bpffs_option, instance_option, require_root, state_dir_option
from ebpflb.cli.pinned import instances
from ebpflb.cli.state import instances_with_state
from ebpflb.datapath.pins import Pins
from ebpflb.host.links import Link
from ebpflb.host.lock import InstanceLock
from ebpflb.host.tc import detach, list_ours
from ebpflb.host.xdp import detach as detach_xdp


@click.command()
@instance_option
@click.option("--all", "every", is_flag=True, help="Every instance on this machine.")
@bpffs_option
@state_dir_option
def command(instance: str, every: bool, bpffs: Path, state_dir: Path) -> None:
    """Remove every pin, filter, program and state file of an instance.

    tc filters are removed in the current network namespace, XDP programs wherever their devices are. Refuses while an
    agent runs the instance.
    """
    require_root("cleanup")
    names = _everything(bpffs, state_dir) if every else [instance]
    removed = 0
    with ExitStack() as locks:
        found = [pins for name in names if _has_left_something(pins := Pins(bpffs, name), state_dir)]
        for pins in found:
            locks.enter_context(InstanceLock(pins.instance, pins.root))
        for pins in found:
            for line in _remove(pins, state_dir):
                removed += 1
                click.echo(f"removed {line}")
    if not removed:
        click.echo("nothing to remove")


def _everything(bpffs: Path, state_dir: Path) -> list[str]:
    attached = {found.instance for found in list_ours()}
    return sorted(attached | {*instances(bpffs), *instances_with_state(state_dir)})


def _has_left_something(pins: Pins, state_dir: Path) -> bool:
    """Say whether there is a trace of an instance: without any, not even its lock is made."""
    files = _state_files(pins.instance, state_dir)
    return pins.root.exists() or any(file.exists() for file in files) or bool(list_ours(pins.instance))


def _state_files(instance: str, state_dir: Path) -> list[Path]:
    return [path(state_dir, instance) for path in (status_path, clsact_path)]


def _remove(pins: Pins, state_dir: Path) -> Iterator[str]:
    yield from _remove_filters(pins.instance, ClsactRecord(clsact_path(state_dir, pins.instance)).indexes())
    yield from _remove_xdp(pins.xdp_links)
    for file in _state_files(pins.instance, state_dir):
        if file.exists():
            file.unlink()
            yield f"file {file}"
    for pin in pins.remove():
        yield f"pin {pin}"


def _remove_filters(instance: str, own_clsact: Collection[int]) -> Iterator[str]:
    """Take our filters off all devices; clsact too, where the agent made it and nobody else uses it by now."""
    devices = {Link(found.ifindex, found.device) for found in list_ours(instance)}
    devices |= {Link(ifindex, name) for ifindex, name in if_nameindex() if ifindex in own_clsact}
    for device in sorted(devices, key=lambda link: link.ifindex):
        for change in detach(device, instance, remove_clsact=device.ifindex in own_clsact):
            yield f"tc {change}"


def _remove_xdp(links: Path) -> Iterator[str]:
    names = {str(ifindex): name for ifindex, name in if_nameindex()}
    for pin in sorted(links.iterdir()) if links.is_dir() else ():
        for change in detach_xdp(names.get(pin.name, f"device {pin.name}"), pin):
            yield f"xdp {change}"
