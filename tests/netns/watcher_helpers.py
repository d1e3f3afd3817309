"""A ``HostWatcher`` on the thread of a test, and everything that it says, in order."""

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path

from ebpflb.core.abi import Family
from ebpflb.core.model import Host
from ebpflb.host.inventory import DeviceView
from ebpflb.host.links import DeviceRole, Link
from ebpflb.host.netlink import HostWatcher
from tests.netns.host_helpers import enter, run

Call = tuple[str, object]
PATIENCE_S = 20


class Calls:
    """Everything the watcher said, in order."""

    def __init__(self) -> None:
        self.queue: queue.Queue[Call] = queue.Queue()
        self.refuse_next: Exception | None = None
        self.views: queue.Queue[DeviceView] = queue.Queue()
        self.xdp_devices: dict[int, bool] = {}

    def host(self, host: Host) -> None:
        self.queue.put(("host", host))

    def device(self, role: DeviceRole, link: Link) -> None:
        if self.refuse_next:
            error, self.refuse_next = self.refuse_next, None
            raise error
        self.queue.put((f"{role}+", link.name))

    def gone(self, role: DeviceRole, link: Link) -> None:
        self.queue.put((f"{role}-", link.name))

    def next_view(self, matches: Callable[[DeviceView], object]) -> DeviceView:
        while True:
            view = self.views.get(timeout=PATIENCE_S)
            if matches(view):
                return view

    def next_device(self) -> Call:
        while True:
            call = self.queue.get(timeout=PATIENCE_S)
            if call[0] != "host":
                return call

    def next_host(self, matches: Callable[[Host], bool]) -> Host:
        while True:
            call = self.queue.get(timeout=PATIENCE_S)
            if isinstance(call[1], Host) and matches(call[1]):
                return call[1]


@contextmanager
def watching(path: Path) -> Iterator[Calls]:
    calls = Calls()
    stop = threading.Event()
    watcher = HostWatcher(
        ["up*"],
        ["pod*", "up*", "br*"],
        calls.host,
        calls.device,
        calls.gone,
        on_view=calls.views.put,
        families=[Family.IPV4],
        xdp_devices=lambda: calls.xdp_devices,
    )
    failures: list[BaseException] = []

    def target() -> None:
        try:
            enter(path)
            watcher.run(stop)
        except BaseException as error:  # noqa: BLE001  # carried to the test's thread
            failures.append(error)

    thread = threading.Thread(target=target)
    thread.start()
    try:
        yield calls
    finally:
        stop.set()
        thread.join(2)
        assert not thread.is_alive(), "the watcher did not stop"
        assert failures == []


def add(name: str) -> None:
    run("ip", "link", "add", name, "type", "veth", "peer", "name", f"far-{name}")


def set_up(name: str) -> None:
    """Have a device and its far end carry packets: the kernel says little of one that is down."""
    for each in (name, f"far-{name}"):
        run("ip", "link", "set", each, "up")


def packed(text: str) -> bytes:
    return ip_address(text).packed
