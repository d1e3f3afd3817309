"""What a test can order the in-process API server to do, and what it can ask about the requests that came in.

test --> Controls <-- http_api.py
"""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from tests.kube.recorder import DEADLINE_S
from tests.kube.store import Object, Store


@dataclass(frozen=True)
class Request:
    """One request, as the tests look at it."""

    method: str
    collection: str
    query: dict[str, str]

    @property
    def is_watch(self) -> bool:
        return self.query.get("watch") == "true"


@dataclass
class Fault:
    """An answer to give instead of the right one, to the next ``times`` requests that it fits."""

    status: int
    times: int
    watches: bool | None = None
    headers: dict[str, str] = field(default_factory=dict)


class Controls:
    """Every control may be used at any time, from any thread."""

    def __init__(self, token: str, page_size: int) -> None:
        self.store = Store()
        self.token = token
        self.page_size = page_size
        self.requests: list[Request] = []
        self.expire_continuations = 0
        self.unserved: dict[str, int] = {}  # collection -> the answer instead
        self.stopping = False
        self._faults: list[Fault] = []
        self._epoch = 0
        self._bookmarks = 0
        self._bookmarks_sent = 0
        self._open: set[socket.socket] = set()

    def put(self, collection: str, obj: Object) -> int:
        """Create or replace an object; return its version."""
        return self.store.put(collection, obj)

    def delete(self, collection: str, namespace: str, name: str) -> None:
        assert self.store.delete(collection, (namespace, name)), f"no {collection} {namespace}/{name}"

    def expire_history(self) -> None:
        """Compact: a watch from before now gets 410, one that is open an ERROR event."""
        self.store.compact()

    def drop_connections(self) -> None:
        """Cut every open connection, in the middle of whatever it carries."""
        with self.store.changed:
            self._epoch += 1
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            self.store.changed.notify_all()

    def end_watches(self) -> None:
        """End every watch as its timeout does: cleanly."""
        with self.store.changed:
            self._epoch += 1
            self.store.changed.notify_all()

    def send_bookmarks(self, watches: int = 5) -> None:
        """Tell every watch the present version; return when that many have been told."""
        with self.store.changed:
            self._bookmarks_sent = 0
            self._bookmarks += 1
            self.store.changed.notify_all()
            assert self.store.changed.wait_for(lambda: self._bookmarks_sent >= watches, DEADLINE_S), (
                "bookmarks not sent"
            )

    def count_bookmark(self) -> None:
        """Note that a watch has written its bookmark."""
        with self.store.changed:
            self._bookmarks_sent += 1
            self.store.changed.notify_all()

    def refuse(self, status: int, times: int = 1, *, watches: bool | None = None, **headers: str) -> None:
        """Answer the next ``times`` requests (lists or watches only, if asked) with ``status``."""
        with self.store.changed:
            self._faults.append(Fault(status, times, watches, {k.replace("_", "-"): v for k, v in headers.items()}))

    def heal(self) -> None:
        """Forget every fault that was ordered."""
        with self.store.changed:
            self._faults.clear()

    def refuse_next(self, request: Request) -> Fault | None:
        with self.store.changed:
            for fault in self._faults:
                if fault.times and fault.watches in {None, request.is_watch}:
                    fault.times -= 1
                    return fault
        return None

    def record(self, request: Request) -> tuple[int, int]:
        """Note a request; return the signals as they were then: a watch that a test has awaited hears the next one."""
        with self.store.changed:
            self.requests.append(request)
            self.store.changed.notify_all()
            return self.signals

    def count(self, collection: str, *, watches: bool) -> int:
        """Return how many lists or watches of a collection have come in."""
        return sum(each.collection == collection and each.is_watch is watches for each in self.requests)

    def wait_for_requests(self, collection: str, count: int, *, watches: bool) -> None:
        """Wait until ``count`` lists or watches of a collection have come in all."""
        what = f"{count} requests for {collection}, watches={watches}"
        self.wait_until(lambda: self.count(collection, watches=watches) >= count, what)

    def wait_until(self, arrived: Callable[[], bool], what: str) -> None:
        """Wait until the requests that have come in are those that are meant."""
        with self.store.changed:
            assert self.store.changed.wait_for(arrived, DEADLINE_S), f"no {what}: {self.requests}"

    @contextmanager
    def connected(self, connection: socket.socket) -> Iterator[None]:
        with self.store.changed:
            self._open.add(connection)
        try:
            yield
        finally:
            with self.store.changed:
                self._open.discard(connection)

    @property
    def signals(self) -> tuple[int, int]:
        """What open watches look at besides the store: (epoch, bookmarks)."""
        return self._epoch, self._bookmarks
