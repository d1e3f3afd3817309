"""The kernel's BPF objects through ``libbpf.so.1``: opens, inspects, loads and runs them, and owns their descriptors.

Decides how a failed call reads to a person (operation, object, remedy). Knows no map by name, no layout, no numpy;
never bcc, which would bring LLVM into the agent's memory.

    path or bytes -> libbpf (ctypes) -> Handle (an owned descriptor), MapInfo, ProgInfo, TestRun, BTF bytes
"""

import ctypes
import errno
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Self

from ebpflb.datapath import bpfabi
from ebpflb.errors import MapError, MapFullError, PrerequisiteError

_SONAME = "libbpf.so.1"
_PRIVILEGE_REMEDY = "run as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON"
_LICENSE = b"GPL"


@cache
def library() -> ctypes.CDLL:
    """Return ``libbpf.so.1``, loaded once."""
    try:
        lib = ctypes.CDLL(_SONAME)
    except OSError as error:
        raise PrerequisiteError(
            f"{_SONAME} cannot be loaded ({error})",
            remedy="install it with `apt-get install libbpf1` (python3-bpfcc depends on it)",
        ) from error
    for name, argtypes in bpfabi.PROTOTYPES.items():
        function = getattr(lib, name)
        function.argtypes = argtypes
        function.restype = ctypes.c_int
    return lib


def call(name: str, *arguments: object) -> int:
    """Call a libbpf function; return its result, which is the negated errno on failure (libbpf 1.x)."""
    result: int = getattr(library(), name)(*arguments)
    return result


def failure(operation: str, subject: str, number: int) -> MapError | PrerequisiteError:
    """Return the error for a failed call: what was tried, on what, why, and what to do."""
    if number in {errno.EPERM, errno.EACCES}:
        return PrerequisiteError(f"{operation} {subject}: {os.strerror(number)}", remedy=_PRIVILEGE_REMEDY)
    return map_error(operation, subject, number)


def map_error(operation: str, subject: str, number: int) -> MapError:
    """Return the error for a row or a map: ``MapFullError`` for E2BIG."""
    if number == errno.E2BIG:  # "Argument list too long" is execve()'s meaning of it
        return MapFullError(
            f"{operation} {subject}: the map has no room for another entry",
            remedy="give the map more entries with `ebpflb run --map-size NAME=ENTRIES`, after `ebpflb cleanup`",
        )
    return MapError(f"{operation} {subject}: {os.strerror(number)}")


class Handle:
    """An owned file descriptor of a map, program, link or BTF object. A context manager; closing twice is harmless."""

    __slots__ = ("_fd", "subject")

    def __init__(self, fd: int, subject: str) -> None:
        self._fd = fd
        self.subject = subject

    def fileno(self) -> int:
        """Return the descriptor; raises ``MapError`` once closed."""
        if self._fd < 0:
            raise MapError(f"use {self.subject}: already closed")
        return self._fd

    def close(self) -> None:
        """Close the descriptor."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> Self:
        """Return the handle itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the descriptor."""
        self.close()


def own(operation: str, subject: str, result: int) -> Handle:
    """Return the handle for a call's result, or raise its error."""
    if result < 0:
        raise failure(operation, subject, -result)
    return Handle(result, subject)


def obj_get(path: Path) -> Handle:
    """Open a pinned map, program or link."""
    return own("open pin", str(path), call("bpf_obj_get", os.fsencode(path)))


def obj_pin(handle: Handle, path: Path) -> None:
    """Pin an object at ``path``, which must not exist and must lie on bpffs."""
    result = call("bpf_obj_pin", handle.fileno(), os.fsencode(path))
    if result < 0:
        raise failure("pin", f"{handle.subject} at {path}", -result)


@dataclass(frozen=True, slots=True)
class MapInfo:
    """What the kernel says of a map."""

    id: int
    name: str
    """At most 15 characters."""
    type: int
    key_size: int
    value_size: int
    max_entries: int
    flags: int
    btf_id: int
    """0: the map carries no BTF."""
    btf_key_type_id: int
    btf_value_type_id: int


@dataclass(frozen=True, slots=True)
class ProgInfo:
    """What the kernel says of a program."""

    id: int
    name: str
    type: int
    tag: str
    """Hash of the instructions, in hexadecimal."""


