"""Namespaces that a test makes and loses again, and a program that passes every packet.

with namespace("a") as path: ...  ->  ip netns add/del
"""

import ctypes
import fcntl
import os
import socket
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ebpflb.bench.namespaces import enter
from ebpflb.host import bpf_links, syscalls

PATIENCE_S = 60
"""For what will come, also while others have the processors."""
_SCHED_CLS = 3
_SIOCETHTOOL = 0x8946
_OFFLOADS = {"gro": 0x2C, "tx": 0x17}
"""ETHTOOL_SGRO, ETHTOOL_STXCSUM."""
_GSSET_INFO, _GSTRINGS, _GSTATS = 0x37, 0x1B, 0x1D  # ETHTOOL_*
_STATS = 1  # ETH_SS_STATS
_XDP = 6
_XDP_PASS = bytes.fromhex("b700000002000000 9500000000000000")
"""r0 = XDP_PASS; exit."""
_PASS_ON = struct.pack("=BBhi", 0xB7, 0, 0, -1) + struct.pack("=BBhi", 0x95, 0, 0, 0)
"""r0 = TC_ACT_UNSPEC; exit."""


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


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


def set_offload(device: str, name: str, *, on: bool) -> None:
    """Switch a feature of a device of this network namespace, as ``ethtool -K`` does: ``gro``, ``tx`` (checksums)."""
    value = ctypes.create_string_buffer(struct.pack("=II", _OFFLOADS[name], on))
    request = struct.pack("16sQ16x", device.encode(), ctypes.addressof(value))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SIOCETHTOOL, request)


def device_stats(device: str) -> dict[str, int]:
    """Return what the driver of a device of this network namespace counts, as ``ethtool -S`` shows it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:

        def ask(question: bytes) -> bytes:
            value = ctypes.create_string_buffer(question, len(question))
            request = struct.pack("16sQ16x", device.encode(), ctypes.addressof(value))
            fcntl.ioctl(control, _SIOCETHTOOL, request)
            return value.raw

        (count,) = struct.unpack_from("=I", ask(struct.pack("=IIQI", _GSSET_INFO, 0, 1 << _STATS, 0)), 16)
        names = ask(struct.pack("=III", _GSTRINGS, _STATS, count) + bytes(32 * count))[12:]
        values = ask(struct.pack("=II", _GSTATS, count) + bytes(8 * count))[8:]
    words = [names[start : start + 32].rstrip(b"\0").decode() for start in range(0, len(names), 32)]
    return dict(zip(words, struct.unpack(f"={count}Q", values), strict=True))


@contextmanager
def pass_all_program(name: str) -> Iterator[int]:
    """Load a tc program that has no opinion on any packet."""
    descriptor = syscalls.load_program(_SCHED_CLS, 0, _PASS_ON, name.encode()[:15])
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def xdp_program(name: str) -> Iterator[Path]:
    """Pin an XDP program that passes every frame."""
    descriptor = syscalls.load_program(_XDP, 0, _XDP_PASS, name.encode()[:15])
    pin = Path("/sys/fs/bpf") / f"ebpflb-t-{os.getpid()}-{name}-{descriptor}"
    try:
        bpf_links.pin(descriptor, pin)
        yield pin
    finally:
        os.close(descriptor)
        pin.unlink()
