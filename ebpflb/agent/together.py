"""Decides how the parts of an agent run beside each other: none outlives the others, none holds another up for long.

Knows no part.

    name -> callable(stop) --run_together--> a thread each, until one ends or ``stop`` is set
    everything is in the maps --settle--> turns are short, and garbage is looked for in what is new
"""

import sys
import threading
from collections.abc import Callable, Mapping
from typing import Final

from ebpflb.reconcile import garbage

TURN_S: Final = 0.0005
"""How long a part that computes may keep Python from one that waits for it. Python's 5 ms are paid twice by a change
that arrives during a sweep: by the thread that reads it and by the loop."""


def settle() -> None:
    """Hear that the work of the start is done: from now on it matters how soon a change gets its turn.

    Before that, long turns are the cheaper ones: all parts work towards the same end.
    """
    garbage.settle()
    sys.setswitchinterval(TURN_S)


def run_together(stop: threading.Event, parts: Mapping[str, Callable[[threading.Event], None]]) -> None:
    """Run each part in a thread until ``stop`` is set or one of them ends; then end all, and raise what one raised."""
    failures: list[BaseException] = []

    def guarded(run: Callable[[threading.Event], None]) -> None:
        try:
            run(stop)
        except BaseException as error:  # noqa: BLE001 - raised again below, in the main thread
            failures.append(error)
        finally:
            stop.set()

    threads = [threading.Thread(target=guarded, args=(run,), name=name) for name, run in parts.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
