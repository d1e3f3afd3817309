"""One core on which frames are made, forwarded and counted, and the time that it spends on them.

Knows no frame and no rig. What is sent by live frames is forwarded and received on the core that sends: its softirqs
run there, within the sender or in that core's ksoftirqd. The time of both is counted, and nobody else's: on a machine
that does other things meanwhile, the wall's clock would count those, too.

    namespace, work -> Core.run -> its thread, pinned, in that namespace        Core.spent(work) -> nanoseconds
"""

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

from ebpflb.bench.namespaces import enter, namespace_path
from ebpflb.errors import PrerequisiteError

T = TypeVar("T")

_PROC: Final = Path("/proc")


class Core:
    """A thread that is bound to one core and moves between network namespaces. A context manager."""

    def __init__(self, cpu: int | None = None) -> None:
        """``cpu``: its number; ``None``: the last of those that this process may use."""
        self.cpu = max(os.sched_getaffinity(0)) if cpu is None else cpu
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="bench-core")
        self._softirqs = _find_ksoftirqd(self.cpu)

    def __enter__(self) -> Self:
        """Start the thread."""
        self._pool.submit(_bind, self.cpu).result()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the thread."""
        self._pool.shutdown()

    def run(self, namespace: str, work: Callable[[], T]) -> T:
        """Do something in a network namespace, and return what it returns."""
        return self._pool.submit(_inside, namespace, work).result()

    def spent(self, work: Callable[[], None]) -> int:
        """Return the nanoseconds of CPU time that a piece of work took this core; to be called by its own thread."""
        began = time.thread_time_ns() + self._softirq_time()
        work()
        return time.thread_time_ns() + self._softirq_time() - began

    def _softirq_time(self) -> int:
        # The first number is sum_exec_runtime, in nanoseconds.
        return int((self._softirqs / "schedstat").read_text().split()[0])


def _bind(cpu: int) -> None:
    """Keep the calling thread on a core, before all that is not real-time."""
    os.sched_setaffinity(0, {cpu})
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))


def _inside(namespace: str, work: Callable[[], T]) -> T:
    enter(namespace_path(namespace))
    return work()


def _find_ksoftirqd(cpu: int) -> Path:
    for process in _PROC.iterdir():
        if process.name.isdigit() and _name_of(process) == f"ksoftirqd/{cpu}":
            return process
    raise PrerequisiteError(
        f"bench: the thread ksoftirqd/{cpu} is not to be seen, whose time belongs to that of the frames",
        remedy="run it in the machine's own pid namespace, with schedstat in its kernel",
    )


def _name_of(process: Path) -> str:
    try:
        return (process / "comm").read_text().rstrip("\n")
    except OSError:
        return ""  # it has ended
