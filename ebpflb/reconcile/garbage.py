"""When Python looks for cycles of garbage. What an agent holds are ten thousands of Services without a single cycle:
to walk through them costs a third of a second each time, in which no change gets anywhere.

Decides how often, and what is left out; must not know what is held.

    agent's start --tune-->   round that compiles everything --paused-->   all of it in the maps --settle--> left out
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_THRESHOLDS = (10_000, 20, 50)
"""Containers made and not gone again, then collections of the generation before. Python's 700 are for programs that
hold little: a list of 100,000 endpoints would be walked through a dozen times while it is read."""


def tune() -> None:
    """Have this process look for garbage in new objects now and then, and in old ones rarely."""
    gc.set_threshold(*_THRESHOLDS)


def settle() -> None:
    """Leave out whatever there is now: it stays, or goes with its last reference."""
    gc.freeze()


@contextmanager
def paused() -> Iterator[None]:
    """Look for none while very much is made, all of which stays."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
