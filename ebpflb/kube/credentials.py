"""The short-lived child that reads kubeconfigs: ``python -m ebpflb.kube.credentials REQUEST``.

Decides whether a kubeconfig is usable, and what is wrong with one that is not. This is the only module that imports
``kubernetes``, whose five hundred modules no agent shall keep for the sake of one file (ADR 30). The package knows the
ways to a token: inline, files, exec plugins, OIDC, auth providers. What they and their plugins print goes to stderr.

    Request (JSON, argv) --> kubernetes.config --> Answer (JSON, the one line on stdout)
"""

import binascii
import ctypes
import logging
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any, Final

import msgspec
import urllib3
import yaml
from kubernetes.client import Configuration
from kubernetes.client.rest import RESTClientObject
from kubernetes.config import ConfigException, load_incluster_config
from kubernetes.config.incluster_config import SERVICE_TOKEN_FILENAME
from kubernetes.config.kube_config import KubeConfigLoader, KubeConfigMerger

from ebpflb.errors import UsageError
from ebpflb.kube.credential_form import Answer, Credentials, Endpoint, Request

_PR_SET_PDEATHSIG: Final = 1
_UNUSABLE: Final = (
    *(ConfigException, OSError, KeyError, TypeError, ValueError, AttributeError, binascii.Error, yaml.YAMLError),
    *(ImportError, urllib3.exceptions.HTTPError),
)
"""What the package raises for kubeconfigs that are YAML but not right, or that change while they are read; for a
provider of tokens that does not answer, and a proxy whose kind is not installed."""


class _Remarks(logging.Handler):
    """Keeps what the package logs instead of raising it: that an exec plugin failed, for one."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(_one_line(record.getMessage()))


def answer(request: Request) -> Answer:
    """Return the credentials, or an error in words for the user."""
    remarks = _Remarks()
    logging.getLogger().addHandler(remarks)
    try:
        return Answer(_load(request, remarks.lines))
    except UsageError as error:
        return Answer(message=error.message, remedy=error.remedy)
    finally:
        logging.getLogger().removeHandler(remarks)


def _load(request: Request, remarks: list[str]) -> Credentials:
    configuration = Configuration()
    token_file, expires_at = "", 0.0
    if request.kubeconfig:
        expires_at = _load_file(configuration, Path(request.kubeconfig), request)
    elif _load_pods(configuration, request.server):
        token_file = str(SERVICE_TOKEN_FILENAME)
    configuration.host = request.server or configuration.host
    if urllib3.util.parse_url(configuration.host).scheme not in {"http", "https"}:
        where = "--master" if request.server else f"kubeconfig {request.kubeconfig}"
        problem = f"{where}: server {configuration.host!r} is no URL"
        raise UsageError(problem, remedy="write the cluster's server as https://HOST:PORT")
    configuration.refresh_api_key_hook = None  # all of it has just been read
    authorization = _authorization(configuration)
    is_known = authorization or configuration.cert_file
    return Credentials(
        _endpoint(configuration, request.folder),
        authorization,
        token_file,
        expires_at,
        problem="" if is_known else " | ".join(remarks),
        remarks=tuple(remarks),
    )


def _authorization(configuration: Any) -> str:
    """Return the header's value, empty if there is none."""
    values = [str(entry["value"]).strip() for entry in configuration.auth_settings().values() if entry["value"]]
    return values[0] if values else ""


def _load_pods(configuration: Any, server: str) -> bool:
    """Take the service account of the pod; who names a server may be in no pod, and have no credentials."""
    try:
        load_incluster_config(client_configuration=configuration)
    except (ConfigException, OSError) as error:
        if not server:
            remedy = "give --kubeconfig FILE, or --manifests DIR to run without an API server"
            raise UsageError(f"no kubeconfig, and not in a pod of a cluster: {error}", remedy=remedy) from error
        return False
    return True


