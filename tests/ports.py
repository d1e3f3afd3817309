"""Ports of the loopback for servers of a test, and waiting for what they do."""

import random
import threading
from collections.abc import Callable

from ebpflb.host.http_server import open_socket

LOOPBACK = "127.0.0.1"
PATIENCE_S = 60.0
"""For what will come, also while others have the processors."""
_NOT_THE_KERNELS = range(15_000, 30_000)
"""Below ip_local_port_range: no connection of anybody's gets one before the test's server has it."""


def free_ports() -> tuple[int, int]:
    """Return two ports that nobody listens on."""
    free: list[int] = []
    for port in random.sample(_NOT_THE_KERNELS, len(_NOT_THE_KERNELS)):
        try:
            open_socket(LOOPBACK, port).close()
        except OSError:
            continue
        free.append(port)
        if len(free) == 2:
            break
    one, other = free
    return one, other


def free_port() -> int:
    """Return a port that nobody listens on."""
    return free_ports()[0]


def until(check: Callable[[], bool]) -> None:
    """Wait for what comes by itself, asking again and again."""
    over = threading.Event()
    timer = threading.Timer(PATIENCE_S, over.set)
    timer.start()
    try:
        while not check():
            assert not over.is_set()
    finally:
        timer.cancel()
