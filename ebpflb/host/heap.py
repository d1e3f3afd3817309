"""Decides how many heaps the C library keeps for this process: one. Knows nothing of what is allocated.

glibc gives each thread that allocates a heap of its own, up to eight a CPU, and each keeps what was once its peak. An
agent has some twenty threads, of which Python lets one run at a time: more heaps only hold more memory (a seventh of an
agent's at 10,000 Services).

    use_one_heap --mallopt--> C library
"""

import ctypes
from typing import Final

_M_ARENA_MAX: Final = -8  # malloc.h


def use_one_heap() -> bool:
    """Have all threads that start from now on share one heap; return whether the C library knows how."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and mallopt(_M_ARENA_MAX, 1) == 1
