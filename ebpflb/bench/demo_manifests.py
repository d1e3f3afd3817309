"""Edits the demo's copy of the example manifests, as `kubectl scale` would change the real objects.

examples/ -> copy -> set_backends(service, addresses) -> the same file, replaced in one step -> the agents' watch
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ebpflb.bench.addresses import family_of
from ebpflb.errors import EbpflbError

SERVICE_LABEL = "kubernetes.io/service-name"


class Manifests:
    """A copy of a manifest folder whose EndpointSlices can be edited."""

    def __init__(self, source: Path, folder: Path) -> None:
        if not source.is_dir():
            raise EbpflbError(f"demo: {source} is not a folder", remedy="run the demo from the repository's root")
        self.folder = folder
        shutil.copytree(source, folder, dirs_exist_ok=True)

    def backends(self, service: str) -> list[str]:
        """Return the addresses behind a Service, given as NAMESPACE/NAME, of every family, that take new requests."""
        _, documents, slices = self._find(service)
        endpoints = [endpoint for at in slices for endpoint in documents[at]["endpoints"] if _is_ready(endpoint)]
        return [address for endpoint in endpoints for address in endpoint["addresses"]]

    def set_backends(self, service: str, nodes: Mapping[str, str]) -> None:
        """Let the Service have these backends, each in its family's slice: address to node name.

        Whoever leaves terminates, as a pod does.
        """
        path, documents, slices = self._find(service)
        for at in slices:
            own = {each: node for each, node in nodes.items() if _type_of(each) == documents[at]["addressType"]}
            documents[at]["endpoints"] = _replaced(documents[at]["endpoints"], own)
        # Beside the folder, not in it: the agents must never read a half-written file.
        aside = self.folder.with_name(f"{path.name}.new")
        aside.write_text(yaml.safe_dump_all(documents, sort_keys=False), encoding="utf-8")
        aside.replace(path)

    def _find(self, service: str) -> tuple[Path, list[dict[str, Any]], list[int]]:
        """Return the file, its documents, and which of them are the Service's EndpointSlices."""
        namespace, name = service.split("/")
        for path in sorted(self.folder.rglob("*.y*ml")):
            documents = [one for one in yaml.safe_load_all(path.read_text(encoding="utf-8")) if one]
            slices = [at for at, document in enumerate(documents) if _owner(document) == (namespace, name)]
            if slices:
                return path, documents, slices
        raise EbpflbError(f"demo: the examples hold no EndpointSlice of Service {service}")


def _is_ready(endpoint: dict[str, Any]) -> bool:
    return bool(endpoint.get("conditions", {}).get("ready", True))


def _type_of(address: str) -> str:
    """Return the addressType of the slice that an address belongs into."""
    return f"IPv{family_of(address).value}"


def _replaced(endpoints: Sequence[dict[str, Any]], nodes: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return a slice's new endpoints: the wanted ones, then those that leave."""
    ready = {"ready": True, "serving": True, "terminating": False}
    terminating = {"ready": False, "serving": True, "terminating": True}
    leaving = [each for each in endpoints if not set(each["addresses"]) & nodes.keys()]
    return [
        *({"addresses": [each], "conditions": dict(ready), "nodeName": node} for each, node in nodes.items()),
        *({**each, "conditions": dict(terminating)} for each in leaving),
    ]


def _owner(document: dict[str, Any]) -> tuple[str, str] | None:
    """Return namespace and name of the Service that an EndpointSlice belongs to."""
    if document.get("kind") != "EndpointSlice":
        return None
    metadata = document.get("metadata", {})
    return metadata.get("namespace", ""), metadata.get("labels", {}).get(SERVICE_LABEL, "")
