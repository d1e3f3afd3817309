"""The system calls that Python 3.11 does not offer: bpf, setns, mount, inotify. Decides nothing; raises ``OSError``.

Must not know what a program or a namespace is used for. ``datapath`` reaches maps through libbpf; this module stays
free of it, because ``ebpflb doctor`` must still run on a machine where libbpf is missing.

    probe, tc, bpf_links -> bpf(2)        namespaces -> setns(2)        mounts -> mount(2)        inotify -> inotify(7)
"""

import ctypes
import os
import platform
import struct
from pathlib import Path
from typing import Final

CLONE_NEWNET: Final = 0x40000000
_BPF_PROG_LOAD: Final = 5
_BPF_OBJ_GET: Final = 7
_BPF_CALL_NUMBERS: Final = {
    "x86_64": 321,
    "aarch64": 280,
    "riscv64": 280,
    "loongarch64": 280,
    "ppc64le": 361,
    "s390x": 351,
    "armv7l": 386,
}
_ATTR_BYTES: Final = 128
"""Size of the attribute block handed to bpf(2); older kernels accept it as long as what they don't know is zero."""

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def bpf(command: int, attributes: bytes) -> tuple[int, bytes]:
    """Make the system call; return its result, and the attributes as the kernel left them."""
    number = _BPF_CALL_NUMBERS.get(platform.machine())
    if number is None:
        raise OSError(f"bpf(2) has no known number on {platform.machine()}")
    block = ctypes.create_string_buffer(attributes.ljust(_ATTR_BYTES, b"\0"), _ATTR_BYTES)
    arguments = (ctypes.c_long(number), ctypes.c_int(command), block, ctypes.c_uint(_ATTR_BYTES))
    return _checked(_libc.syscall(*arguments), "bpf"), block.raw


def open_pinned(path: Path) -> int:
    """Return a descriptor of the program, map or link pinned at ``path``."""
    name = ctypes.create_string_buffer(os.fsencode(path))
    return bpf(_BPF_OBJ_GET, struct.pack("=QII", ctypes.addressof(name), 0, 0))[0]


def load_program(kind: int, attach_type: int, instructions: bytes, name: bytes = b"ebpflb_probe") -> int:
    """Load raw instructions as a program of ``enum bpf_prog_type`` ``kind``; return its descriptor."""
    code = ctypes.create_string_buffer(instructions, len(instructions))
    licence = ctypes.create_string_buffer(b"GPL")
    # prog_type, insn_cnt, insns, license, log_level, log_size, log_buf, kern_version, prog_flags, prog_name,
    # prog_ifindex, expected_attach_type
    attributes = struct.pack(
        "=IIQQIIQII16sII",
        *(kind, len(instructions) // 8, ctypes.addressof(code), ctypes.addressof(licence)),
        *(0, 0, 0, 0, 0, name, 0, attach_type),
    )
    return bpf(_BPF_PROG_LOAD, attributes)[0]


def setns(namespace: int, kind: int) -> None:
    """Move the calling thread, and no other, into the namespace that an open descriptor names."""
    _checked(_libc.setns(ctypes.c_int(namespace), ctypes.c_int(kind)), "setns")


def mount(source: str, target: str, filesystem: str) -> None:
    """Mount a pseudo file system with default flags."""
    arguments = (os.fsencode(source), os.fsencode(target), os.fsencode(filesystem), ctypes.c_ulong(0), None)
    _checked(_libc.mount(*arguments), "mount")


def inotify_init() -> int:
    """Return a descriptor that events can be read from, without blocking."""
    return _checked(_libc.inotify_init1(ctypes.c_int(os.O_CLOEXEC | os.O_NONBLOCK)), "inotify_init1")


def inotify_add(descriptor: int, path: Path, mask: int) -> int:
    """Watch a file or folder for the events of ``mask``; return the number of the watch."""
    arguments = (ctypes.c_int(descriptor), os.fsencode(path), ctypes.c_uint32(mask))
    return _checked(_libc.inotify_add_watch(*arguments), "inotify_add_watch")


def inotify_remove(descriptor: int, watch: int) -> None:
    """Drop a watch; one that the kernel has dropped already is no error."""
    _libc.inotify_rm_watch(ctypes.c_int(descriptor), ctypes.c_int(watch))
