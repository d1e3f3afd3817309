"""Which tests a guest runs: sessions of pytest, and what is left out of each on a kernel that cannot tell, or for time.

    the running kernel, is everything wanted? --suites--> Suite (a check's name, files, an expression for pytest's -k)

Packets are cheap and builds are dear: a session builds what it tests once for each family, and sessions of one family
each run side by side.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ebpflb.core.abi import Family
from ebpflb.host.netns_cookie import netns_cookie
from tests.prog.harness import takes_ingress_ifindex

_ALWAYS_LEFT_OUT = "agents, fuzzing, pitfalls, rules of sockets"
_LEFT_OUT = (
    "packet tests other than of translation, refusal, handing over and sweeping; devices and SCTP by IPv6, so SIT; "
    + _ALWAYS_LEFT_OUT
)

_PACKET_TESTS = tuple(
    f"tests/prog/test_{name}.py" for name in ("tc_translate", "tc_reject", "tc_direct", "sweep_programs")
)
_ALL_PACKET_TESTS = ("test_tc_*.py", "test_xdp*.py", "test_sweep*.py")
_SOCKET_TESTS = ("tests/kernels/test_smoke.py", "tests/prog/test_store.py")
_COOKIE_TESTS = ("tests/prog/test_sock_pairs.py",)
"""They ask for the cookies of namespaces (5.14)."""
_DISPATCH_TEST = "tests/prog/test_xdp_dispatch.py"
_HOST_TESTS = (
    *(f"tests/netns/test_host_{name}.py" for name in ("tc", "xdp", "direct_pods", "sockets", "pod_devices")),
    _DISPATCH_TEST,
)
"""What we ask of a kernel beside programs: filters, links, the owners of sockets. They build next to nothing."""


@dataclass(frozen=True, slots=True)
class Suite:
    """One session of pytest."""

    name: str
    files: tuple[str, ...]
    chosen: str = ""
    """An expression of the names of tests; empty: all."""


def left_out(*, everything: bool) -> str:
    """Say what no guest runs, beside the tables of what it did."""
    return f"left out: {_ALWAYS_LEFT_OUT}" if everything else f"left out: {_LEFT_OUT} (the first two: --everything)"


def suites(*, everything: bool) -> Iterator[Suite]:
    """Return what to run on the running kernel; the longest first."""
    for family in Family:
        files = _all_packet_tests() if everything else _PACKET_TESTS
        yield Suite(f"packet tests {family.name}", files, _all_of(_of(family), _tellable_of_packets()))
    # IPv6 differs by its build, which takes minutes here; the machine's own kernel does it.
    chosen = "" if everything else "IPV4"
    yield Suite("device tests", ("tests/kernels/test_devices.py",), chosen)
    yield Suite("sctp tests", ("tests/kernels/test_sctp.py",), chosen)
    yield Suite("socket tests", _SOCKET_TESTS + (() if netns_cookie() is None else _COOKIE_TESTS))
    yield Suite("host tests", _HOST_TESTS, _tellable_of_the_host())


def _all_packet_tests() -> tuple[str, ...]:
    found = {str(path) for pattern in _ALL_PACKET_TESTS for path in Path("tests/prog").glob(pattern)}
    return tuple(sorted(found - {_DISPATCH_TEST}))


def _of(family: Family) -> str:
    """Return which tests need the programs of a family; what needs none, or both, goes with IPv4."""
    return f"not {Family.IPV6.name}" if family is Family.IPV4 else Family.IPV6.name


def _all_of(*expressions: str) -> str:
    return " and ".join(f"({each})" for each in expressions if each)


def _tellable_of_the_host() -> str:
    release = tuple(int(number) for number in re.findall(r"\d+", os.uname().release)[:2])
    newer = {"cookies_tell_namespaces": (5, 14), "xdp_may_send": (6, 3)}  # SO_NETNS_COOKIE; the netdev family
    missing = [words for words, since in newer.items() if release < since]
    return f"not ({' or '.join(missing)})" if missing else ""


def _tellable_of_packets() -> str:
    if takes_ingress_ifindex():
        return ""
    # Each of these looks at a packet that leaves and came in by a device. Forwarding has other tests.
    masqueraded = "remote and (outside or (pod and not ClusterIP))"
    return f"not ({masqueraded}) and not (same and pod) and not what_others_send"
