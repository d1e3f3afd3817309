"""Namespaces that a test makes and loses again, and a program that passes every packet.

with namespace("a") as path: ...  ->  ip netns add/del
"""

import os
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ebpflb.host import syscalls

_SCHED_CLS = 3
_PASS_ON = struct.pack("=BBhi", 0xB7, 0, 0, -1) + struct.pack("=BBhi", 0x95, 0, 0, 0)
"""r0 = TC_ACT_UNSPEC; exit."""


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def enter(path: Path) -> None:
    """Move the calling thread."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        syscalls.setns(descriptor, syscalls.CLONE_NEWNET)
    finally:
        os.close(descriptor)


@contextmanager
def namespace(suffix: str) -> Iterator[Path]:
    """Make a named network namespace with its loopback up."""
    name = f"ebpflb-t-{os.getpid()}-{suffix}"
    run("ip", "netns", "add", name)
    try:
        run("ip", "-n", name, "link", "set", "lo", "up")
        yield Path("/run/netns") / name
    finally:
        run("ip", "netns", "del", name)


@contextmanager
def inside(path: Path) -> Iterator[None]:
    """Run the block, and threads that it starts, in a network namespace."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        enter(path)
        yield
    finally:
        syscalls.setns(home, syscalls.CLONE_NEWNET)
        os.close(home)


@contextmanager
def pass_all_program(name: str) -> Iterator[int]:
    """Load a tc program that has no opinion on any packet."""
    descriptor = syscalls.load_program(_SCHED_CLS, 0, _PASS_ON, name.encode()[:15])
    try:
        yield descriptor
    finally:
        os.close(descriptor)
