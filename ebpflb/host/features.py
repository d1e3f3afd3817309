"""What this kernel's BPF can do, found out by loading the smallest program that needs it.

Decides nothing from version numbers: distributions carry features back. Must not know the real programs.

    Feature (kind, hook, instructions) -> bpf(BPF_PROG_LOAD) -> Finding
"""

import errno
import os
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ebpflb.core.abi import Family
from ebpflb.host import syscalls
from ebpflb.host.finding import Finding, Level
from ebpflb.host.netns_cookie import netns_cookie
from ebpflb.host.sock_diag import undestroyable

_SCHED_CLS: Final = 3  # enum bpf_prog_type
_CGROUP_SOCK_ADDR: Final = 18
_INET4_CONNECT: Final = 10  # enum bpf_attach_type
_INET4_GETPEERNAME: Final = 29
_GET_NETNS_COOKIE: Final = 122  # enum bpf_func_id
_REDIRECT_NEIGH: Final = 152
_SET_RETVAL: Final = 187


def _set_register(number: int, value: int) -> bytes:
    return struct.pack("=BBhi", 0xB7, number, 0, value)


def _call(helper: int) -> bytes:
    return struct.pack("=BBhi", 0x85, 0, 0, helper)


_RETURN_1: Final = _set_register(0, 1) + struct.pack("=BBhi", 0x95, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Feature:
    """Something a program needs of the kernel."""

    name: str
    kind: int
    attach_type: int
    body: bytes
    """Instructions before ``return 1``; register 1 holds the context."""
    since: str
    without: str
    """What is lost; for the user."""
    needed: bool


SET_RETVAL: Final = Feature(
    "bpf set_retval",
    *(_CGROUP_SOCK_ADDR, _INET4_CONNECT, _set_register(1, -errno.ECONNREFUSED) + _call(_SET_RETVAL)),
    *("5.18", "connections to a Service without backends are refused per packet, not at connect()", False),
)

FEATURES: Final = (
    Feature(
        "bpf redirect_neigh",
        *(_SCHED_CLS, 0, b"".join(_set_register(number, 0) for number in (1, 2, 3, 4)) + _call(_REDIRECT_NEIGH)),
        *("5.10", "packets to backends on other nodes cannot be forwarded", True),
    ),
    Feature(
        "bpf netns cookie",
        *(_CGROUP_SOCK_ADDR, _INET4_CONNECT, _call(_GET_NETNS_COOKIE)),
        *("5.7", "the socket programs cannot tell pods apart and do not load", True),
    ),
    Feature(
        "cgroup getpeername",
        *(_CGROUP_SOCK_ADDR, _INET4_GETPEERNAME, b""),
        *("5.8", "the socket programs, of which one is for getpeername(), do not load", True),
    ),
    SET_RETVAL,
)

Loader = Callable[[int, int, bytes], int]


def probe_feature(feature: Feature, load: Loader = syscalls.load_program) -> Finding:
    """Try to load the feature's program."""
    try:
        os.close(load(feature.kind, feature.attach_type, feature.body + _RETURN_1))
    except OSError as error:
        if error.errno in {errno.EPERM, errno.EACCES} and not _may_load(load):
            detail = "unknown: loading programs is not permitted"
            return Finding(feature.name, Level.WARNING, detail, "run doctor as root")
        level = Level.ERROR if feature.needed else Level.WARNING
        detail = f"missing ({os.strerror(error.errno or 0)}): {feature.without}"
        return Finding(feature.name, level, detail, f"use Linux {feature.since} or later")
    return Finding(feature.name, Level.OK, "usable")


def _may_load(load: Loader) -> bool:
    try:
        os.close(load(_SCHED_CLS, 0, _RETURN_1))
    except OSError:
        return False
    return True


def probe_jit(load: Loader = syscalls.load_program) -> Finding:
    """Load a program and look whether the kernel translated it to machine code."""
    try:
        descriptor = load(_SCHED_CLS, 0, _RETURN_1)
    except OSError as error:
        detail = f"no BPF program can be loaded ({os.strerror(error.errno or 0)})"
        return Finding("bpf jit", Level.ERROR, detail, "run as root on a kernel with CONFIG_BPF_SYSCALL")
    try:
        facts = Path(f"/proc/self/fdinfo/{descriptor}").read_text()
    finally:
        os.close(descriptor)
    if "prog_jited:\t1" in facts:
        return Finding("bpf jit", Level.OK, "programs run as machine code")
    detail = "programs are interpreted: several times slower per packet"
    return Finding("bpf jit", Level.WARNING, detail, "sysctl -w net.core.bpf_jit_enable=1")


def probe_socket_features() -> list[Finding]:
    """Ask for what the socket layer outside BPF must offer."""
    destroy = check_destroy([protocol.name for protocol in undestroyable()])
    cookie = netns_cookie()
    readable = (
        Finding("netns cookie", Level.OK, f"this network namespace is {cookie}")
        if cookie is not None
        else check_initial_netns(_inode("/proc/thread-self/ns/net"), _inode("/proc/1/ns/net"))
    )
    return [destroy, readable]


def check_destroy(missing: Sequence[str]) -> Finding:
    """Say whether sockets of removed backends can be closed; ``missing``: the protocols of those that cannot."""
    name = "sock_diag destroy"
    if not missing:
        return Finding(name, Level.OK, "usable")
    detail = f"missing for {', '.join(missing)}: clients connected to a removed backend wait for their own timeout"
    options = [*(f"CONFIG_INET_{protocol}_DIAG" for protocol in missing), "CONFIG_INET_DIAG_DESTROY"]
    return Finding(name, Level.WARNING, detail, f"use a kernel with {', '.join(options)}")


def check_initial_netns(own: int | None, initial: int | None) -> Finding:
    """Say what a kernel without SO_NETNS_COOKIE will do for: programs can then ask for the initial namespace only."""
    name, missing = "netns cookie", "SO_NETNS_COOKIE is missing (Linux 5.14)"
    if own is None or initial is None:
        return Finding(name, Level.WARNING, f"{missing}: this network namespace is unknown", "run doctor as root")
    if own == initial:
        lost = "no pod can be opted out of the socket hooks: a sidecar in it sees backends, not Services"
        return Finding(name, Level.WARNING, f"{missing}: {lost}", "use Linux 5.14 or later where pods have sidecars")
    detail = f"{missing}, and this is not the initial network namespace: processes here are taken for pods"
    return Finding(name, Level.ERROR, detail, "run in the host's network namespace (hostNetwork), or use Linux 5.14")


def probe_family(family: Family, sysctl: Path = Path("/proc/sys/net")) -> Finding:
    """Say whether the kernel speaks a family, in this network namespace. IPv4 it always does."""
    name = f"IPv{family.value}"
    if family is Family.IPV4:
        return Finding(name, Level.OK, "usable")
    try:
        disabled = (sysctl / "ipv6/conf/all/disable_ipv6").read_text().strip() != "0"
    except OSError:
        detail = "not served: this kernel has none (no ipv6 module, or booted with ipv6.disable=1)"
        return Finding(name, Level.WARNING, detail, "load the module, or boot without ipv6.disable=1")
    if disabled:
        detail = "not served: it is disabled in this network namespace"
        return Finding(name, Level.WARNING, detail, "sysctl -w net.ipv6.conf.all.disable_ipv6=0, and restart the agent")
    return Finding(name, Level.OK, "usable")


def _inode(path: str) -> int | None:
    try:
        return Path(path).stat().st_ino
    except OSError:
        return None


def probe_features() -> list[Finding]:
    """Run every probe of this module."""
    families = (probe_family(family) for family in Family)
    return [*(probe_feature(feature) for feature in FEATURES), probe_jit(), *probe_socket_features(), *families]
