"""Attaches programs to devices at clsact's two hooks, and takes exactly those away again.

Decides what has to change, and whether clsact may go. Must not know what a program does, nor
remember anything: that we created a device's clsact is told to the caller at once, who keeps it.

    device, programs -> attach -> words, on_clsact(ifindex)        detach, list_ours
"""

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ebpflb.core.abi import Family
from ebpflb.errors import EbpflbError, PrerequisiteError
from ebpflb.host import syscalls
from ebpflb.host.link_messages import parse_link
from ebpflb.host.links import Link
from ebpflb.host.pyroute import (
    RTM_DELQDISC,
    RTM_DELTFILTER,
    RTM_GETLINK,
    RTM_GETQDISC,
    RTM_GETTFILTER,
    RTM_NEWQDISC,
    RTM_NEWTFILTER,
    ifinfmsg,
    tcmsg,
)
from ebpflb.host.rtnetlink import NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, Message, NetlinkError, Rtnetlink
from ebpflb.host.tc_messages import (
    CLSACT_PARENT,
    PARENTS,
    Attached,
    FilterMessage,
    TcHook,
    clsact_message,
    filter_message,
    filter_options,
    parse_filter,
)

__all__ = ["Attached", "TcHook", "TcProgram", "attach", "detach", "filters_at", "list_devices", "list_ours"]

_VANISHED: Final = frozenset({errno.ENODEV, errno.ENXIO})


@dataclass(frozen=True, slots=True)
class TcProgram:
    """A loaded program and where it belongs."""

    name: str
    """As in the filter's name: ``lb_uplink_in4``."""
    hook: TcHook
    family: Family
    """Decides which packets reach it: by protocol."""
    source: int | Path
    """An open descriptor, which stays the caller's, or a pin."""


def attach(
    device: Link, programs: Sequence[TcProgram], instance: str, on_clsact: Callable[[int], None] | None = None
) -> list[str]:
    """Put programs on a device, replacing this instance's earlier ones atomically; others' filters stay.

    Earlier ones where there is nothing to replace them, as of a family that is not served any more, are removed.
    Returns the changes in words; none when everything was in place. ``on_clsact`` is called with the interface index as
    soon as clsact had to be created, before anything else can fail: only then may ``detach`` remove it. A device that
    vanishes meanwhile is no error. Raises ``EbpflbError`` for anything else that the kernel refuses.
    """
    changes: list[str] = []
    with _vanishing(device, "attach"), _socket() as netlink:
        if _ensure_clsact(netlink, device):
            _note_clsact(netlink, device, on_clsact)
            changes.append(f"{device.name}: created clsact")
        earlier = list(_ours(netlink, device, instance))
        running = {(found.hook, found.program): found.program_id for found in earlier}
        for program in programs:
            with _descriptor_of(program) as descriptor:
                program_id = _program_id(descriptor)
                before = running.get((program.hook, program.name))
                if before != program_id:
                    _replace_filter(netlink, device, program, instance, descriptor)
                    verb = "attached" if before is None else "replaced"
                    changes.append(f"{device.name}: {verb} {program.name} at {program.hook} (program {program_id})")
        kept = {(program.hook, program.family) for program in programs}
        leaving = [found for found in earlier if (found.hook, found.family) not in kept]
        changes += _remove_filters(netlink, device, leaving)
    return changes


def detach(device: Link, instance: str, *, remove_clsact: bool) -> list[str]:
    """Remove this instance's filters from a device; then clsact, if told to and nothing else is on it."""
    changes: list[str] = []
    with _vanishing(device, "detach"), _socket() as netlink:
        changes += _remove_filters(netlink, device, list(_ours(netlink, device, instance)))
        if remove_clsact and _is_bare(netlink, device):
            with _already_gone():
                netlink.request(clsact_message(device), RTM_DELQDISC)
                changes.append(f"{device.name}: removed clsact")
    return changes


def list_ours(instance: str | None = None) -> list[Attached]:
    """Return the filters of one instance, or of all, on all devices of the calling thread's network namespace."""
    with _socket() as netlink:
        return [found for device in _with_clsact(netlink) for found in _ours(netlink, device, instance)]


def list_devices(instance: str) -> list[Link]:
    """Return the devices of the calling thread's network namespace that have filters of an instance."""
    with _socket() as netlink:
        return [device for device in _with_clsact(netlink) if any(_ours(netlink, device, instance))]