def _load_file(configuration: Any, kubeconfig: Path, request: Request) -> float:
    """Fill in what the kubeconfig says; return when it expires, in seconds since the epoch, 0 if that is not known."""
    contexts = _contexts(kubeconfig)
    try:
        loader = KubeConfigLoader(
            config_dict=KubeConfigMerger(str(kubeconfig)).config,
            active_context=request.context or None,
            config_base_path=None,
            temp_file_path=request.folder or None,
        )
        loader.load_and_set(configuration)
        expiry = getattr(loader, "expiry", None)
        return float(expiry.timestamp()) if expiry else 0.0
    except _UNUSABLE as error:
        remedy = f"choose one of its contexts ({', '.join(contexts) or 'it has none'}) and check what that one names"
        raise UsageError(f"kubeconfig {kubeconfig} cannot be used: {_one_line(str(error))}", remedy=remedy) from error


def _contexts(kubeconfig: Path) -> list[str]:
    """Return the names of a kubeconfig's contexts. Raises ``UsageError`` if it is no YAML mapping."""
    remedy = "give the path of a readable kubeconfig with --kubeconfig"
    try:
        document = yaml.safe_load(kubeconfig.read_bytes())
    except OSError as error:
        raise UsageError(f"kubeconfig {kubeconfig} cannot be read: {error.strerror}", remedy=remedy) from error
    except (yaml.YAMLError, ValueError) as error:
        raise UsageError(f"kubeconfig {kubeconfig} is not YAML: {_one_line(str(error))}", remedy=remedy) from error
    if not isinstance(document, dict) or not isinstance(document.get("contexts") or [], list):
        raise UsageError(f"kubeconfig {kubeconfig} is not a kubeconfig", remedy=remedy)
    return [
        str(entry["name"]) for entry in document.get("contexts") or [] if isinstance(entry, dict) and "name" in entry
    ]


def _endpoint(configuration: Any, folder: str) -> Endpoint:
    try:
        authority, authority_file = _content_or_path(configuration.ssl_ca_cert, folder)
        certificate, certificate_file = _content_or_path(configuration.cert_file, folder)
        key, key_file = _content_or_path(configuration.key_file, folder)
        proxy = _proxy(configuration)
    except _UNUSABLE as error:
        remedy = "check the certificates and the proxy that the kubeconfig names"
        reason = f"the server {configuration.host} cannot be used: {_one_line(str(error))}"
        raise UsageError(reason, remedy=remedy) from error
    return Endpoint(
        *(str(configuration.host), bool(configuration.verify_ssl)),
        *(authority, authority_file, certificate, certificate_file, key, key_file),
        tls_server_name=str(configuration.tls_server_name or ""),
        proxy=proxy,
    )


def _content_or_path(path: str | None, folder: str) -> tuple[str | None, str | None]:
    """Return what is in a file that the package made, or the path of one that the user named."""
    if not path:
        return None, None
    if folder and Path(path).parent == Path(folder):
        return Path(path).read_text(), None
    return None, str(path)


def _proxy(configuration: Any) -> str:
    """Return the proxy by which the package would go to the server; it knows what the environment exempts."""
    manager = RESTClientObject(configuration).pool_manager
    return "" if type(manager) is urllib3.PoolManager else str(configuration.proxy)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _die_with(parent: int, folder: str) -> None:
    """Have this process end with its parent, at once if that has ended already, and leave no plugin and no file."""

    def vanish(*_: object) -> None:
        _remove(folder)
        os.killpg(0, signal.SIGKILL)

    signal.signal(signal.SIGTERM, vanish)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        vanish()


def _remove(folder: str) -> None:
    if folder:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    """Answer one request. Nothing but the answer gets to stdout, whatever a plugin writes there."""
    request = msgspec.json.decode(sys.argv[1], type=Request)
    _die_with(request.parent, request.folder)
    stdout = os.dup(1)
    os.dup2(2, 1)
    with os.fdopen(stdout, "wb") as stream:
        stream.write(msgspec.json.encode(answer(request)))
    _remove(request.folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
