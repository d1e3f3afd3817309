"""The kernel's jiffies, which flow entries are stamped with, and how many of them make a second.

Reads them by running a program of two instructions: nothing in user space shows jiffies or CONFIG_HZ reliably
(``sysconf(_SC_CLK_TCK)`` is USER_HZ, always 100). Knows no map.

    bpf_jiffies64() --PROG_TEST_RUN--> now_jiffies (low 32 bits)          two readings --> measure_hz
"""

import struct
import time
from types import TracebackType
from typing import NamedTuple, Self

from ebpflb.datapath import libbpf
from ebpflb.errors import PrerequisiteError

_PROGRAM_TYPE_SOCKET_FILTER = 1
_HELPER_JIFFIES64 = 118
_CALL, _EXIT = 0x85, 0x95
_INSTRUCTION = struct.Struct("=BBhi")
_READ_JIFFIES = _INSTRUCTION.pack(_CALL, 0, 0, _HELPER_JIFFIES64) + _INSTRUCTION.pack(_EXIT, 0, 0, 0)
_FRAME = bytes(14)
"""The least that a packet program can be run on: an Ethernet header."""

_KNOWN_HZ = (100, 250, 300, 1000)
"""Every CONFIG_HZ of kernel/Kconfig.hz on x86 and arm64."""
_INTERVAL_S = 0.06
"""15 ticks at 250 Hz, 18 at 300: one tick of error does not confuse them."""
_STEADY_NS = 500_000
"""A reading that took longer was interrupted; the time of the tick is not known well enough."""
_ATTEMPTS = 8


class Reading(NamedTuple):
    """Jiffies, and CLOCK_MONOTONIC at that moment."""

    jiffies: int
    monotonic_ns: int


class JiffiesClock:
    """Reads jiffies. A context manager: it holds a program."""

    def __init__(self) -> None:
        self._program = libbpf.load_program(_PROGRAM_TYPE_SOCKET_FILTER, "lb_jiffies", _READ_JIFFIES)
        self._hz = 0

    def close(self) -> None:
        """Unload the program."""
        self._program.close()

    def __enter__(self) -> Self:
        """Return the clock itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Unload the program."""
        self.close()

    def now_jiffies(self) -> int:
        """Return the low 32 bits of jiffies: compare them by signed difference."""
        return libbpf.prog_test_run(self._program, _FRAME).retval

    @property
    def hz(self) -> int:
        """Jiffies per second, measured once."""
        if not self._hz:
            self._hz = self._measure()
        return self._hz

    def _measure(self) -> int:
        for _attempt in range(_ATTEMPTS):
            first = self._steady_reading()
            time.sleep(_INTERVAL_S)
            hz = nearest_hz(first, self._steady_reading())
            if hz is not None:
                return hz
        raise PrerequisiteError(
            f"jiffies advance at none of {_KNOWN_HZ} per second, in {_ATTEMPTS} measurements",
            remedy="the machine may be overloaded, or its kernel have another CONFIG_HZ: report it",
        )

    def _steady_reading(self) -> Reading:
        """Return the reading that took least time of a few; the first that was not interrupted ends the search."""
        best, least = Reading(0, 0), 0
        for attempt in range(_ATTEMPTS):
            before = time.monotonic_ns()
            jiffies = self.now_jiffies()
            took = time.monotonic_ns() - before
            if attempt == 0 or took < least:
                best, least = Reading(jiffies, before + took // 2), took
            if least < _STEADY_NS:
                break
        return best


def nearest_hz(first: Reading, second: Reading) -> int | None:
    """Return the CONFIG_HZ that two readings show, or ``None`` when one tick of error leaves a doubt."""
    ticks = (second.jiffies - first.jiffies) & 0xFFFFFFFF
    seconds = (second.monotonic_ns - first.monotonic_ns) / 1e9
    fitting = [hz for hz in _KNOWN_HZ if abs(ticks - hz * seconds) <= 1]
    return fitting[0] if len(fitting) == 1 else None


def measure_hz() -> int:
    """Return the kernel's CONFIG_HZ, by two readings of jiffies."""
    with JiffiesClock() as clock:
        return clock.hz
