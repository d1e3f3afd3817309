"""How bytes get to an API server: a pool of connections, by TLS and through a proxy as the credentials say.

Decides how certificates get to OpenSSL: loaded once for all connections of a pool; secrets that are in no file get
there by one that only this process can open. Knows neither tokens nor requests.

    Endpoint --open_pool--> urllib3.PoolManager      Endpoint --file_stamps--> whether another pool is needed
"""

import logging
import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import urllib3
from urllib3.util.ssl_ import create_urllib3_context

from ebpflb.errors import UsageError
from ebpflb.kube.credential_form import Endpoint
from ebpflb.kube.file_stamp import file_stamp

_KEPT_CONNECTIONS: Final = 8
"""More than there are watches."""

_LOG = logging.getLogger(__name__)


def open_pool(endpoint: Endpoint) -> urllib3.PoolManager:
    """Return a pool; it connects to nobody yet. Raises ``UsageError`` for certificates that cannot be used."""
    if not endpoint.verify:
        _LOG.warning("tls_unverified server=%r remedy='set certificate-authority'", endpoint.server)
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    settings: dict[str, Any] = {
        "maxsize": _KEPT_CONNECTIONS,
        "cert_reqs": ssl.CERT_REQUIRED if endpoint.verify else ssl.CERT_NONE,
    }
    if endpoint.tls_server_name:
        settings["server_hostname"] = endpoint.tls_server_name
    try:
        if endpoint.server.startswith("https:"):
            settings["ssl_context"] = _context(endpoint, is_known=True)
        return _through_proxy(endpoint, settings) if endpoint.proxy else urllib3.PoolManager(**settings)
    except (OSError, ValueError) as error:
        remedy = "check the certificate authority, client certificate and key that the kubeconfig names"
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"the TLS files for {endpoint.server} cannot be used: {reason}", remedy=remedy) from error


def file_stamps(endpoint: Endpoint) -> tuple[object, ...]:
    """Return what changes when a file of the endpoint does: who rotates certificates writes new ones in place."""
    paths = (endpoint.authority_file, endpoint.certificate_file, endpoint.key_file)
    return tuple(file_stamp(Path(path)) for path in paths if path is not None)


def _through_proxy(endpoint: Endpoint, settings: dict[str, Any]) -> urllib3.PoolManager:
    if endpoint.proxy.lower().startswith("socks"):
        from urllib3.contrib.socks import SOCKSProxyManager  # noqa: PLC0415 - needs a package that few have

        return SOCKSProxyManager(endpoint.proxy, **settings)
    if endpoint.proxy.lower().startswith("https:"):
        settings["proxy_ssl_context"] = _context(endpoint, is_known=False)
    return urllib3.ProxyManager(endpoint.proxy, **settings)


def _context(endpoint: Endpoint, *, is_known: bool) -> ssl.SSLContext:
    """Return how to recognize the server and, if ``is_known``, to be recognized by it."""
    context = create_urllib3_context()
    if not endpoint.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if endpoint.authority is not None or endpoint.authority_file is not None:
        context.load_verify_locations(endpoint.authority_file, cadata=endpoint.authority)
    elif endpoint.verify:
        context.load_default_certs()
    if is_known and (endpoint.certificate is not None or endpoint.certificate_file is not None):
        with (
            _as_file(endpoint.certificate, endpoint.certificate_file) as certificate,
            _as_file(endpoint.key, endpoint.key_file) as key,
        ):
            # A key that asks for a password is refused: nobody is there to be asked.
            context.load_cert_chain(certificate or "", key, password="")
    return context


@contextmanager
def _as_file(content: str | None, path: str | None) -> Iterator[str | None]:
    """Yield the path of a file in the kernel's memory, which no other process sees; ``path`` if there is no content."""
    if content is None:
        yield path
        return
    descriptor = os.memfd_create("ebpflb-pem")
    with os.fdopen(descriptor, "wb") as file:
        file.write(content.encode())
        file.flush()
        yield f"/proc/self/fd/{descriptor}"
