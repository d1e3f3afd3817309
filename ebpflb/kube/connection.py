"""Raw requests to the API server: the ``kubernetes`` package reads the kubeconfig, urllib3 moves the bytes.

Decides whether a kubeconfig is usable, and how a request is authenticated and ended. Knows no kind of object: the
package's model classes are not used, because building them costs more than everything else at 100,000 endpoints.

    kubeconfig | service account --> Connection.get, send --> response that says "done", or RequestError
"""

import binascii
import logging
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import urllib3
import yaml
from kubernetes.client import Configuration
from kubernetes.client.rest import RESTClientObject
from kubernetes.config import ConfigException, load_incluster_config, load_kube_config

from ebpflb.errors import UsageError
from ebpflb.kube.faults import RequestError, failed_connection, failed_request
from ebpflb.kube.throttle import UNLIMITED, Throttle

CONNECT_TIMEOUT_S = 5.0
SEND_TIMEOUT_S = 10.0

_DONE = (200, 201)
"""HTTP's OK and Created."""

_UNUSABLE = (ConfigException, OSError, KeyError, TypeError, ValueError, AttributeError, binascii.Error, yaml.YAMLError)
"""What the package raises for kubeconfigs that are YAML but not right, or that change while they are read."""

_LOG = logging.getLogger(__name__)


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
        """``server`` stands in for the one that the kubeconfig names; without a kubeconfig, nothing else is needed."""
        self._kubeconfig, self._context, self._server = kubeconfig, context, server
        self._throttle = throttle or Throttle(UNLIMITED, 1)
        self._lock = threading.Lock()
        self._responses: set[urllib3.BaseHTTPResponse] = set()
        self._aborted = threading.Event()
        self._configuration = _load(kubeconfig, context, server)
        self._pool = _open_pool(self._configuration)

    @property
    def server(self) -> str:
        """The API server's URL."""
        return str(self._configuration.host)

    def reload(self) -> None:
        """Read the kubeconfig again: tokens and certificates are renewed in place. Raises ``UsageError``."""
        configuration = _load(self._kubeconfig, self._context, self._server)
        pool = _open_pool(configuration)
        with self._lock:
            stale, self._pool, self._configuration = self._pool, pool, configuration
        stale.clear()

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
        with self._lock:
            pool, configuration = self._pool, self._configuration
        response = pool.request(
            method,
            f"{configuration.host.rstrip('/')}{path}",
            **content,
            headers={"Accept": "application/json", "User-Agent": "ebpflb", **headers, **_credentials(configuration)},
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


def _credentials(configuration: Any) -> dict[str, str]:
    """Return the header of the bearer token; this also lets the package renew tokens and run exec plugins."""
    try:
        settings = configuration.auth_settings()
    except (ConfigException, OSError) as error:
        remedy = "check the token file or the exec plugin that the kubeconfig names"
        raise RequestError(f"no credentials: {error}", remedy=remedy) from error
    return {entry["key"]: entry["value"] for entry in settings.values() if entry["value"]}


def _open_pool(configuration: Any) -> urllib3.PoolManager:
    if not configuration.verify_ssl:
        _LOG.warning("tls_unverified server=%r remedy='set certificate-authority'", configuration.host)
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    try:
        _try_tls_files(configuration)
        pool: urllib3.PoolManager = RESTClientObject(configuration).pool_manager
    except (OSError, ValueError) as error:
        remedy = "check the certificate authority, client certificate and key that the kubeconfig names"
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"the TLS files for {configuration.host} cannot be used: {reason}", remedy=remedy) from error
    return pool


def _try_tls_files(configuration: Any) -> None:
    """Load the PEM files once: urllib3 opens them at the first connection only, too late to refuse to start."""
    trial = ssl.create_default_context()
    if configuration.ssl_ca_cert:
        trial.load_verify_locations(configuration.ssl_ca_cert)
    if configuration.cert_file:
        trial.load_cert_chain(configuration.cert_file, configuration.key_file)


def _load(kubeconfig: Path | None, context: str | None, server: str) -> Any:
    """Return the client configuration. Raises ``UsageError`` with what to do."""
    configuration = Configuration()
    if kubeconfig is None:
        _load_pods(configuration, server)
    else:
        _load_file(configuration, kubeconfig, context)
    configuration.host = server or configuration.host
    if urllib3.util.parse_url(configuration.host).scheme not in {"http", "https"}:
        where = "--master" if server else f"kubeconfig {kubeconfig}"
        problem = f"{where}: server {configuration.host!r} is no URL"
        raise UsageError(problem, remedy="write the cluster's server as https://HOST:PORT")
    return configuration


def _load_pods(configuration: Any, server: str) -> None:
    """Take the service account of the pod; who names a server may be in no pod, and have no credentials."""
    try:
        load_incluster_config(client_configuration=configuration)
    except (ConfigException, OSError) as error:
        if not server:
            remedy = "give --kubeconfig FILE, or --manifests DIR to run without an API server"
            raise UsageError(f"no kubeconfig, and not in a pod of a cluster: {error}", remedy=remedy) from error


def _load_file(configuration: Any, kubeconfig: Path, context: str | None) -> None:
    contexts = _contexts(kubeconfig)
    try:
        load_kube_config(str(kubeconfig), context, configuration, persist_config=False)
    except _UNUSABLE as error:
        reason = " ".join(str(error).split())
        remedy = f"choose one of its contexts ({', '.join(contexts) or 'it has none'}) and check what that one names"
        raise UsageError(f"kubeconfig {kubeconfig} cannot be used: {reason}", remedy=remedy) from error


def _contexts(kubeconfig: Path) -> list[str]:
    """Return the names of a kubeconfig's contexts. Raises ``UsageError`` if it is no YAML mapping."""
    remedy = "give the path of a readable kubeconfig with --kubeconfig"
    try:
        document = yaml.safe_load(kubeconfig.read_bytes())
    except OSError as error:
        raise UsageError(f"kubeconfig {kubeconfig} cannot be read: {error.strerror}", remedy=remedy) from error
    except (yaml.YAMLError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"kubeconfig {kubeconfig} is not YAML: {reason}", remedy=remedy) from error
    if not isinstance(document, dict) or not isinstance(document.get("contexts") or [], list):
        raise UsageError(f"kubeconfig {kubeconfig} is not a kubeconfig", remedy=remedy)
    return [
        str(entry["name"]) for entry in document.get("contexts") or [] if isinstance(entry, dict) and "name" in entry
    ]
