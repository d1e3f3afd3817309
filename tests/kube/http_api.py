"""The HTTP side of the in-process API server: TLS, tokens, lists in pages, watches as chunked streams.

request --> Handler --> Controls (faults on order, the store) --> answer
"""

import itertools
import json
import socket
import ssl
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.kube.certificates import Certificates
from tests.kube.controls import Controls, Request
from tests.kube.store import COLLECTIONS, ExpiredVersionError, Object, Selector

GROUPS = {
    "services": "v1",
    "nodes": "v1",
    "pods": "v1",
    "namespaces": "v1",
    "endpointslices": "discovery.k8s.io/v1",
    "servicecidrs": "networking.k8s.io/v1",
    "events": "events.k8s.io/v1",
}

FIRST_ALLOCATED = IPv4Address("10.100.0.1")


class HttpServer(ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True

    def __init__(self, address: tuple[str, int], api: Controls, certificates: Certificates) -> None:
        super().__init__(address, _Handler)
        self.allocated = itertools.count()
        self.api = api
        self.tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.tls.load_cert_chain(certificates.certificate, certificates.key)

    def get_request(self) -> tuple[socket.socket, Any]:
        """The handshake is left to the connection's own thread: a client that stalls holds up no other."""
        connection, address = super().get_request()
        connection.settimeout(30)
        return self.tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), address

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that leaves, or distrusts the certificate, is part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HttpServer

    def handle(self) -> None:
        with self.server.api.connected(self.connection):
            if not self.server.api.stopping:
                super().handle()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class calls it that
        """Keep the tests' output clean."""

    def do_GET(self) -> None:
        self._handle("GET")

    def do_POST(self) -> None:
        self._handle("POST")

    def do_PATCH(self) -> None:
        self._handle("PATCH")

    def do_DELETE(self) -> None:
        self._handle("DELETE")

    def _handle(self, method: str) -> None:
        api = self.server.api
        url = urlsplit(self.path)
        parts = url.path.strip("/").split("/")
        collection = next((part for part in reversed(parts) if part in COLLECTIONS), "")
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        request = Request(method, collection, query)
        signals = api.record(request)
        if self.headers.get("Authorization") != f"Bearer {api.token}":
            self._fail(401, "Unauthorized")
        elif fault := api.refuse_next(request):
            self._fail(fault.status, "refused on order", fault.headers)
        elif not collection or collection in api.unserved:
            self._fail(api.unserved.get(collection, 404), "the server could not find the requested resource")
        elif method == "POST":
            self._create(collection, json.loads(body))
        elif method == "PATCH" and self.headers["Content-Type"] == "application/merge-patch+json":
            self._merge(collection, parts, json.loads(body))
        elif method == "PATCH":
            self._write(collection, json.loads(body))
        elif method == "DELETE":
            self._remove(collection, parts)
        elif request.is_watch:
            _Watch(self, api, request, signals).run()
        elif parts[-1] != collection:
            self._answer_one(api.store.get(collection, _key(parts)))
        else:
            self._list(collection, query, _namespace(parts))

    def _write(self, collection: str, obj: Object) -> None:
        if collection == "services" and obj["spec"].get("type") != "ExternalName":
            # As the real one does; the same name gets the same address.
            obj["spec"].setdefault("clusterIP", f"10.96.0.{10 + sum(obj['metadata']['name'].encode()) % 200}")
        if collection == "pods":
            obj["metadata"].setdefault("uid", str(uuid.uuid5(uuid.NAMESPACE_DNS, obj["metadata"]["name"])))
        self.server.api.put(collection, obj)
        self.answer(200, obj)

    def _create(self, collection: str, obj: Object) -> None:
        metadata = obj["metadata"]
        if self.server.api.store.get(collection, (metadata.get("namespace", ""), metadata["name"])):
            self._fail(409, "already exists")
            return
        if collection == "services" and obj["spec"].get("type") != "ExternalName":
            obj["spec"].setdefault("clusterIP", str(FIRST_ALLOCATED + next(self.server.allocated)))
        self.server.api.put(collection, obj)
        self.answer(201, obj)

    def _merge(self, collection: str, parts: list[str], change: Object) -> None:
        found = self.server.api.store.get(collection, _key(parts))
        if found:
            self.server.api.put(collection, found | change)
        self._answer_one(found and found | change)

    def _answer_one(self, obj: Object | None) -> None:
        self.answer(200, obj) if obj else self._fail(404, "not found")

    def _remove(self, collection: str, parts: list[str]) -> None:
        found = self.server.api.store.delete(collection, _key(parts))
        if collection == "namespaces":
            self.server.api.store.delete_namespaced(parts[-1])
        self._fail(200 if found else 404, "deleted" if found else "not found")

    def _list(self, collection: str, query: dict[str, str], namespace: str) -> None:
        api = self.server.api
        selector = Selector(query.get("labelSelector", ""), query.get("fieldSelector", ""))
        with api.store.changed:
            version, objects = api.store.version, api.store.select(collection, selector, namespace)
            if "continue" in query and api.expire_continuations:
                api.expire_continuations -= 1
                self._fail(410, "The provided continue parameter is too old")
                return
        start = int(query.get("continue", "0"))
        limit = min(int(query["limit"]), api.page_size) if "limit" in query else len(objects)
        metadata = {"resourceVersion": str(version)}
        if start + limit < len(objects):
            metadata["continue"] = str(start + limit)
        kind = f"{COLLECTIONS[collection]}List"
        page = objects[start : start + limit]
        self.answer(200, {"kind": kind, "apiVersion": GROUPS[collection], "metadata": metadata, "items": page})

    def _fail(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        self.answer(status, status_object(status, message), headers)

    def answer(self, status: int, document: Object, headers: dict[str, str] | None = None) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def _key(parts: list[str]) -> tuple[str, str]:
    """Return (namespace, name) of the object that a path names."""
    return (_namespace(parts[:-1]), parts[-1])


def _namespace(parts: list[str]) -> str:
    return parts[parts.index("namespaces") + 1] if "namespaces" in parts[:-1] else ""


def status_object(code: int, message: str) -> Object:
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code}


