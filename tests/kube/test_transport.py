"""TLS as kubeconfigs ask for it, against a server that asks for a certificate, too."""

import base64
import json
import ssl
from pathlib import Path
from typing import Any

import pytest

from ebpflb.errors import UsageError
from ebpflb.kube.connection import Connection
from ebpflb.kube.credential_form import Endpoint
from ebpflb.kube.faults import RequestError
from ebpflb.kube.transport import open_pool
from tests.kube.certificates import Certificates, make_certificates
from tests.kube.server import ApiServer


@pytest.fixture(name="asking")
def _asking(server: ApiServer) -> ApiServer:
    """Return a server that serves nobody without a certificate of its own authority."""
    server.tls.verify_mode = ssl.CERT_REQUIRED
    server.tls.load_verify_locations(server.certificates.authority)
    return server


def write(path: Path, server: ApiServer, user: dict[str, Any], **cluster: Any) -> Path:
    document = json.loads(server.write_kubeconfig(path).read_text())
    document["users"][0]["user"] |= user
    document["clusters"][0]["cluster"] |= cluster
    path.write_text(json.dumps(document))
    return path


def encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def ask(connection: Connection) -> None:
    with connection.get("/api/v1/services", {}, 10.0) as response:
        assert response.read()


def inline(files: Certificates) -> dict[str, str]:
    return {"client-certificate-data": encoded(files.certificate), "client-key-data": encoded(files.key)}


def named(files: Certificates) -> dict[str, str]:
    return {"client-certificate": str(files.certificate), "client-key": str(files.key)}


def mixed(files: Certificates) -> dict[str, str]:
    return {"client-certificate": str(files.certificate), "client-key-data": encoded(files.key)}


@pytest.mark.parametrize("form", [inline, named, mixed])
def test_a_client_certificate(asking: ApiServer, tmp_path: Path, form: Any) -> None:
    authority = {"certificate-authority-data": encoded(asking.certificates.authority)}
    connection = Connection(write(tmp_path / "config", asking, form(asking.certificates), **authority))
    ask(connection)
    connection.close()


def test_no_client_certificate(asking: ApiServer, tmp_path: Path) -> None:
    connection = Connection(write(tmp_path / "config", asking, {}))
    with pytest.raises(RequestError):
        ask(connection)
    connection.close()


def test_a_certificate_that_is_renewed_on_disk(asking: ApiServer, tmp_path: Path) -> None:
    (tmp_path / "client").mkdir()
    client = make_certificates(tmp_path / "client")
    connection = Connection(write(tmp_path / "config", asking, named(client)))
    with pytest.raises(RequestError):
        ask(connection)
    client.certificate.write_bytes(asking.certificates.certificate.read_bytes())
    with pytest.raises(RequestError, match=r"no credentials: the TLS files for .* cannot be used"):
        ask(connection)
    client.key.write_bytes(asking.certificates.key.read_bytes())
    ask(connection)
    connection.close()


def test_a_server_of_another_name(server: ApiServer, tmp_path: Path) -> None:
    connection = Connection(write(tmp_path / "config", server, {}, **{"tls-server-name": "other"}))
    with pytest.raises(RequestError, match=r"TLS with the API server .* failed"):
        ask(connection)
    connection.close()


def test_a_server_that_is_not_verified(server: ApiServer, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path / "config", server, {}, **{"insecure-skip-tls-verify": True, "tls-server-name": "other"})
    connection = Connection(path)
    ask(connection)
    connection.close()
    assert [text.partition(" ")[0] for text in caplog.messages] == ["tls_unverified"]


def test_a_key_with_a_password_asks_nobody(tmp_path: Path) -> None:
    files = make_certificates(tmp_path, password=b"secret")
    endpoint = Endpoint("https://127.0.0.1", certificate_file=str(files.certificate), key=files.key.read_text())
    with pytest.raises(UsageError, match=r"the TLS files for https://127.0.0.1 cannot be used"):
        open_pool(endpoint)


def test_an_authority_without_content_is_refused() -> None:
    with pytest.raises(UsageError, match="cannot be used"):
        open_pool(Endpoint("https://127.0.0.1", authority=""))


@pytest.mark.parametrize(
    ("endpoint", "proxy"),
    [
        (Endpoint("https://api", proxy="http://proxy:3128"), "http://proxy:3128"),
        (Endpoint("https://api", proxy="https://proxy:3129"), "https://proxy:3129"),
        (Endpoint("http://api", proxy="http://proxy:3128"), "http://proxy:3128"),
        (Endpoint("https://api"), None),
    ],
)
def test_proxies(endpoint: Endpoint, proxy: str | None) -> None:
    pool = open_pool(endpoint)
    assert (pool.proxy and pool.proxy.url) == proxy


def test_the_environment_names_a_proxy_and_exempts_from_it(
    server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    path = server.write_kubeconfig(tmp_path / "config")
    through = Connection(path)
    with pytest.raises(RequestError):
        ask(through)
    through.close()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    direct = Connection(server.write_kubeconfig(tmp_path / "other"))
    ask(direct)
    direct.close()


def test_the_machines_authorities_are_read_only_where_the_endpoint_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[ssl.SSLContext] = []

    def remember(context: ssl.SSLContext) -> None:
        read.append(context)

    monkeypatch.setattr(ssl.SSLContext, "load_default_certs", remember)
    authority = str(make_certificates(tmp_path).authority)
    open_pool(Endpoint("http://api"))
    open_pool(Endpoint("https://api", authority_file=authority))
    assert not read, "they are slow to read"
    open_pool(Endpoint("https://api"))
    assert len(read) == 1, "for all connections of the pool"
