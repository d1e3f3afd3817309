"""Turns SIGTERM and SIGINT into a set event.

Decides that a handler does next to nothing: ``Event.set`` takes a lock that the interrupted thread may hold, so the
handler writes to a pipe and a thread of its own sets the event. A second signal has its usual effect: the impatient
need no SIGKILL.

    signal -> handler -> pipe -> thread -> Event, then whatever ends what does not look at it
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def stop_on_signals(then: Callable[[], None]) -> Iterator[threading.Event]:
    """Yield an event that the first SIGTERM or SIGINT sets. To be used in the main thread.

    ``then`` is called in another thread when the event has been set, at the latest at the end.
    """
    stop = threading.Event()
    reader, writer = os.pipe2(os.O_CLOEXEC)

    def forward() -> None:
        os.read(reader, 1)
        stop.set()
        then()

    thread = threading.Thread(target=forward, name="stop-on-signals", daemon=True)
    thread.start()
    previous = {number: signal.getsignal(number) for number in _SIGNALS}

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    def handle(number: int, frame: FrameType | None) -> None:
        del number, frame
        restore()
        os.write(writer, b"\n")

    for number in _SIGNALS:
        signal.signal(number, handle)
    try:
        yield stop
    finally:
        restore()
        os.write(writer, b"\n")
        thread.join()
        os.close(reader)
        os.close(writer)
