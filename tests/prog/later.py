"""A lab's flow maps are swept as if time had passed.

Later.sweep(seconds from now) -> what was removed
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Self

from ebpflb.datapath.clock import JiffiesClock
from ebpflb.datapath.store import open_map
from ebpflb.datapath.sweep import FlowMaps, FlowSweeper
from tests.prog.lab import Lab

MARGIN_S = 20
"""More than goes by from a packet to a sweep, whatever else the machine does meanwhile."""


class LaterClock:
    """The kernel's clock, some seconds ahead."""

    def __init__(self, clock: JiffiesClock) -> None:
        self.hz = clock.hz
        self.seconds = 0.0
        self._clock = clock

    def now_jiffies(self) -> int:
        return (self._clock.now_jiffies() + int(self.seconds * self.hz)) & 0xFFFFFFFF


class Later:
    """Sweeps a lab's maps as if time had passed."""

    def __init__(self, lab: Lab, stack: ExitStack) -> None:
        self._clock = LaterClock(lab.datapath.clock)
        maps = (stack.enter_context(open_map(lab.datapath.pins, lab.family, name)) for name in FlowMaps._fields)
        self.sweeper = FlowSweeper(FlowMaps(*maps), self._clock)

    @classmethod
    @contextmanager
    def of(cls, lab: Lab) -> Iterator[Self]:
        """Have a lab's maps open for the length of the block."""
        with ExitStack() as stack:
            yield cls(lab, stack)

    def sweep(self, seconds: float) -> dict[str, int]:
        """Sweep that many seconds from now; return what was removed."""
        self._clock.seconds = seconds
        return dict(self.sweeper.sweep().removed)
