"""When Python looks for cycles of garbage. What an agent holds are ten thousands of Services without a single cycle:
to walk through them costs a third of a second each time, in which no change gets anywhere.

Decides how often, and what is left out; must not know what is held.

    agent's start --tune--> hardly ever --round that compiles everything: paused--> all of it in the maps --settle-->
    left out; now and then in what is new
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_THRESHOLDS = (10_000, 20, 50)
"""Containers made and not gone again, then collections of the generation before. Python's 700 are for programs that
hold little."""
_THRESHOLDS_AT_START = (1_000_000, 20, 50)
"""100,000 endpoints are some 400,000 containers, walked through forty times by the thresholds above while they are
read, for nothing. Not never: while no API server answers, each attempt leaves a little behind."""


def tune() -> None:
    """Have this process look for garbage hardly ever, until it settles; and never in the code that it has loaded."""
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS_AT_START)


def settle() -> None:
    """Leave out whatever there is now: it stays, or goes with its last reference. Look for garbage in what is new."""
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)


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
