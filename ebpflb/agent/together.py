"""Decides how the parts of an agent run beside each other: none outlives the others.

Knows no part.

    name -> callable(stop) --run_together--> a thread each, until one ends or ``stop`` is set
"""

import threading
from collections.abc import Callable, Mapping


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
