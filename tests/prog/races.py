"""The same moment on several processors: processes of one CPU each that go from step to step together.

work, work, times --side_by_side--> each has been called with 0, 1, ...: the same number at the same time
"""

import mmap
import os
import traceback
from collections.abc import Callable

_BYTES = 8


def side_by_side(works: list[Callable[[int], object]], times: int) -> None:
    """Call every work with each number, all at once, each on a CPU of its own; raises if one of them did."""
    with mmap.mmap(-1, _BYTES * len(works)) as shared:
        children = [_start(works, place, times, shared) for place in range(len(works))]
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert not any(codes), codes


def _start(works: list[Callable[[int], object]], place: int, times: int, shared: mmap.mmap) -> int:
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        cpus = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cpus[place % len(cpus)]})
        _take_steps(works[place], place, times, memoryview(shared).cast("Q"))
        code = 0
    except BaseException:  # noqa: BLE001 - a child must not go on as if it were the parent
        traceback.print_exc()
    os._exit(code)


def _take_steps(work: Callable[[int], object], place: int, times: int, steps: memoryview) -> None:
    try:
        for number in range(times):
            steps[place] = number + 1
            while min(steps) <= number:
                os.sched_yield()
            work(number)
    finally:
        steps[place] = times + 1  # nobody waits for who has failed
