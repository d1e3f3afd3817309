"""Raw requests to the API server: urllib3 moves the bytes, with the credentials that the vault holds.

Decides how a request is authenticated and ended. Knows no kind of object: the ``kubernetes`` package's model classes
are not used, because building them costs more than everything else at 100,000 endpoints.

    kubeconfig | service account --> Connection.get, send --> response that says "done", or RequestError
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import urllib3

from ebpflb.errors import UsageError
from ebpflb.kube.credential_form import Credentials, Endpoint
from ebpflb.kube.faults import RequestError, failed_connection, failed_request
from ebpflb.kube.throttle import UNLIMITED, Throttle
from ebpflb.kube.transport import file_stamps, open_pool
from ebpflb.kube.vault import shared_vault

CONNECT_TIMEOUT_S = 5.0
SEND_TIMEOUT_S = 10.0

_DONE = (200, 201)
"""HTTP's OK and Created."""


class _Status(msgspec.Struct):
    message: str = ""


class Connection:
    """One API server and the credentials for it. Thread-safe."""

    def __init__(
        self,
        kubeconfig: Path | None,
        context: str | None = None,
        *,
        server: str = "",
        throttle: Throttle | None = None,
    ) -> None:
        """Wait for the credentials. Raises ``UsageError`` if they cannot be used.

        ``server`` stands in for the one that the kubeconfig names; without a kubeconfig, nothing else is needed.
        """
        self._throttle = throttle or Throttle(UNLIMITED, 1)
        self._lock = threading.Lock()
        self._responses: set[urllib3.BaseHTTPResponse] = set()
        self._aborted = threading.Event()
        self._vault = shared_vault(kubeconfig, context, server)
        self._endpoint = self._vault.current().endpoint
        self._stamps = file_stamps(self._endpoint)
        self._pool = open_pool(self._endpoint)

    @property
    def server(self) -> str:
        """The API server's URL."""
        return self._endpoint.server

    def reload(self) -> None:
        """Have the credentials read again. Raises ``UsageError`` when they cannot be used."""
        self._vault.reload()
        self._pool_for(self._vault.current().endpoint)

    @contextmanager
    def get(self, path: str, query: Mapping[str, str], read_timeout_s: float) -> Iterator[urllib3.BaseHTTPResponse]:
        """Open a response with status 200, its body unread. Raises ``RequestError``, also for the body's reading.

        The pages of a list are one request to the throttle: a large cluster is no flood.
        """
        if "continue" not in query:
            self._aborted.wait(self._throttle.delay_s())
        with self._open("GET", path, read_timeout_s, fields=dict(query)) as response:
            yield response

    def send(self, method: str, path: str, body: bytes, content_type: str) -> None:
        """Have the API server write something. Raises ``RequestError``."""
        self._aborted.wait(self._throttle.delay_s())
        headers = {"Content-Type": content_type}
        with self._open(method, path, SEND_TIMEOUT_S, body=body, headers=headers) as response:
            response.read()

    @contextmanager
    def _open(
        self, method: str, path: str, read_timeout_s: float, *, headers: Mapping[str, str] | None = None, **content: Any
    ) -> Iterator[urllib3.BaseHTTPResponse]:
        try:
            response = self._request(method, path, read_timeout_s, headers or {}, content)
            try:
                self._check(path, response)
                yield response
            finally:
                with self._lock:
                    self._responses.discard(response)
                response.close()
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise failed_connection(self.server, error) from error

    def _request(
        self, method: str, path: str, read_timeout_s: float, headers: Mapping[str, str], content: Mapping[str, Any]
    ) -> urllib3.BaseHTTPResponse:
        credentials, pool = self._ready()
        authorization = {"Authorization": credentials.authorization} if credentials.authorization else {}
        response = pool.request(
            method,
            f"{credentials.endpoint.server.rstrip('/')}{path}",
            **content,
            headers={"Accept": "application/json", "User-Agent": "ebpflb", **headers, **authorization},
            preload_content=False,
            redirect=False,
            retries=False,
            timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT_S, read=read_timeout_s),
        )
        with self._lock:
            self._responses.add(response)
            is_aborted = self._aborted.is_set()
        if is_aborted:
            _shut(response)
        return response

    def _ready(self) -> tuple[Credentials, urllib3.PoolManager]:
        """Return what a request needs. Raises ``RequestError`` when there are no credentials that can be used."""
        try:
            credentials = self._vault.current()
            pool = self._pool_for(credentials.endpoint)
        except UsageError as error:
            raise RequestError(f"no credentials: {error.message}", remedy=error.remedy) from error
        if credentials.problem:
            remedy = "check the exec plugin that the kubeconfig names; it is run again at the next attempt"
            raise RequestError(f"no credentials: {credentials.problem}", remedy=remedy, stale_credentials=True)
        return credentials, pool

    def _pool_for(self, endpoint: Endpoint) -> urllib3.PoolManager:
        """Return the pool, a new one if the endpoint or a file that it names has changed. Raises ``UsageError``."""
        stamps = file_stamps(endpoint)
        with self._lock:
            if (endpoint, stamps) == (self._endpoint, self._stamps):
                return self._pool
            pool = open_pool(endpoint)
            stale, self._pool, self._endpoint, self._stamps = self._pool, pool, endpoint, stamps
        stale.clear()
        return pool

    def _check(self, path: str, response: urllib3.BaseHTTPResponse) -> None:
        if response.status in _DONE:
            return
        try:
            message = msgspec.json.decode(response.read(), type=_Status).message
        except (msgspec.DecodeError, UnicodeDecodeError):
            message = ""
        raise failed_request(self.server, path, response.status, message, response.headers)

    def abort(self) -> None:
        """End every open response at once, from another thread: its reader sees the end of the stream."""
        self._vault.abort()
        with self._lock:
            self._aborted.set()
            for response in self._responses:
                _shut(response)

    def close(self) -> None:
        """Close idle connections."""
        self._pool.clear()


def _shut(response: urllib3.BaseHTTPResponse) -> None:
    """Stop reading. A response that has already ended has no socket to shut."""
    with suppress(ValueError, RuntimeError, OSError):
        response.shutdown()