def read_info(handle: Handle, info: ctypes.Structure) -> None:
    """Fill a structure of ``bpfabi`` with what the kernel says of an object."""
    size = ctypes.c_uint32(ctypes.sizeof(info))
    result = call("bpf_obj_get_info_by_fd", handle.fileno(), ctypes.byref(info), ctypes.byref(size))
    if result < 0:
        raise failure("inspect", handle.subject, -result)


def map_info(handle: Handle) -> MapInfo:
    """Return what the kernel says of a map."""
    info = bpfabi.MapInfo()
    read_info(handle, info)
    return MapInfo(
        id=info.id,
        name=info.name.decode(),
        type=info.type,
        key_size=info.key_size,
        value_size=info.value_size,
        max_entries=info.max_entries,
        flags=info.map_flags,
        btf_id=info.btf_id,
        btf_key_type_id=info.btf_key_type_id,
        btf_value_type_id=info.btf_value_type_id,
    )


def prog_info(handle: Handle) -> ProgInfo:
    """Return what the kernel says of a program."""
    info = bpfabi.ProgInfo()
    read_info(handle, info)
    return ProgInfo(id=info.id, name=info.name.decode(), type=info.type, tag=bytes(info.tag).hex())


def btf_bytes(btf_id: int) -> bytes:
    """Return a BTF object of the kernel, as it was loaded."""
    subject = f"BTF {btf_id}"
    with own("open", subject, call("bpf_btf_get_fd_by_id", btf_id)) as handle:
        info = bpfabi.BtfInfo()
        read_info(handle, info)
        buffer = ctypes.create_string_buffer(info.btf_size)
        info = bpfabi.BtfInfo(btf=ctypes.addressof(buffer), btf_size=len(buffer))
        read_info(handle, info)
        return buffer.raw


@cache
def possible_cpus() -> int:
    """Return the number of CPUs that a per-CPU value has room for."""
    result = call("libbpf_num_possible_cpus")
    if result <= 0:
        raise failure("count", "possible CPUs", -result)
    return result


@dataclass(frozen=True, slots=True)
class TestRun:
    """The outcome of BPF_PROG_TEST_RUN."""

    __test__ = False  # pytest would take the name for a test class

    retval: int
    data: bytes
    """The packet as the program left it."""
    duration_ns: int
    """Mean of all repetitions."""
    ctx: bytes
    """The context as the program left it; empty when none was given."""


def prog_test_run(
    program: Handle, data_in: bytes, *, ctx: bytes = b"", repeat: int = 1, data_out_size: int | None = None
) -> TestRun:
    """Run a program on a packet. ``data_out_size`` bounds the result: its default leaves 256 bytes to grow."""
    out = ctypes.create_string_buffer(len(data_in) + 256 if data_out_size is None else data_out_size)
    packet = ctypes.create_string_buffer(data_in, len(data_in))
    ctx_in, ctx_out = ctypes.create_string_buffer(ctx, len(ctx)), ctypes.create_string_buffer(len(ctx))
    options = bpfabi.TestRunOpts(
        sz=ctypes.sizeof(bpfabi.TestRunOpts),
        data_in=ctypes.addressof(packet),
        data_size_in=len(data_in),
        data_out=ctypes.addressof(out) if len(out) else None,
        data_size_out=len(out),
        ctx_in=ctypes.addressof(ctx_in) if ctx else None,
        ctx_size_in=len(ctx),
        ctx_out=ctypes.addressof(ctx_out) if ctx else None,
        ctx_size_out=len(ctx),
        repeat=repeat,
    )
    result = call("bpf_prog_test_run_opts", program.fileno(), ctypes.byref(options))
    if result < 0:
        raise failure("run", program.subject, -result)
    return TestRun(
        options.retval, out.raw[: options.data_size_out], options.duration, ctx_out.raw[: options.ctx_size_out]
    )


def load_program(program_type: int, name: str, instructions: bytes, *, attach_type: int = 0) -> Handle:
    """Load raw instructions (8 bytes each) as a program; ``attach_type``: of the hook, where the type has several."""
    count = len(instructions) // bpfabi.INSTRUCTION_BYTES
    options = bpfabi.ProgLoadOpts(sz=ctypes.sizeof(bpfabi.ProgLoadOpts), expected_attach_type=attach_type)
    result = call("bpf_prog_load", program_type, name.encode(), _LICENSE, instructions, count, ctypes.byref(options))
    return own("load", f"program {name}", result)