def _with_clsact(netlink: Rtnetlink) -> list[Link]:
    dumped = netlink.dump(tcmsg(), RTM_GETQDISC)
    indexes = {message["index"] for message in dumped if message["parent"] == CLSACT_PARENT}
    links = map(parse_link, netlink.dump(ifinfmsg(), RTM_GETLINK))
    return [link for link in links if link is not None and link.ifindex in indexes]


def _socket() -> Rtnetlink:
    return Rtnetlink(parsers={RTM_NEWTFILTER: FilterMessage})


@contextmanager
def _vanishing(device: Link, action: str) -> Iterator[None]:
    """Let a vanished device pass; name the device in every other refusal."""
    try:
        yield
    except NetlinkError as error:
        if error.code in _VANISHED:
            return
        raise EbpflbError(
            f"device {device.name}: {action}: the kernel refused a tc change ({error.args[-1]})",
            remedy=f"look at other filters with: tc filter show dev {device.name} ingress",
        ) from error
    except OSError as error:
        raise EbpflbError(
            f"device {device.name}: {action}: no netlink socket ({error.strerror})",
            remedy="look at the system's limits",
        ) from error


@contextmanager
def _already_gone() -> Iterator[None]:
    try:
        yield
    except NetlinkError as error:
        if error.code not in {errno.ENOENT, errno.EINVAL}:
            raise


def _ensure_clsact(netlink: Rtnetlink, device: Link) -> bool:
    try:
        netlink.request(clsact_message(device), RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL)
    except NetlinkError as error:
        if error.code != errno.EEXIST:
            raise
    else:
        return True
    for found in netlink.dump(tcmsg(), RTM_GETQDISC):
        if (found["index"], found["parent"]) == (device.ifindex, CLSACT_PARENT) and found.get_attr(
            "TCA_KIND"
        ) == "ingress":
            raise PrerequisiteError(
                f"device {device.name}: has an ingress qdisc, which has no egress hook",
                remedy=f"let its owner use clsact, or remove it: tc qdisc del dev {device.name} ingress",
            )
    return False


def _note_clsact(netlink: Rtnetlink, device: Link, on_clsact: Callable[[int], None] | None) -> None:
    """Tell whose clsact it is. When that cannot be kept, take it back: it would be taken for somebody else's."""
    try:
        if on_clsact is not None:
            on_clsact(device.ifindex)
    except BaseException:
        with _already_gone():
            netlink.request(clsact_message(device), RTM_DELQDISC)
        raise


def _replace_filter(netlink: Rtnetlink, device: Link, program: TcProgram, instance: str, descriptor: int) -> None:
    message = filter_message(device, program.hook, program.family, instance)
    message["attrs"].append(filter_options(instance, program.name, descriptor))
    netlink.request(message, RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_REPLACE)


def _remove_filters(netlink: Rtnetlink, device: Link, filters: Sequence[Attached]) -> Iterator[str]:
    for found in filters:
        message = filter_message(device, found.hook, found.family, found.instance)
        with _already_gone():
            netlink.request(message, RTM_DELTFILTER)
            yield f"{device.name}: detached {found.program} from {found.hook}"


def filters_at(netlink: Rtnetlink, device: Link, hook: TcHook) -> list[Message]:
    """Return the filters of all owners at a hook, with what heads their priorities."""
    request = tcmsg()
    request["index"] = device.ifindex
    request["parent"] = PARENTS[hook]
    return netlink.dump(request, RTM_GETTFILTER)


def _is_bare(netlink: Rtnetlink, device: Link) -> bool:
    return not any(filters_at(netlink, device, hook) for hook in TcHook)


def _ours(netlink: Rtnetlink, device: Link, instance: str | None) -> Iterator[Attached]:
    for hook in TcHook:
        for message in filters_at(netlink, device, hook):
            found = parse_filter(message, device, hook)
            if found is not None and instance in {None, found.instance}:
                yield found


@contextmanager
def _descriptor_of(program: TcProgram) -> Iterator[int]:
    if isinstance(program.source, int):
        yield program.source
        return
    try:
        descriptor = syscalls.open_pinned(program.source)
    except OSError as error:
        raise EbpflbError(
            f"program {program.name}: the pin {program.source} cannot be opened ({error.strerror})",
            remedy="restart the agent: it builds and pins what is missing",
        ) from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _program_id(descriptor: int) -> int | None:
    """Return the kernel's id of a program, from the one place that needs no privilege and no libbpf."""
    for line in Path(f"/proc/self/fdinfo/{descriptor}").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "prog_id":
            return int(value)
    return None
