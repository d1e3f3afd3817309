"""What can go wrong between this agent and the API server, in words with a remedy, joined into one line for ``status``.

Decides the wording. Knows no object and opens no connection.

    urllib3 error | HTTP status --> RequestError --> Faults --> sink.source_error
"""

import threading
from collections.abc import Mapping

import urllib3

from ebpflb.errors import EbpflbError
from ebpflb.reconcile.ports import Sink

UNAUTHORIZED = 401
FORBIDDEN = 403
NOT_FOUND = 404

MAX_RETRY_AFTER_S = 60.0

_RIGHTS = (
    "grant get, list and watch on services, endpointslices, nodes, pods and servicecidrs, and create and patch on "
    "events of events.k8s.io, to the agent's user"
)


class RequestError(EbpflbError):
    """A request failed, and is tried again.

    ``status`` is HTTP's, 0 if no answer came. ``stale_credentials``: reading the kubeconfig again may help.
    """

    def __init__(
        self,
        message: str,
        *,
        remedy: str,
        status: int = 0,
        stale_credentials: bool = False,
        retry_after_s: float = 0.0,
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.status = status
        self.stale_credentials = stale_credentials
        self.retry_after_s = retry_after_s


def failed_connection(server: str, error: Exception) -> RequestError:
    """Say why no answer came."""
    reason = _root_cause(error)
    if isinstance(error, urllib3.exceptions.SSLError) or "certificate" in reason.lower():
        return RequestError(
            f"TLS with the API server {server} failed: {reason}",
            remedy="check certificate-authority, tls-server-name and the client certificate in the kubeconfig",
            stale_credentials=True,
        )
    return RequestError(
        f"the API server {server} cannot be reached: {reason}",
        remedy="check the server's address in the kubeconfig, the network and the API server; trying again",
    )


def _root_cause(error: BaseException) -> str:
    """Return the innermost system error's words; urllib3's own wrap them in object addresses."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, OSError) and inner.strerror:
            return inner.strerror
        inner = inner.__cause__ or inner.__context__
    if isinstance(error, urllib3.exceptions.TimeoutError):
        return "it did not answer in time"
    return " ".join(str(error).split()) or type(error).__name__


def failed_request(server: str, path: str, status: int, message: str, headers: Mapping[str, str]) -> RequestError:
    """Say what an HTTP status other than 200 (or the same in an ERROR event) means."""
    said = f": {message}" if message else ""
    if status == UNAUTHORIZED:
        return RequestError(
            f"the API server {server} does not accept the credentials (401){said}",
            remedy="renew the token or client certificate in the kubeconfig; it is read again at the next attempt",
            status=status,
            stale_credentials=True,
        )
    if status == FORBIDDEN:
        return RequestError(
            f"the API server {server} forbids {path} (403){said}",
            remedy=_RIGHTS,
            status=status,
        )
    return RequestError(
        f"the API server {server} answered {path} with status {status}{said}",
        remedy="trying again; see the API server's log if it stays",
        status=status,
        retry_after_s=_retry_after_s(headers),
    )


def _retry_after_s(headers: Mapping[str, str]) -> float:
    text = headers.get("Retry-After", "")
    return min(float(text), MAX_RETRY_AFTER_S) if text.isascii() and text.isdigit() else 0.0


class Faults:
    """Joins what the watches complain of into one message. Thread-safe."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._lock = threading.Lock()
        self._messages: dict[str, str] = {}
        self._shown = ""

    def report(self, who: str, message: str) -> None:
        """Record what is wrong; an empty message: nothing any more. The sink hears of changes only."""
        with self._lock:
            if message:
                self._messages[who] = message
            else:
                self._messages.pop(who, None)
            shown = " | ".join(sorted(set(self._messages.values())))
            if shown != self._shown:
                self._shown = shown
                self._sink.source_error(shown)
