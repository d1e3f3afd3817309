"""BPF links at the XDP hook and the programs behind them: made, pinned, updated, named. bpf(2) without libbpf.

Decides nothing: which device gets a link is ``xdp.py``'s business. Raises ``OSError``; what is gone is ``None``. A link
lives as long as its pin or a descriptor; netlink cannot remove it, and it falls off when its device goes.

    xdp.py -> create, update, detach, find_owner -> bpf(2)
"""

import ctypes
import errno
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ebpflb.host import syscalls

_OBJ_PIN: Final = 6  # enum bpf_cmd
_PROG_GET_FD_BY_ID: Final = 13
_OBJ_GET_INFO_BY_FD: Final = 15
_LINK_CREATE: Final = 28
_LINK_UPDATE: Final = 29
_LINK_GET_FD_BY_ID: Final = 30
_LINK_GET_NEXT_ID: Final = 31
_LINK_DETACH: Final = 34
_ATTACH_XDP: Final = 37  # enum bpf_attach_type
_LINK_TYPE_XDP: Final = 6  # enum bpf_link_type

_LINK_INFO: Final = struct.Struct("=IIIIII")  # struct bpf_link_info: type, id, prog_id, pad, xdp.ifindex, pad
_PROG_INFO: Final = struct.Struct("=II8s48x16s")  # struct bpf_prog_info: type, id, tag, ..., name


@dataclass(frozen=True, slots=True)
class XdpLink:
    """What the kernel says of a link."""

    id: int
    program_id: int
    ifindex: int
    """In the network namespace of the device; 0: the device is gone, or somebody detached the link."""


@dataclass(frozen=True, slots=True)
class ProgramName:
    """How a program is told to a person."""

    id: int
    name: str
    tag: str

    def __str__(self) -> str:
        """Return the words of ``bpftool prog``."""
        return f"program {self.id} (name {self.name or 'none'}, tag {self.tag})"


def create(program: int, ifindex: int, flags: int) -> int:
    """Attach a program to a device of the calling thread's network namespace; return the link's descriptor."""
    return syscalls.bpf(_LINK_CREATE, struct.pack("=IIII", program, ifindex, _ATTACH_XDP, flags))[0]


def pin(descriptor: int, path: Path) -> None:
    """Keep a link alive under a name."""
    name = ctypes.create_string_buffer(os.fsencode(path))
    syscalls.bpf(_OBJ_PIN, struct.pack("=QII", ctypes.addressof(name), descriptor, 0))


def update(path: Path, program: int) -> None:
    """Have a pinned link run another program, from one packet to the next."""
    with _opened(path) as link:
        syscalls.bpf(_LINK_UPDATE, struct.pack("=IIII", link, program, 0, 0))


def detach(path: Path) -> None:
    """Take a pinned link off its device at once, and remove the pin; one that is gone is no error.

    Removing the pin alone would detach as well, but some time after.
    """
    with suppress(FileNotFoundError):
        with _opened(path) as link, suppress(OSError):
            syscalls.bpf(_LINK_DETACH, struct.pack("=I", link))
        path.unlink()


def read_pinned(path: Path) -> XdpLink | None:
    """Return what the kernel says of a pinned link; ``None``: there is no such pin, or it is something else."""
    try:
        with _opened(path) as link:
            return _read_link(link)
    except FileNotFoundError:
        return None


def find_owner(ifindex: int, program_id: int) -> XdpLink | None:
    """Return the link by which a program is on a device; ``None``: it was attached through netlink."""
    for number in _link_ids():
        # Gone; or in the making (EAGAIN): such a link has its number, and is nobody's yet.
        with suppress(FileNotFoundError, BlockingIOError), _by_id(_LINK_GET_FD_BY_ID, number) as descriptor:
            link = _read_link(descriptor)
            if link is not None and (link.ifindex, link.program_id) == (ifindex, program_id):
                return link
    return None


def describe_program(number: int) -> ProgramName | None:
    """Return how a program is called; ``None``: it is gone."""
    try:
        with _by_id(_PROG_GET_FD_BY_ID, number) as descriptor:
            return read_program(descriptor)
    except FileNotFoundError:
        return None


def read_program(descriptor: int) -> ProgramName:
    """Return how an open program is called."""
    _, number, tag, name = _PROG_INFO.unpack(_read_info(descriptor, _PROG_INFO.size))
    return ProgramName(number, name.rstrip(b"\0").decode(), tag.hex())


def _read_link(descriptor: int) -> XdpLink | None:
    try:
        kind, number, program_id, _, ifindex, _ = _LINK_INFO.unpack(_read_info(descriptor, _LINK_INFO.size))
    except OSError as error:
        if error.errno == errno.EINVAL:  # a pin of something that is no link
            return None
        raise
    return XdpLink(number, program_id, ifindex) if kind == _LINK_TYPE_XDP else None


def _read_info(descriptor: int, size: int) -> bytes:
    buffer = ctypes.create_string_buffer(size)
    syscalls.bpf(_OBJ_GET_INFO_BY_FD, struct.pack("=IIQ", descriptor, size, ctypes.addressof(buffer)))
    return buffer.raw


def _link_ids() -> Iterator[int]:
    number = 0
    while True:
        try:
            _, answer = syscalls.bpf(_LINK_GET_NEXT_ID, struct.pack("=II", number, 0))
        except FileNotFoundError:
            return
        (number,) = struct.unpack_from("=I", answer, 4)
        yield number


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = syscalls.open_pinned(path)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _by_id(command: int, number: int) -> Iterator[int]:
    descriptor, _ = syscalls.bpf(command, struct.pack("=III", number, 0, 0))
    try:
        yield descriptor
    finally:
        os.close(descriptor)
