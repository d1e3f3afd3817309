"""The bench's API server, a process of its own: ``python -m ebpflb.bench.apiserver_process --services N ...``.

Serves lists in pages and watches as streams, of objects that were encoded before it listens: what it costs is not what
the agent costs. A line ``change ORDER N`` on stdin changes the first endpoint of Service N; the answer says when the
event was written. Without TLS and credentials. Decides nothing about objects: ``apiserver_objects.py``.

    stdin: change ORDER N --> store --> open watches       stdout: listening PORT | changed ORDER NANOSECONDS
    GET list, watch --> pages, events
"""

import argparse
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final
from urllib.parse import parse_qs, urlsplit

from ebpflb.bench.apiserver_objects import Scale, node_json, service_json, slice_json

BOOKMARK_SECONDS: Final = 30.0
_GROUPS: Final = {
    "services": ("v1", "Service"),
    "endpointslices": ("discovery.k8s.io/v1", "EndpointSlice"),
    "nodes": ("v1", "Node"),
    "servicecidrs": ("networking.k8s.io/v1", "ServiceCIDR"),
    "pods": ("v1", "Pod"),
}
_FIRST_VERSION: Final = 1000


class Store:
    """The objects by collection, and what has happened since. Thread-safe."""

    def __init__(self, scale: Scale, node: str, address: str) -> None:
        self.scale = scale
        self.lock = threading.Lock()
        self.version = _FIRST_VERSION
        self._objects: dict[str, list[bytes]] = {
            "services": [service_json(number) for number in range(scale.services)],
            "endpointslices": [slice_json(number, scale.endpoints) for number in range(scale.services)],
            "nodes": [node_json(node, address)],
            "servicecidrs": [],
            "pods": [],
        }
        self._changed: set[int] = set()
        self._history: list[tuple[int, str, bytes]] = []
        self._watches: list[tuple[str, Handler]] = []

    def page(self, collection: str, start: int, limit: int) -> bytes:
        """Return one page of a list, with the position of the next one as its ``continue``."""
        version, kind = _GROUPS[collection]
        with self.lock:
            objects, listed = self._objects[collection], self.version
            items = objects[start : start + limit] if limit else objects[start:]
        end = start + len(items)
        more = f',"continue":"{end}"' if end < len(objects) else ""
        head = f'{{"kind":"{kind}List","apiVersion":"{version}","metadata":{{"resourceVersion":"{listed}"{more}}}'
        return b'%s,"items":[%s]}' % (head.encode(), b",".join(items))

    def change(self, number: int) -> int:
        """Exchange the first endpoint's address of a Service; return the time at which the event is written, in ns."""
        with self.lock:
            self.version += 1
            self._changed ^= {number}
            changed = slice_json(number, self.scale.endpoints, version=self.version, is_changed=number in self._changed)
            self._objects["endpointslices"][number] = changed
            line = _event("MODIFIED", changed)
            self._history.append((self.version, "endpointslices", line))
            watches = [handler for collection, handler in self._watches if collection == "endpointslices"]
            written_ns = time.monotonic_ns()
            for handler in watches:
                handler.send_chunk(line)
        return written_ns

    def open_watch(self, collection: str, handler: "Handler", since: int) -> None:
        """Send what has happened since a version, and from now on what happens."""
        with self.lock:
            for version, where, line in self._history:
                if version > since and where == collection:
                    handler.send_chunk(line)
            self._watches.append((collection, handler))

    def close_watch(self, handler: "Handler") -> None:
        """Send nothing there any more."""
        with self.lock:
            self._watches = [entry for entry in self._watches if entry[1] is not handler]


class Server(ThreadingHTTPServer):
    """One thread a connection."""

    daemon_threads = True

    def __init__(self, store: Store) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.store = store


class Handler(BaseHTTPRequestHandler):
    """Answers GET as an API server would, and takes Events."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class calls it that
        """Say nothing: stdout is for answers."""

    def do_GET(self) -> None:
        """Serve a list or a watch of a collection."""
        url = urlsplit(self.path)
        collection = url.path.rpartition("/")[2]
        if collection not in _GROUPS:
            self._answer(404, b'{"kind":"Status","apiVersion":"v1","message":"not found","code":404}')
            return
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        if query.get("watch") == "true":
            self._watch(collection, query)
            return
        self._answer(
            200, self.server.store.page(collection, int(query.get("continue", "0")), int(query.get("limit", "0")))
        )

    def do_POST(self) -> None:
        """Take an Event and forget it."""
        self._answer(201, self.rfile.read(int(self.headers.get("Content-Length") or 0)))

    do_PATCH = do_POST  # noqa: N815 - the base class looks for this name

    def send_chunk(self, data: bytes) -> None:
        """Write one chunk of a stream; one whose reader has gone is forgotten by its own thread."""
        try:
            self.connection.sendall(b"%x\r\n%s\r\n" % (len(data), data))
        except OSError:
            self.close_connection = True

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _watch(self, collection: str, query: dict[str, str]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.flush()
        self.connection.settimeout(BOOKMARK_SECONDS)
        store, kind = self.server.store, _GROUPS[collection][1]
        store.open_watch(collection, self, int(query.get("resourceVersion", "0")))
        try:
            while not self.close_connection and self._is_open():
                with store.lock:
                    metadata = f'{{"kind":"{kind}","metadata":{{"resourceVersion":"{store.version}"}}}}'
                    self.send_chunk(_event("BOOKMARK", metadata.encode()))
        finally:
            store.close_watch(self)

    def _is_open(self) -> bool:
        """Wait for the time of a bookmark; ``False`` when the reader has closed the connection before."""
        try:
            return bool(self.connection.recv(1))
        except TimeoutError:
            return True
        except OSError:
            return False


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _event(kind: str, document: bytes) -> bytes:
    return b'{"type":"%s","object":%s}\n' % (kind.encode(), document)


def main() -> int:
    """Serve until stdin ends."""
    parser = argparse.ArgumentParser(description="An API server for measurements.")
    parser.add_argument("--services", type=int, required=True)
    parser.add_argument("--endpoints", type=int, required=True)
    parser.add_argument("--node", required=True)
    parser.add_argument("--address", required=True)
    asked = parser.parse_args()
    store = Store(Scale(asked.services, asked.endpoints), asked.node, asked.address)
    server = Server(store)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    _say(f"listening {server.server_address[1]}")
    for line in sys.stdin:
        _change, order, number = line.split()
        _say(f"changed {order} {store.change(int(number))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
