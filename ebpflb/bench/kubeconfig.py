"""A kubeconfig for an agent that reaches the API server by a proxy only. Pure.

Decides what of a kubeconfig must change when it is written elsewhere: the way to the server, and paths that are
relative to its folder. Who is asked, by which name and with which credentials stays as it was.

    text of a kubeconfig, its folder, proxy --proxied--> text of another
"""

from pathlib import Path
from typing import Any, Final

import yaml

from ebpflb.errors import UsageError

_REMEDY: Final = "give --kubeconfig a file that kubectl works with"
_FILES: Final = {"clusters": ("certificate-authority",), "users": ("client-certificate", "client-key", "tokenFile")}
_PARTS: Final = {"clusters": "cluster", "users": "user"}


def proxied(text: str, folder: Path, proxy: str) -> str:
    """Return the kubeconfig with every cluster behind ``proxy``. Raises ``UsageError`` for one that has a proxy."""
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"--kubeconfig is not YAML: {' '.join(str(error).split())}", remedy=_REMEDY) from error
    if not isinstance(document, dict):
        raise UsageError("--kubeconfig is not a kubeconfig", remedy=_REMEDY)
    for section, fields in _FILES.items():
        for part in _parts(document, section):
            _anchor(part, fields, folder)
    for cluster in _parts(document, "clusters"):
        if cluster.get("proxy-url"):
            raise UsageError(
                f"--kubeconfig reaches {cluster.get('server')} by the proxy {cluster['proxy-url']}, which the agent of "
                "the benchmark cannot: it runs in a network namespace",
                remedy="measure from a machine that reaches the API server itself",
            )
        cluster["proxy-url"] = proxy
    return str(yaml.safe_dump(document))


def _parts(document: dict[str, Any], section: str) -> list[dict[str, Any]]:
    """Return what the entries of a section are about; entries that are none are left to who reads the file."""
    entries = document.get(section)
    found = [each.get(_PARTS[section]) for each in entries if isinstance(each, dict)] if entries else []
    return [part for part in found if isinstance(part, dict)]


def _anchor(part: dict[str, Any], fields: tuple[str, ...], folder: Path) -> None:
    """Make paths absolute that were relative to the kubeconfig's folder."""
    part.update({field: str(folder / part[field]) for field in fields if part.get(field)})
    plugin = part.get("exec")
    if isinstance(plugin, dict) and "/" in str(plugin.get("command", "")):
        plugin["command"] = str(folder / plugin["command"])
