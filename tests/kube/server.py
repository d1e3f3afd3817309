"""An API server in this process: lists, watches, bookmarks, 410 in both forms, TLS, tokens, and faults on order.

with ApiServer(folder) as server: server.put(...) --> HTTP --> the client under test
"""

import json
import ssl
import threading
from pathlib import Path
from typing import Self

from tests.kube.certificates import Certificates, make_certificates
from tests.kube.controls import Controls
from tests.kube.http_api import HttpServer


class ApiServer(Controls):
    """Listens on 127.0.0.1 while the ``with`` block runs."""

    def __init__(self, folder: Path, *, token: str = "secret", page_size: int = 500) -> None:
        super().__init__(token, page_size)
        self.certificates: Certificates = make_certificates(folder)
        self._http = HttpServer(("127.0.0.1", 0), self, self.certificates)
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping = True
        self._http.shutdown()
        self.drop_connections()
        self._http.server_close()
        self._thread.join()

    @property
    def tls(self) -> ssl.SSLContext:
        """What it asks of those who connect."""
        return self._http.tls

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self._http.server_address[1]}"

    def write_kubeconfig(self, path: Path, *, token: str | None = None, authority: Path | None = None) -> Path:
        """Write a kubeconfig that reaches this server; another token or authority makes it a wrong one."""
        return write_kubeconfig(
            path, self.url, authority or self.certificates.authority, self.token if token is None else token
        )


def write_kubeconfig(path: Path, url: str, authority: Path, token: str) -> Path:
    """Write a kubeconfig with one context; JSON is YAML."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "clusters": [{"name": "test", "cluster": {"server": url, "certificate-authority": str(authority)}}],
        "users": [{"name": "test", "user": {"token": token}}],
    }
    path.write_text(json.dumps(document))
    return path
