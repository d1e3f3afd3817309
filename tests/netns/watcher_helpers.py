"""A ``HostWatcher`` on the thread of a test, and everything that it says, in order.

A change of links or addresses reaches the watcher as several messages, and what stands between two of them is said as
well. So a test waits for the whole of what it expects, and a failure shows what was said instead.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import TypeVar

import pytest

from ebpflb.bench.namespaces import enter
from ebpflb.core.abi import Family
from ebpflb.core.model import Host
from ebpflb.host import netlink
from ebpflb.host.inventory import DeviceView
from ebpflb.host.links import DeviceRole, Link
from tests.netns.host_helpers import PATIENCE_S, inside, namespace, run

T = TypeVar("T")

Call = tuple[str, object]
NEVER_S = 3600.0


class Calls:
    """Everything the watcher said, in order."""

    def __init__(self) -> None:
        self.queue: queue.Queue[Call] = queue.Queue()
        self.refusal: Exception | None = None
        """What every device is refused with, until the test takes it back."""
        self.refused: queue.Queue[Link] = queue.Queue()
        self.hosts: list[Host] = []
        self.views: queue.Queue[DeviceView] = queue.Queue()
        self.xdp_devices: dict[int, bool] = {}

    def host(self, host: Host) -> None:
        self.hosts.append(host)
        self.queue.put(("host", host))

    def device(self, role: DeviceRole, link: Link) -> None:
        refusal = self.refusal
        if refusal:
            self.refused.put(link)
            raise refusal
        self.queue.put((f"{role}+", link.name))

    def gone(self, role: DeviceRole, link: Link) -> None:
        self.queue.put((f"{role}-", link.name))

    def next_view(self, look: Callable[[DeviceView], object], expected: object) -> DeviceView:
        """Wait until all that ``look`` sees in a view is as expected."""
        return _first(_taken_from(self.views), look, expected)

    def next_refused(self, look: Callable[[Link], object], expected: object) -> Link:
        """Wait until all that ``look`` sees of a link that was refused is as expected."""
        return _first(_taken_from(self.refused), look, expected)

    def next_host(self, look: Callable[[Host], object], expected: object) -> Host:
        """Wait until all that ``look`` sees in a host is as expected; devices' calls before that are passed over."""
        hosts = (said for _, said in _taken_from(self.queue) if isinstance(said, Host))
        return _first(hosts, look, expected)

    def next_device(self) -> Call:
        """Return the next that is said of a device; hosts before that are passed over."""
        for call in _taken_from(self.queue):
            if call[0] != "host":
                return call
        raise AssertionError(f"no word of any device within {PATIENCE_S} s")


def _taken_from(said: queue.Queue[T]) -> Iterator[T]:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            yield said.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            return


def _first(said: Iterator[T], look: Callable[[T], object], expected: object) -> T:
    seen: list[object] = []
    for each in said:
        what = look(each)
        if what == expected:
            return each
        if what not in seen[-1:]:
            seen.append(what)
    raise AssertionError(f"not within {PATIENCE_S} s: {expected}; but, in this order: {seen}")


@contextmanager
def bare_node(suffix: str) -> Iterator[Path]:
    """Run the block in a namespace whose devices have those addresses only that the test gives them.

    Link-local ones come when duplicate address detection is done with them: at no time that a test could name.
    """
    with namespace(suffix) as path, inside(path):
        run("sysctl", "-qw", "net.ipv6.conf.default.addr_gen_mode=1")
        yield path


@contextmanager
def watching(path: Path, *, check_s: float = NEVER_S, retry_s: float = 0.05) -> Iterator[Calls]:
    """Watch a namespace; known devices are handed over again every ``check_s``, refused ones every ``retry_s``."""
    with pytest.MonkeyPatch.context() as periods:
        periods.setattr(netlink, "CHECK_SECONDS", check_s)
        periods.setattr(netlink, "RETRY_SECONDS", retry_s)
        with _watching(path) as calls:
            yield calls


@contextmanager
def _watching(path: Path) -> Iterator[Calls]:
    calls = Calls()
    stop = threading.Event()
    watcher = netlink.HostWatcher(
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
        thread.join(PATIENCE_S)
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