class _Watch:
    """One open watch: sends what the store and the controls tell it, until told to end."""

    def __init__(self, handler: _Handler, api: Controls, request: Request, signals: tuple[int, int]) -> None:
        self._handler = handler
        self._api = api
        self._collection = request.collection
        self._selector = Selector(request.query.get("labelSelector", ""), request.query.get("fieldSelector", ""))
        self._since = int(request.query["resourceVersion"])
        self._epoch, self._bookmarks = signals

    def run(self) -> None:
        store = self._api.store
        try:
            store.events(self._collection, self._selector, self._since)
        except ExpiredVersionError:
            self._handler.answer(410, status_object(410, "too old resource version"))
            return
        self._handler.send_response(200)
        self._handler.send_header("Content-Type", "application/json")
        self._handler.send_header("Transfer-Encoding", "chunked")
        self._handler.end_headers()
        while self._step():
            with store.changed:
                store.changed.wait_for(self._has_news, 30)
        self._chunk(b"")

    def _has_news(self) -> bool:
        return self._api.stopping or self._api.signals != (self._epoch, self._bookmarks) or self._pending()

    def _pending(self) -> bool:
        try:
            return bool(self._api.store.events(self._collection, self._selector, self._since))
        except ExpiredVersionError:
            return True

    def _step(self) -> bool:
        """Send what is new; return whether to go on."""
        store = self._api.store
        with store.changed:
            epoch, bookmarks = self._api.signals
            try:
                events = store.events(self._collection, self._selector, self._since)
            except ExpiredVersionError:
                self._event("ERROR", status_object(410, "too old resource version"))
                return False
            if bookmarks != self._bookmarks:
                metadata = {"resourceVersion": str(store.version), "creationTimestamp": None}
                bookmark = {"kind": COLLECTIONS[self._collection], "metadata": metadata}
                events.append((store.version, "BOOKMARK", bookmark))
                self._bookmarks = bookmarks
        for version, kind, obj in events:
            self._event(kind, obj)
            self._since = version
            if kind == "BOOKMARK":
                self._api.count_bookmark()
        return epoch == self._epoch and not self._api.stopping

    def _event(self, kind: str, obj: Object) -> None:
        self._chunk(json.dumps({"type": kind, "object": obj}).encode() + b"\n")

    def _chunk(self, data: bytes) -> None:
        self._handler.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self._handler.wfile.flush()
