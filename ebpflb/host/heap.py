"""Decides how many heaps the C library keeps for this process, one, and what it gives back: whatever was large. Knows
nothing of what is allocated.

glibc gives each thread that allocates a heap of its own, up to eight a CPU, and each keeps what was once its peak. An
agent has some twenty threads, of which Python lets one run at a time: more heaps only hold more memory (a seventh of an
agent's at 10,000 Services).

What is larger than a threshold is mapped by itself and unmapped when it is freed; but each such block that is freed
makes the C library raise the threshold above its size, up to 32 MB. Thereafter tables of megabytes lie in the heap, and
leave holes there that nothing small is ever put into: Python has arenas of its own for that (10 MB of an agent's 130).

    use_one_heap --mallopt--> C library
"""

import ctypes
from typing import Final

_M_ARENA_MAX: Final = -8  # malloc.h
_M_MMAP_THRESHOLD: Final = -3
_M_TRIM_THRESHOLD: Final = -1
_LARGE: Final = 1 << 18


def use_one_heap() -> bool:
    """Have all threads that start from now on share one heap, which gives back what was large; return whether the C
    library knows how.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    options = ((_M_ARENA_MAX, 1), (_M_MMAP_THRESHOLD, _LARGE), (_M_TRIM_THRESHOLD, _LARGE))
    return mallopt is not None and all(mallopt(*option) == 1 for option in options)
