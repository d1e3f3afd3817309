"""Attaches our one XDP program to a device by a pinned link, recognises it later, and takes it away again.

Decides what has to change and whose program it is that is there already: another's is named and never touched. Must not
know what the program does, nor which devices deserve it.

    device, mode, program, pin -> attach -> words, or XdpRefusedError with the reason        detach, try_native
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ebpflb.errors import EbpflbError
from ebpflb.host import bpf_links, syscalls
from ebpflb.host.links import Link
from ebpflb.host.rtnetlink import NetlinkError, Rtnetlink
from ebpflb.host.xdp_messages import MODE_FLAGS, XdpMode, XdpState, ask_why, read_state

__all__ = ["XdpMode", "XdpRefusedError", "attach", "detach", "has_unfinished_checksums", "try_native"]

_SOFTWARE_KINDS: Final = frozenset({"veth", "tun"})
_VANISHED: Final = frozenset({errno.ENODEV, errno.ENXIO})
_TAKEN: Final = frozenset({errno.EBUSY, errno.EEXIST})
_XDP: Final = 6  # enum bpf_prog_type
_PASS: Final = bytes.fromhex("b700000002000000 9500000000000000")
"""r0 = XDP_PASS; exit."""


class XdpRefusedError(EbpflbError):
    """A device does not take our program; the message says why. tc serves it all the same."""


def has_unfinished_checksums(device: Link) -> bool:
    """Say whether a device hands over what another namespace or a guest of this machine sent, as it was sent.

    Checksums are left to a card that never comes (CHECKSUM_PARTIAL). An skb knows that, an XDP program does not: what
    it rewrites and transmits is thrown away by its receiver, in silence.
    """
    return device.kind in _SOFTWARE_KINDS


def attach(device: Link, mode: XdpMode, program: Path, pin: Path) -> list[str]:
    """Have a device run the pinned ``program``, by the link pinned at ``pin``; one of an earlier run is adopted.

    Returns the changes in words; none when all was in place, or when the device vanished meanwhile. A new program
    replaces its predecessor from one packet to the next. Raises ``XdpRefusedError`` when another's program is there or
    the kernel does not want ours.
    """
    with _vanishing(), Rtnetlink() as netlink, _opened(program) as descriptor:
        state = read_state(netlink, device.ifindex)
        wanted = bpf_links.read_program(descriptor)
        link = bpf_links.read_pinned(pin)
        if link is not None and _is_on(link, device, state):
            if state.mode is mode:
                if link.program_id == wanted.id:
                    return []
                bpf_links.update(pin, descriptor)
                return [f"{device.name}: replaced {wanted.name} in {mode} mode (program {wanted.id})"]
            state = XdpState()
        bpf_links.detach(pin)  # of another mode or device, or detached by somebody
        if state.program_id:
            raise XdpRefusedError(f"another's {_describe(device, state)}")
        _create(netlink, device, mode, descriptor, pin)
        return [f"{device.name}: attached {wanted.name} in {mode} mode (program {wanted.id})"]
    return []


def detach(device: str, pin: Path) -> list[str]:
    """Take our program off by its pin; return what was done, in words. Asks for no network namespace."""
    link = bpf_links.read_pinned(pin)
    bpf_links.detach(pin)
    return [f"{device}: detached program {link.program_id}"] if link is not None and link.ifindex else []


def try_native(device: Link) -> str:
    """Attach a program that passes everything, in native mode and for a moment; raise ``XdpRefusedError`` if refused.

    Nothing is pinned: whatever ends this process also ends that program. Returns which program is there already, and
    then tries nothing; empty: it works.
    """
    with _vanishing(), Rtnetlink() as netlink:
        state = read_state(netlink, device.ifindex)
        if state.program_id:
            return _describe(device, state)
        descriptor = syscalls.load_program(_XDP, 0, _PASS)
        try:
            os.close(_link(netlink, device, XdpMode.NATIVE, descriptor))
        finally:
            os.close(descriptor)
    return ""


def _is_on(link: bpf_links.XdpLink, device: Link, state: XdpState) -> bool:
    """Tell a link on this device from one on a device of the same index, gone or in another namespace."""
    return link.ifindex == device.ifindex and link.program_id == state.program_id


def _create(netlink: Rtnetlink, device: Link, mode: XdpMode, program: int, pin: Path) -> None:
    link = _link(netlink, device, mode, program)
    try:
        pin.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        bpf_links.pin(link, pin)
    finally:
        os.close(link)


def _link(netlink: Rtnetlink, device: Link, mode: XdpMode, program: int) -> int:
    try:
        return bpf_links.create(program, device.ifindex, MODE_FLAGS[mode])
    except OSError as error:
        if error.errno in _VANISHED:
            raise
        state = read_state(netlink, device.ifindex)
        if error.errno in _TAKEN and state.program_id:  # between our look and now
            raise XdpRefusedError(f"another's {_describe(device, state)}") from error
        words = ask_why(netlink, device.ifindex, program, mode) or os.strerror(error.errno or 0)
        raise XdpRefusedError(f"the kernel refuses {mode} XDP: {words}") from error


def _describe(device: Link, state: XdpState) -> str:
    owner = bpf_links.find_owner(device.ifindex, state.program_id)
    way = "through netlink" if owner is None else f"by link {owner.id}"
    where = f"in {state.mode} mode" if state.mode else "on the card or in several modes"
    name = bpf_links.describe_program(state.program_id) or f"program {state.program_id}"
    return f"{name} is attached {way} {where}"


@contextmanager
def _vanishing() -> Iterator[None]:
    """Let a vanished device pass; what netlink says becomes an error that the agent expects."""
    try:
        yield
    except NetlinkError as error:
        if error.code not in _VANISHED:
            raise EbpflbError(f"netlink refused: {error}") from error
    except OSError as error:
        if error.errno not in _VANISHED:
            raise


@contextmanager
def _opened(program: Path) -> Iterator[int]:
    try:
        descriptor = syscalls.open_pinned(program)
    except OSError as error:
        raise EbpflbError(
            f"the XDP program's pin {program} cannot be opened ({error.strerror})",
            remedy="restart the agent: it builds and pins what is missing",
        ) from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)
