"""An XDP program that is replaced, again and again, on a device where packets come in all the while."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest

from ebpflb.host import bpf_links
from ebpflb.host.links import Link
from ebpflb.host.xdp import XdpMode, attach
from tests.netns.host_helpers import PATIENCE_S, inside
from tests.netns.xdp_devices import FAR, make_program, xdp_of

pytestmark = pytest.mark.root

LATE_S = 30
"""After which fewer replacements will do: on a busy machine each waits for the lock that all devices share."""
WINDOW = 20
"""Datagrams that may be on their way at once: any queue holds so many, however long its reader gets no processor."""


def test_a_new_program_replaces_without_losing_a_packet(veth: Link, xdp_folder: Path) -> None:
    pin = xdp_folder / "links" / "3"
    first, second = make_program(xdp_folder, "lb_xdp"), make_program(xdp_folder, "lb_xdp")
    attach(veth, XdpMode.NATIVE, first[0], pin)
    before = bpf_links.read_pinned(pin)
    assert before is not None
    began = time.monotonic()
    with datagrams_from_afar() as counts:
        for number in count():
            (path, identity) = (second, first)[number % 2]
            assert attach(veth, XdpMode.NATIVE, path, pin) == [
                f"up0: replaced lb_xdp in native mode (program {identity})"
            ]
            passed_s = time.monotonic() - began
            if (number >= 200 or passed_s > LATE_S) and counts["sent"] > 200:
                break
            assert passed_s < PATIENCE_S, f"after {number} replacements: {counts}"
    assert xdp_of("up0") == ("native", identity)
    after = bpf_links.read_pinned(pin)
    assert after is not None
    assert after.id == before.id
    assert counts["received"] == counts["sent"] > 200


@contextmanager
def datagrams_from_afar() -> Iterator[dict[str, int]]:
    """Let the far end send datagrams without a pause; afterwards the counts are in what this gives."""
    with inside(Path("/run/netns") / FAR):
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    stop, counts = threading.Event(), {"sent": 0, "received": 0}

    def send() -> None:
        while not stop.wait(0.0005):
            if counts["sent"] - counts["received"] < WINDOW:
                sender.send(b"x")
                counts["sent"] += 1
        sender.send(b"end")

    def receive() -> None:
        while receiver.recv(8) != b"end":
            counts["received"] += 1

    with sender, receiver:
        receiver.bind(("192.0.2.1", 9999))
        receiver.settimeout(PATIENCE_S)
        sender.connect(("192.0.2.1", 9999))
        sender.send(b"x")  # resolves the neighbour
        assert receiver.recv(8) == b"x"
        threads = [threading.Thread(target=each) for each in (receive, send)]
        for thread in threads:
            thread.start()
        try:
            yield counts
        finally:
            stop.set()
            for thread in reversed(threads):
                thread.join()
